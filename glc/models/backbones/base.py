"""The base class of all backbones."""

from typing import Any

from mmengine.model import BaseModule
from torch import Tensor

from glc.checkpoints import LoadReport, load_backbone_checkpoint

__all__ = ['BaseBackbone']


class BaseBackbone(BaseModule):
    """Encoder of images (B, 3, H, W) to tokens (B, T, D), a map (B, D, h, w) or vectors (B, D).

    A subclass sets ``out_channels`` and, where it returns tokens, ``num_tokens`` in its constructor, and
    initializes itself there at random, so that it is usable without any configuration.

    Args:
        init_cfg: ``dict(type='Pretrained', checkpoint=PATH)`` makes :meth:`init_weights` load that file; its
            further keys ``prefix``, ``hw_ratio`` and ``min_matched`` are those of
            :func:`~glc.checkpoints.load_backbone_checkpoint`. Other types are left to mmengine. ``None``
            keeps the random weights of the constructor.

    Attributes:
        out_channels: Feature dimension D.
        num_tokens: Number of tokens T; 1 for maps and vectors.
        needs_samples: Whether it is called with the data samples of the images as well.
        load_report: What the last loaded checkpoint matched; ``None`` before.

    Example:
        >>> from torch import nn, zeros
        >>> class Tiny(BaseBackbone):
        ...     def __init__(self):
        ...         super().__init__()
        ...         self.out_channels = 4
        ...         self.conv = nn.Conv2d(3, 4, 3)
        ...
        ...     def forward(self, inputs):
        ...         return self.conv(inputs)
        >>> Tiny()(zeros(2, 3, 8, 8)).shape
        torch.Size([2, 4, 6, 6])
    """

    out_channels: int
    num_tokens: int = 1
    needs_samples: bool = False

    def __init__(self, init_cfg: dict[str, Any] | None = None) -> None:
        super().__init__(init_cfg)
        self.load_report: LoadReport | None = None

    def init_weights(self) -> None:
        """Load the checkpoint of ``init_cfg``, if there is one.

        Raises:
            FileNotFoundError: If the checkpoint does not exist.
            RuntimeError: If it cannot be read safely or does not match this backbone.
            TypeError: If ``init_cfg`` has an unknown key.
        """
        if self.init_cfg and not (isinstance(self.init_cfg, dict) and self.init_cfg['type'] == 'Pretrained'):
            super().init_weights()
            return
        if self.init_cfg:
            arguments = {key: value for key, value in self.init_cfg.items() if key != 'type'}
            self.load_report = load_backbone_checkpoint(self, **arguments)
        self.is_init = True

    def attention_maps(self, inputs: Tensor) -> dict[str, Tensor]:
        """Tell where the network looks; a ViT has its attention instead.

        Args:
            inputs: Preprocessed images (B, 3, H, W).

        Returns:
            ``'activation'``: the mean over the channels of the last map, (B, h, w).

        Raises:
            TypeError: If the backbone gives no map.
        """
        output = self(inputs)
        if output.dim() != 4:
            raise TypeError(f'{type(self).__name__} gives no map but a tensor of shape {tuple(output.shape)}')
        return {'activation': output.mean(1)}

    def adapt_state_dict(
        self, state_dict: dict[str, Tensor], hw_ratio: int | None = None
    ) -> dict[str, Tensor]:
        """Bring the bare tensors of a published checkpoint into this backbone's layout.

        Args:
            state_dict: Tensors by bare name; may be changed.
            hw_ratio: Height divided by width of the images of the pre-training, ``None`` if unknown.

        Returns:
            The tensors by the names, and where possible in the shapes, of this backbone.
        """
        return state_dict
