"""PASS: part-aware self-distillation on unlabeled person images."""

from typing import Any

import torch
import torch.nn.functional as F
from mmengine.dist import all_reduce_dict
from mmengine.model import BaseModel, ModuleDict, ModuleList
from torch import Tensor, nn

from glc.core.losses import PartDistillationLoss, move_towards_
from glc.models.layers import convert_batchnorm
from glc.registry import MODELS


@MODELS.register_module()
class PASSPretraining(BaseModel):
    """Student and teacher with part tokens, one projection head per token (PASS, Zhu et al., ECCV 2022).

    A global crop runs with all tokens, a local crop of part p with the class token and part token p. The student learns
    the teacher's outputs of the same token in the other global crops:

    - with the class token, from all crops;
    - with part token p, from the global crops and the local crops of part p.

    Without part tokens it is DINO (Caron et al., ICCV 2021), which TransReID-SSL pre-trains with: the class token
    learns from all crops, and local crops come from anywhere (``PartMultiCrop(parts=[(0, 1)], crops_per_part=8)``).

    The teacher's backbone is the product. It follows the student by :meth:`update_teacher`, which
    :class:`~glc.engine.SelfDistillationHook` calls.

    Weights are named ``student.backbone``, ``student.heads.0`` (class token) to ``student.heads.P``, and the same
    below ``teacher``.

    Args:
        backbone: Config of a backbone with tokens, ``forward_crops`` and ``forward_parts``, see
            :class:`~glc.models.PASSViT`. The teacher has the same without stochastic depth and pretrained weights.
        head: Config of a projection head, without ``in_channels``.
        distillation: Further arguments of :class:`~glc.core.losses.PartDistillationLoss`.
        data_preprocessor: Config of the data preprocessor.
        bn_group_size: Images of one view per group of batch statistics in training, where the backbone has BatchNorm;
            None keeps one group per process.
        init_cfg: mmengine's initialization config.
    """

    def __init__(
        self,
        backbone: dict,
        head: dict,
        distillation: dict | None = None,
        data_preprocessor: dict | None = None,
        bn_group_size: int | None = None,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(MODELS.build(data_preprocessor or {'type': 'MultiCropDataPreprocessor'}), init_cfg)
        self.student = _network(backbone, head, bn_group_size)
        self.teacher = _network(
            {**backbone, 'drop_path_rate': 0.0, 'init_cfg': None}, head, bn_group_size
        ).requires_grad_(False)
        heads = self.student['heads']
        self.distillation = PartDistillationLoss(
            heads[0].num_outputs, num_heads=len(heads), **(distillation or {})
        )
        self.teacher.load_state_dict(self.student.state_dict())

    def compile(self, *args: Any, **kwargs: Any) -> None:
        """Compile both backbones, as ``torch.nn.Module.compile`` does."""
        for network in (self.student, self.teacher):
            network['backbone'].compile(*args, **kwargs)

    def init_weights(self) -> None:
        """Initialize the student, then give the teacher the same weights."""
        super().init_weights()
        self.teacher.load_state_dict(self.student.state_dict())

    def update_teacher(self, momentum: float) -> None:
        """Move the teacher's parameters towards the student's; ``momentum`` is the share that stays."""
        move_towards_(self.teacher, self.student, momentum)

    def last_layers(self) -> list[nn.Parameter]:
        """List the weights and gains of the last layers of the student's heads, which stay as they are at first."""
        layers = [(head.last_weight, head.last_gain) for head in self.student['heads']]
        return [parameter for layer in layers for parameter in layer if parameter is not None]

    def forward(self, inputs: Any, data_samples: list | None = None, mode: str = 'tensor') -> object:
        """Call ``extract_feat`` (mode ``'tensor'``), ``loss`` or ``predict``."""
        if mode == 'tensor':
            return self.extract_feat(inputs)
        if mode == 'loss':
            return self.loss(inputs, data_samples)
        if mode == 'predict':
            return self.predict(inputs, data_samples or [])
        raise ValueError(f"mode must be 'tensor', 'loss' or 'predict', got {mode!r}")

    def loss(self, inputs: dict[str, Tensor], data_samples: list | None = None) -> dict[str, Tensor]:
        """Compute the loss of the crops of B images; the centers of the teacher learn from them.

        Args:
            inputs: ``'global'``, crops (G, B, 3, H, W), and ``'local'``, crops (P * L, B, 3, h, w) in the
                order of the parts.
            data_samples: Unused; part of mmengine's interface.

        Returns:
            ``loss_distillation``, and for the log ``teacher_entropy``.
        """
        with torch.no_grad():
            teacher = self._outputs(self.teacher, inputs['global'])
        student = self._outputs(self.student, inputs['global'], inputs['local'])
        losses = {
            'loss_distillation': self.distillation(student, teacher),
            'teacher_entropy': self.distillation.teacher_entropy(teacher),
        }
        self.distillation.update(teacher)
        return losses

    def parse_losses(self, losses: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the loss of this process for the backward pass, and the means over all processes for the log."""
        loss, log_vars = super().parse_losses(losses)
        log_vars = {name: value.detach().clone() for name, value in log_vars.items()}
        all_reduce_dict(log_vars, op='mean')
        return loss, log_vars

    def extract_feat(self, inputs: Tensor) -> Tensor:
        """Extract unit features of images (B, 3, H, W).

        Returns:
            The teacher's class token and mean part token, (B, 2 D); (B, D) without part tokens.
        """
        cls, *parts = self.teacher['backbone'](inputs).unbind(1)
        return F.normalize(torch.cat([cls, torch.stack(parts).mean(0)], 1) if parts else cls)

    def predict(self, inputs: Tensor, data_samples: list) -> list:
        """Return the data samples, each with its unit feature as ``feature``."""
        for sample, feature in zip(data_samples, self.extract_feat(inputs).float(), strict=True):
            sample.set_data({'feature': feature})
        return data_samples

    def _outputs(
        self, network: ModuleDict, global_crops: Tensor, local_crops: Tensor | None = None
    ) -> list[Tensor]:
        """Compute the outputs (V, B, K) of a network per token, the global views first."""
        batch = global_crops.shape[1]
        tokens = network['backbone'].forward_crops(global_crops.flatten(0, 1))
        rows = [[token] for token in tokens.unbind(1)]
        if local_crops is not None and len(rows) == 1:
            rows[0].append(network['backbone'].forward_crops(local_crops.flatten(0, 1))[:, 0])
        elif local_crops is not None:
            parts = len(rows) - 1
            crops = local_crops.unflatten(0, (parts, -1)).flatten(1, 2)  # (P, L * B, 3, h, w)
            local = network['backbone'].forward_parts(crops)
            rows[0].append(local[:, :, 0].flatten(0, 1))
            for part in range(parts):
                rows[part + 1].append(local[part, :, 1])
        return [
            head(torch.cat(row)).unflatten(0, (-1, batch))
            for head, row in zip(network['heads'], rows, strict=True)
        ]


def _network(backbone: dict, head: dict, bn_group_size: int | None) -> ModuleDict:
    encoder = MODELS.build(backbone)
    if bn_group_size is not None:
        encoder = convert_batchnorm(encoder, bn_group_size)
    heads = [MODELS.build({**head, 'in_channels': encoder.out_channels}) for _ in range(encoder.num_tokens)]
    return ModuleDict({'backbone': encoder, 'heads': ModuleList(heads)})
