"""Any backbone of timm by name."""

from difflib import get_close_matches
from typing import Any

import timm
import torch
from timm.models.efficientnet import EfficientNet
from torch import Tensor

from glc.checkpoints import resize_pos_embed
from glc.registry import MODELS

from .base import BaseBackbone
from .timm_names import to_timm_names

__all__ = ['TimmBackbone']


@MODELS.register_module()
class TimmBackbone(BaseBackbone):
    """A timm model without pooling and classifier.

    Nothing is downloaded: weights come from a local file through ``init_cfg``, under timm's parameter names;
    for MobileNetV2 and EfficientNet-Lite see :func:`~glc.models.backbones.timm_names.to_timm_names`.

    Args:
        model_name: Name of a timm model, without a pretrained tag.
        init_cfg: See :class:`BaseBackbone`.
        **kwargs: Arguments of ``timm.create_model``; transformers usually need ``img_size=(256, 128)``.

    Raises:
        ValueError: If timm has no such model (the message suggests the closest names), or none without
            pooling.

    Example:
        >>> import torch
        >>> model = TimmBackbone('resnet18').eval()
        >>> model.out_channels, model(torch.zeros(2, 3, 64, 32)).shape
        (512, torch.Size([2, 512, 2, 1]))
    """

    def __init__(self, model_name: str, init_cfg: dict[str, Any] | None = None, **kwargs: Any) -> None:
        super().__init__(init_cfg)
        if not timm.is_model(model_name):
            close = get_close_matches(model_name, timm.list_models(), n=3, cutoff=0.5)
            hint = f'did you mean {" or ".join(map(repr, close))}?' if close else 'see timm.list_models()'
            raise ValueError(f'timm {timm.__version__} has no model {model_name!r}: {hint}')
        self.model_name = model_name
        try:
            self.model = timm.create_model(
                model_name, pretrained=False, num_classes=0, global_pool='', **kwargs
            )
        except AssertionError as error:
            raise ValueError(f'timm model {model_name!r} has no form without pooling: {error}') from error
        widths = (getattr(self.model, name, None) for name in ('head_hidden_size', 'num_features'))
        self.out_channels = next(filter(None, widths))

    def forward(self, inputs: Tensor) -> Tensor:
        """Turn images (B, 3, H, W) into a map (B, D, h, w), or into one token (B, 1, D).

        The token of a transformer is its class token, or the mean of all tokens where it has none.

        Raises:
            ValueError: If the model was built for images of another size.
        """
        try:
            output = self.model(inputs)
        except AssertionError as error:
            size = tuple(inputs.shape[2:])
            raise ValueError(
                f'timm model {self.model_name!r} does not take images of {size[0]} x {size[1]} ({error}); '
                f'build it with img_size={size}'
            ) from error
        if output.dim() == 3:
            has_class_token = getattr(self.model, 'num_prefix_tokens', 0) > 0
            return output[:, :1] if has_class_token else output.mean(1, keepdim=True)
        if output.dim() == 4 and output.shape[1] != self.out_channels:  # channels last
            return output.permute(0, 3, 1, 2)
        return output

    def adapt_state_dict(
        self, state_dict: dict[str, Tensor], hw_ratio: int | None = None
    ) -> dict[str, Tensor]:
        """Prefix timm's names with ``model.`` and resize a position embedding to this model's grid."""
        if isinstance(self.model, EfficientNet):
            state_dict = to_timm_names(state_dict, self.model.blocks)
        state_dict = {
            key if key.startswith('model.') else f'model.{key}': value for key, value in state_dict.items()
        }
        embed = state_dict.get('model.pos_embed')
        own = getattr(self.model, 'pos_embed', None)
        grid = getattr(getattr(self.model, 'patch_embed', None), 'grid_size', None)
        if embed is not None and own is not None and grid is not None and embed.shape != own.shape:
            leading = own.shape[1] - grid[0] * grid[1]
            patches = resize_pos_embed(embed[:, leading:], grid, hw_ratio)
            state_dict['model.pos_embed'] = torch.cat([embed[:, :leading], patches], 1)
        return state_dict
