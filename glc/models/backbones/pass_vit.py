"""Vision transformer with the part tokens of PASS, or plain, with the published parameter names."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, ClassVar, NamedTuple

import torch
import torch.nn.functional as F
from timm.models.vision_transformer import Block
from torch import Tensor, nn

from glc.checkpoints import resize_pos_embed
from glc.models.layers import IBN
from glc.registry import MODELS

from .base import BaseBackbone

__all__ = ['PASSViT']


class _Arch(NamedTuple):
    dim: int
    depth: int
    heads: int


class _PatchEmbed(nn.Module):
    """Images to patch tokens by one convolution, after the convolutional IBN stem of ICS if asked for."""

    stem_channels = 64
    stem_stride = 2

    def __init__(self, img_size: tuple[int, int], patch_size: int, stride: int, dim: int, ics: bool) -> None:
        super().__init__()
        self.img_size = img_size
        rows, columns = ((side - patch_size) // stride + 1 for side in img_size)
        self.grid_size = (rows, columns)
        channels, shrink = (self.stem_channels, self.stem_stride) if ics else (3, 1)
        if patch_size % shrink or stride % shrink:
            raise ValueError(f'the ICS stem needs even patch_size and stride, got {patch_size} and {stride}')
        self.conv: nn.Module = nn.Identity()
        if ics:
            self.conv = nn.Sequential(
                nn.Conv2d(3, channels, 7, stride=shrink, padding=3, bias=False),
                IBN(channels),
                nn.ReLU(inplace=True),
                nn.Conv2d(channels, channels, 3, padding=1, bias=False),
                IBN(channels),
                nn.ReLU(inplace=True),
                nn.Conv2d(channels, channels, 3, padding=1, bias=False),
                nn.BatchNorm2d(channels),
                nn.ReLU(inplace=True),
            )
        self.proj = nn.Conv2d(channels, dim, patch_size // shrink, stride=stride // shrink)

    def forward(self, images: Tensor) -> Tensor:
        if tuple(images.shape[2:]) != self.img_size:
            height, width = images.shape[2:]
            raise ValueError(
                f'the model was built for images of img_size={self.img_size} (height, width), got '
                f'{height} x {width}: set img_size of the backbone or the size of the resize transform'
            )
        return self.project(images).flatten(2).transpose(1, 2)

    def project(self, images: Tensor) -> Tensor:
        """Project images of any size to patches (B, D, h, w)."""
        return self.proj(self.conv(images))


@MODELS.register_module()
class PASSViT(BaseBackbone):
    """ViT whose part tokens summarize regions of a person (PASS, Zhu et al., ECCV 2022).

    The tokens cls, part 1 .. part P and the patches pass through timm's transformer blocks. The result is the
    layer-normalized cls and part tokens. Without part tokens it is the plain ViT of TransReID-SSL, DINO and
    ImageNet, whose checkpoints load: a position embedding with a row for the class token becomes ``cls_pos`` and
    ``pos_embed``. An embedding of another size is resized.

    Args:
        arch: ``'tiny'``, ``'small'`` or ``'base'`` (ViT-Ti, ViT-S, ViT-B), or a dict of ``dim``, ``depth``,
            ``heads``.
        img_size: Height and width of the images, in pixels.
        patch_size: Side of a patch, in pixels.
        stride: Distance between patches, in pixels; smaller than ``patch_size`` makes them overlap.
        num_part_tokens: Number P of part tokens; 0 makes a plain ViT.
        stem: ``'patch'``, or ``'ics'`` for the convolutional IBN stem of TransReID-SSL (Luo et al., 2021).
        drop_path_rate: Stochastic depth of the last block; it rises linearly from 0 at the first block.
        init_cfg: See :class:`BaseBackbone`.

    Raises:
        ValueError: If an argument is out of its range.

    Example:
        >>> model = PASSViT(dict(dim=48, depth=2, heads=3), img_size=(64, 32)).eval()
        >>> model(torch.zeros(2, 3, 64, 32)).shape
        torch.Size([2, 4, 48])
    """

    archs: ClassVar[dict[str, _Arch]] = {
        'tiny': _Arch(dim=192, depth=12, heads=3),
        'small': _Arch(dim=384, depth=12, heads=6),
        'base': _Arch(dim=768, depth=12, heads=12),
    }

    def __init__(
        self,
        arch: str | Mapping[str, int] = 'small',
        img_size: Sequence[int] = (256, 128),
        patch_size: int = 16,
        stride: int = 16,
        num_part_tokens: int = 3,
        stem: str = 'patch',
        drop_path_rate: float = 0.0,
        init_cfg: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(init_cfg)
        if isinstance(arch, str) and arch not in self.archs:
            raise ValueError(f'arch must be one of {", ".join(self.archs)} or a dict, got {arch!r}')
        if stem not in ('patch', 'ics'):
            raise ValueError(f"stem must be 'patch' or 'ics', got {stem!r}")
        height, width = img_size
        if min(height, width) < patch_size:
            raise ValueError(f'img_size={tuple(img_size)} is smaller than a patch of {patch_size} pixels')
        dim, depth, heads = self.archs[arch] if isinstance(arch, str) else _Arch(**arch)
        if dim % heads:
            raise ValueError(f'dim={dim} is not divisible by heads={heads}')
        self.out_channels = dim
        self.num_tokens = 1 + num_part_tokens
        self.patch_size = patch_size
        self.patch_embed = _PatchEmbed((height, width), patch_size, stride, dim, ics=stem == 'ics')
        rows, columns = self.patch_embed.grid_size
        self.cls_token = nn.Parameter(torch.empty(1, 1, dim))
        self.cls_pos = nn.Parameter(torch.empty(1, 1, dim))
        for part in range(1, self.num_tokens):
            self.register_parameter(f'part_token{part}', nn.Parameter(torch.empty(1, 1, dim)))
            self.register_parameter(f'part{part}_pos', nn.Parameter(torch.empty(1, 1, dim)))
        self.pos_embed = nn.Parameter(torch.empty(1, rows * columns, dim))
        norm_layer: Any = partial(nn.LayerNorm, eps=1e-6)  # timm asks for a class, and only calls it
        self.blocks = nn.Sequential(
            *(
                Block(
                    dim,
                    heads,
                    mlp_ratio=4,
                    qkv_bias=True,
                    drop_path=drop_path_rate * index / max(depth - 1, 1),
                    norm_layer=norm_layer,
                )
                for index in range(depth)
            )
        )
        self.norm = norm_layer(dim)
        self._initialize()

    def forward(self, inputs: Tensor) -> Tensor:
        """Turn images (B, 3, H, W) into normalized cls and part tokens (B, 1 + P, D).

        Raises:
            ValueError: If the images are not of ``img_size``.
        """
        return self._tokens(self.patch_embed(inputs) + self.pos_embed)

    def forward_crops(self, crops: Tensor) -> Tensor:
        """Turn crops of any size into tokens, as pre-training does: the position embeddings are always resized.

        Args:
            crops: (n, 3, h, w).

        Returns:
            The normalized cls and part tokens, (n, 1 + P, D).

        Raises:
            ValueError: If a crop is smaller than a patch.
        """
        return self._tokens(self._positioned_patches(crops))

    def forward_parts(self, crops: Tensor) -> Tensor:
        """Turn crops of the parts, of any size, into tokens.

        Each crop runs with the cls token and the token of its part only. The position embeddings of the patches are
        resized to the crops.

        Args:
            crops: (P, n, 3, h, w): n crops of each part.

        Returns:
            The normalized cls and part token of each crop, (P, n, 2, D).

        Raises:
            ValueError: If there is another number of parts, or a crop is smaller than a patch.
        """
        parts, count = crops.shape[:2]
        if parts != self.num_tokens - 1:
            raise ValueError(f'crops of {parts} parts for a model of {self.num_tokens - 1} part tokens')
        patches = self._positioned_patches(crops.flatten(0, 1))
        tokens = self._leading_tokens()[0]
        leading = torch.stack([tokens[[0, part]] for part in range(1, self.num_tokens)])  # (P, 2, D)
        x = self.blocks(torch.cat([leading.repeat_interleave(count, 0), patches], 1))
        return self.norm(x[:, :2]).unflatten(0, (parts, count))

    def adapt_state_dict(
        self, state_dict: dict[str, Tensor], hw_ratio: int | None = None
    ) -> dict[str, Tensor]:
        """Split the class token's row off a plain position embedding and resize the rest to this grid."""
        embed = state_dict.get('pos_embed')
        if embed is not None:
            if 'cls_pos' not in state_dict:
                state_dict['cls_pos'], embed = embed[:, :1], embed[:, 1:]
            state_dict['pos_embed'] = resize_pos_embed(embed, self.patch_embed.grid_size, hw_ratio)
        return state_dict

    def _leading_tokens(self) -> Tensor:
        """Return cls and part tokens with their positions, (1, 1 + P, D)."""
        parts = range(1, self.num_tokens)
        tokens = [self.cls_token, *(getattr(self, f'part_token{part}') for part in parts)]
        positions = [self.cls_pos, *(getattr(self, f'part{part}_pos') for part in parts)]
        return torch.cat(tokens, 1) + torch.cat(positions, 1)

    def _tokens(self, patches: Tensor) -> Tensor:
        """Turn patches (B, N, D) with their positions into normalized cls and part tokens (B, 1 + P, D)."""
        leading = self._leading_tokens().expand(patches.shape[0], -1, -1)  # len() would fix it in exports
        x = self.blocks(torch.cat([leading, patches], 1))
        return self.norm(x[:, : self.num_tokens])

    def _positioned_patches(self, crops: Tensor) -> Tensor:
        """Turn crops (n, 3, h, w) into patches (n, N', D) with resized positions."""
        if min(crops.shape[-2:]) < self.patch_size:
            raise ValueError(f'crops {tuple(crops.shape[-2:])} are smaller than a patch of {self.patch_size}')
        patches = self.patch_embed.project(crops)
        return (patches + self._positions(patches.shape[-2:])).flatten(2).transpose(1, 2)

    def _positions(self, grid: Sequence[int]) -> Tensor:
        """Return bicubic position embeddings of a grid of patches, (1, D, h, w).

        DINO adds a tenth of a patch to the size that it asks for, against rounding errors. That scales the positions a
        little, those of the same size too, and weights that were trained so need it.
        """
        own = self.patch_embed.grid_size
        embed = self.pos_embed.transpose(1, 2).unflatten(2, own)
        scale = tuple((size + 0.1) / old for size, old in zip(grid, own, strict=True))
        return F.interpolate(embed, scale_factor=scale, mode='bicubic')

    def _initialize(self) -> None:
        """Initialize as published; the projection of patches keeps torch's default."""
        for name, parameter in self.named_parameters():
            if name.endswith('_pos') or 'token' in name or name == 'pos_embed':
                nn.init.trunc_normal_(parameter, std=0.02)
        nn.init.zeros_(self.cls_pos)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)
                nn.init.zeros_(module.bias)
            elif isinstance(module, nn.Conv2d) and module is not self.patch_embed.proj:
                nn.init.kaiming_normal_(module.weight, mode='fan_out', nonlinearity='relu')
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
