"""Algorithms: what a batch of images becomes in training and in testing."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from mmengine.dist import all_reduce_dict
from mmengine.model import BaseModel
from torch import Tensor

from glc.core.labels import PseudoLabels
from glc.core.memories import BaseMemory
from glc.models.layers import Domains, convert_batchnorm, separate_domains
from glc.registry import MODELS
from glc.utils.transfer import to_device


class BaseReID(BaseModel):
    """Backbone, neck and head; tested on the features of the neck. A subclass says how a batch becomes losses.

    Args:
        backbone: Config of the backbone: tokens (B, T, D), a map (B, C, H, W) or (B, D).
        neck: Config of the neck: features (B, D).
        head: Config of the head.
        data_preprocessor: Config of the data preprocessor.
        bn_group_size: Images per group of batch statistics in training (part of the recipe, see
            :class:`~glc.models.layers.GhostBatchNorm2d`); None keeps one group per process.
        init_cfg: mmengine's initialization config.
        flip_test: Whether tests, extraction and labels use the mean of an image and its mirror image, see
            :func:`features_for_test`. It changes the scores and doubles the time of an extraction.
        num_domains: Data sets of the training, a ``ConcatDataset``, that have batch normalizations of their own (see
            :class:`~glc.models.layers.DomainBatchNorm`); 1 for common ones.
        test_domain: The one whose normalizations are used for images of a single data set in tests; the last one,
            which is the target of an adaptation.
    """

    def __init__(
        self,
        backbone: dict,
        neck: dict,
        head: dict,
        data_preprocessor: dict | None = None,
        bn_group_size: int | None = None,
        init_cfg: dict | None = None,
        flip_test: bool = False,
        num_domains: int = 1,
        test_domain: int = -1,
    ) -> None:
        super().__init__(MODELS.build(data_preprocessor or {'type': 'ReIDDataPreprocessor'}), init_cfg)
        self.backbone = MODELS.build(backbone)
        self.neck = MODELS.build(neck)
        self.head = MODELS.build(head)
        self.bn_group_size = bn_group_size
        self.flip_test = flip_test
        if bn_group_size is not None:
            self.backbone = convert_batchnorm(self.backbone, bn_group_size)
            self.neck = convert_batchnorm(self.neck, bn_group_size)
        self.domains = None if num_domains == 1 else Domains(num_domains, test_domain)
        if self.domains is not None:
            self.backbone = separate_domains(self.backbone, self.domains)
            self.neck = separate_domains(self.neck, self.domains)

    def compile(self, *args: Any, **kwargs: Any) -> None:
        """Compile the backbone, as ``torch.nn.Module.compile`` does; the rest of a step looks at data samples."""
        self.backbone.compile(*args, **kwargs)

    @property
    def needs_samples(self) -> bool:
        """Whether features depend on the data samples: on side information, or on the data set of an image."""
        return self.domains is not None or self._backbone_needs_samples

    def extract_feat(self, inputs: Tensor, data_samples: Sequence = ()) -> Tensor:
        """Extract features of images.

        Args:
            inputs: Preprocessed images (B, 3, H, W).
            data_samples: What is known of each image, for a network that :attr:`needs_samples`.

        Returns:
            Features (B, D), of unit norm unless the neck says otherwise.
        """
        return self.neck(self.encode(inputs, data_samples))

    def encode(self, inputs: Tensor, data_samples: Sequence = ()) -> Tensor:
        """Compute the output of the backbone; arguments as in :meth:`extract_feat`."""
        return self._of_backbone(self.backbone, inputs, data_samples)

    def attention_maps(self, inputs: Tensor, data_samples: Sequence = ()) -> dict[str, Tensor]:
        """Tell where the backbone looks, as its method of this name; arguments as in :meth:`extract_feat`."""
        return self._of_backbone(self.backbone.attention_maps, inputs, data_samples)

    def _of_backbone(self, function: Callable, inputs: Tensor, data_samples: Sequence) -> Any:
        if self.domains is not None:
            self.domains.set(data_samples, inputs, self.training)
        return function(inputs, data_samples) if self._backbone_needs_samples else function(inputs)

    @property
    def _backbone_needs_samples(self) -> bool:
        return bool(getattr(self.backbone, 'needs_samples', False))

    def forward(self, inputs: Tensor, data_samples: list | None = None, mode: str = 'tensor') -> object:
        """Call ``extract_feat`` (mode ``'tensor'``), ``loss`` or ``predict``."""
        if mode == 'tensor':
            return self.extract_feat(inputs, data_samples or [])
        if mode == 'loss':
            return self.loss(inputs, data_samples or [])
        if mode == 'predict':
            return self.predict(inputs, data_samples or [])
        raise ValueError(f"mode must be 'tensor', 'loss' or 'predict', got {mode!r}")

    def loss(self, inputs: Tensor, data_samples: list) -> dict[str, Tensor]:
        """Compute the losses of a batch."""
        raise NotImplementedError

    def parse_losses(self, losses: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the loss of this process for the backward pass, and the means over all processes for the log."""
        loss, log_vars = super().parse_losses(losses)
        log_vars = {name: value.detach().clone() for name, value in log_vars.items()}
        all_reduce_dict(log_vars, op='mean')
        return loss, log_vars

    def predict(self, inputs: Tensor, data_samples: list) -> list:
        """Return the data samples, each with its feature (D,) as ``feature``."""
        for sample, feature in zip(
            data_samples, features_for_test(self, inputs, data_samples).float(), strict=True
        ):
            sample.set_data({'feature': feature})
        return data_samples


def features_for_test(
    network: Any, inputs: Tensor, data_samples: Sequence = (), flip: bool | None = None
) -> Tensor:
    """Extract the features that are compared in tests, and from which labels are made.

    With ``flip`` they are the normalized sum of the features of an image and of its mirror image.
    (fast-reid takes the mean before the norm; here both count alike.) Where the neck gives no unit features, the sum
    has the mean norm of the two.

    Args:
        network: Algorithm with ``extract_feat``, in evaluation mode.
        inputs: Preprocessed images (B, 3, H, W).
        data_samples: What is known of each image; used where the network ``needs_samples`` only.
        flip: See above; None takes ``flip_test`` of the network.

    Returns:
        Features (B, D), of unit norm unless the neck says otherwise.
    """
    known = (data_samples,) if getattr(network, 'needs_samples', False) else ()
    features: Tensor = network.extract_feat(inputs, *known)
    if not (getattr(network, 'flip_test', False) if flip is None else flip):
        return features
    mirrored = network.extract_feat(inputs.flip(3), *known)
    norm = (features.norm(dim=1, keepdim=True) + mirrored.norm(dim=1, keepdim=True)) / 2
    return norm * F.normalize(features + mirrored)


@MODELS.register_module()
class UnsupervisedReID(BaseReID):
    """A network with a contrast head; trained on pseudo labels.

    Pseudo labels live here, in a table indexed by ``sample_idx``: the workers of a data loader never see what is
    written into the data set of the parent process. The table stays on the CPU, where the batch is known, too.

    Args:
        *args: As in :class:`BaseReID`; the memory bank of the head is reset with every labeling.
        **kwargs: As in :class:`BaseReID`.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.pseudo_labels = torch.empty(0, dtype=torch.int64)

    @property
    def memory(self) -> BaseMemory:
        """The memory bank of the head."""
        return self.head.memory

    def assign_pseudo_labels(self, pseudo: PseudoLabels) -> None:
        """Train on these labels from now on, with the memory bank reset to them."""
        self.pseudo_labels = pseudo.labels.to('cpu', torch.int64)
        self.memory.reset(pseudo)

    def loss(self, inputs: Tensor, data_samples: list) -> dict[str, Tensor]:
        """Compute the losses of a batch; its pseudo labels are looked up by ``sample_idx``."""
        if not len(self.pseudo_labels):
            raise RuntimeError('no pseudo labels yet: is PseudoLabelHook among the hooks?')
        indices = torch.tensor([sample.sample_idx for sample in data_samples])
        labels = self.pseudo_labels[indices]
        if not self.memory.takes_outliers and (labels < 0).any():
            raise RuntimeError(
                'an outlier (label -1) was drawn: sampler and model hold different pseudo labels, or the sampler has '
                f'outlier_groups, of which {type(self.memory).__name__} cannot learn (HybridMemory can)'
            )
        labels, indices = to_device(torch.stack([labels, indices]), inputs.device)
        return self.head.loss(F.normalize(self.extract_feat(inputs, data_samples)), labels, indices)
