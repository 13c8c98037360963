"""Vision transformer with the part tokens of PASS, or plain, with the published parameter names."""

import math
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, ClassVar, NamedTuple

import torch
import torch.nn.functional as F
from mmengine.structures import BaseDataElement
from timm.models.vision_transformer import Block
from torch import Tensor, nn

from glc.checkpoints import resize_pos_embed
from glc.models.layers import IBN, GeM
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


class _Blocks(nn.Sequential):
    """A sequence that compiles to one graph: torch 2.11 compiles each module of an nn.Sequential by itself."""

    def forward(self, x: Tensor) -> Tensor:
        for block in self:
            x = block(x)
        return x


@MODELS.register_module()
class PASSViT(BaseBackbone):
    """ViT whose part tokens summarize regions of a person (PASS, Zhu et al., ECCV 2022).

    The tokens cls, part 1 .. part P and the patches pass through timm's transformer blocks. The result is the
    layer-normalized cls and part tokens. Without part tokens it is the plain ViT of TransReID-SSL, DINO and
    ImageNet, whose checkpoints load: a position embedding with a row for the class token becomes ``cls_pos`` and
    ``pos_embed``. An embedding of another size is resized.

    With side information (SIE of TransReID, He et al., ICCV 2021), every token of an image also gets
    ``side_weight`` times a learned embedding of its camera, which training and tests take from the data samples. An
    image whose camera is unknown, or not among those of the training, is refused: nothing was learned for it, and
    without an embedding its feature is not comparable with others.

    Args:
        arch: ``'tiny'``, ``'small'`` or ``'base'`` (ViT-Ti, ViT-S, ViT-B), or a dict of ``dim``, ``depth``,
            ``heads``.
        img_size: Height and width of the images, in pixels.
        patch_size: Side of a patch, in pixels.
        stride: Distance between patches, in pixels; smaller than ``patch_size`` makes them overlap.
        num_part_tokens: Number P of part tokens; 0 makes a plain ViT.
        stem: ``'patch'``, or ``'ics'`` for the convolutional IBN stem of TransReID-SSL (Luo et al., 2021).
        drop_path_rate: Stochastic depth of the last block; it rises linearly from 0 at the first block.
        side_information: Number of values of fields of the data samples: ``dict(cam_id=6)`` for 6 cameras,
            ``dict(cam_id=20, view_id=8)`` for cameras and views, with an embedding for each pair. None for no SIE.
        side_weight: Factor of the embedding, lambda of TransReID.
        drop_rate: Dropout of the embedded tokens, and of the outputs of attention and MLP.
        attn_drop_rate: Dropout of the attention.
        gem_pool: Add the generalized mean (p = 3) of the normalized patches to the class token; for a plain ViT.
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
        side_information: Mapping[str, int] | None = None,
        side_weight: float = 3.0,
        drop_rate: float = 0.0,
        attn_drop_rate: float = 0.0,
        gem_pool: bool = False,
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
        if gem_pool and num_part_tokens:
            raise ValueError(
                f'gem_pool is for a ViT without part tokens, got num_part_tokens={num_part_tokens}'
            )
        if dim % heads:
            raise ValueError(f'dim={dim} is not divisible by heads={heads}')
        self.out_channels = dim
        self.num_part_tokens = num_part_tokens
        self.num_tokens = 1 + num_part_tokens
        self.patch_size = patch_size
        self.patch_embed = _PatchEmbed((height, width), patch_size, stride, dim, ics=stem == 'ics')
        rows, columns = self.patch_embed.grid_size
        self.cls_token = nn.Parameter(torch.empty(1, 1, dim))
        self.cls_pos = nn.Parameter(torch.empty(1, 1, dim))
        for part in range(1, 1 + num_part_tokens):
            self.register_parameter(f'part_token{part}', nn.Parameter(torch.empty(1, 1, dim)))
            self.register_parameter(f'part{part}_pos', nn.Parameter(torch.empty(1, 1, dim)))
        self.pos_embed = nn.Parameter(torch.empty(1, rows * columns, dim))
        self.side_information = dict(side_information or {})
        self.needs_samples = bool(self.side_information)
        self.side_weight = side_weight
        if self.needs_samples:
            values = list(self.side_information.values())
            if min(values) < 1:
                raise ValueError(
                    f'side_information needs at least one value per field, got {side_information}'
                )
            self.sie_embed = nn.Parameter(torch.empty(math.prod(values), 1, dim))
        self.pos_drop = nn.Dropout(drop_rate)
        self.gem = GeM() if gem_pool else None
        norm_layer: Any = partial(nn.LayerNorm, eps=1e-6)  # timm asks for a class, and only calls it
        self.blocks: nn.Sequential = _Blocks(
            *(
                Block(
                    dim,
                    heads,
                    mlp_ratio=4,
                    qkv_bias=True,
                    proj_drop=drop_rate,
                    attn_drop=attn_drop_rate,
                    drop_path=drop_path_rate * index / max(depth - 1, 1),
                    norm_layer=norm_layer,
                )
                for index in range(depth)
            )
        )
        self.norm = norm_layer(dim)
        self._initialize()

    def compile(self, *args: Any, **kwargs: Any) -> None:
        """Compile the blocks, as ``torch.nn.Module.compile`` does; tokens before them depend on data samples."""
        self.blocks.compile(*args, **kwargs)

    def forward(self, inputs: Tensor, data_samples: Sequence[BaseDataElement] = ()) -> Tensor:
        """Turn images (B, 3, H, W) into normalized cls and part tokens (B, 1 + P, D).

        Args:
            inputs: The images.
            data_samples: What is known of each image; needed with ``side_information`` only.

        Raises:
            ValueError: If the images are not of ``img_size``, or side information of an image is unknown.
        """
        return self._encode(self._embedded(inputs, data_samples))

    def forward_crops(self, crops: Tensor) -> Tensor:
        """Turn crops of any size into tokens, as pre-training does: the position embeddings are always resized.

        Args:
            crops: (n, 3, h, w).

        Returns:
            The normalized cls and part tokens, (n, 1 + P, D).

        Raises:
            ValueError: If a crop is smaller than a patch.
        """
        return self._encode(self._joined(self._positioned_patches(crops)))

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
        if parts != self.num_part_tokens:
            raise ValueError(f'crops of {parts} parts for a model of {self.num_part_tokens} part tokens')
        patches = self._positioned_patches(crops.flatten(0, 1))
        tokens = self._leading_tokens()[0]
        leading = torch.stack([tokens[[0, part]] for part in range(1, 1 + parts)])  # (P, 2, D)
        x = self.blocks(torch.cat([leading.repeat_interleave(count, 0), patches], 1))
        return self.norm(x[:, :2]).unflatten(0, (parts, count))

    def attention_maps(
        self, inputs: Tensor, data_samples: Sequence[BaseDataElement] = ()
    ) -> dict[str, Tensor]:
        """Tell what class and part tokens look at in the last block.

        Args:
            inputs: Preprocessed images (B, 3, H, W).
            data_samples: As in :meth:`forward`.

        Returns:
            Attention to the patches (B, h, w), the mean over the heads, of ``'cls'``, ``'part 1'`` .. ``'part P'``.
            Attention to the tokens before the patches is left out.

        Raises:
            ValueError: As :meth:`forward`.
        """
        x = self._embedded(inputs, data_samples)
        *blocks, last = self._blocks_of_cls()
        for block in blocks:
            x = block(x)
        layer, tokens = last.attn, 1 + self.num_part_tokens
        query, key, _ = layer.qkv(last.norm1(x)).unflatten(2, (3, layer.num_heads, -1)).permute(2, 0, 3, 1, 4)
        scores = layer.q_norm(query[:, :, :tokens]) * layer.scale @ layer.k_norm(key).mT
        weights = scores.softmax(3).mean(1)[:, :, tokens:].unflatten(2, self.patch_embed.grid_size)
        names = ['cls', *(f'part {part}' for part in range(1, tokens))]
        return dict(zip(names, weights.unbind(1), strict=True))

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
        parts = range(1, 1 + self.num_part_tokens)
        tokens = [self.cls_token, *(getattr(self, f'part_token{part}') for part in parts)]
        positions = [self.cls_pos, *(getattr(self, f'part{part}_pos') for part in parts)]
        return torch.cat(tokens, 1) + torch.cat(positions, 1)

    def _side(self, data_samples: Sequence[BaseDataElement], count: int) -> Tensor:
        """Return the weighted embeddings of the side information of the images, (B, 1, D)."""
        if len(data_samples) != count:
            raise ValueError(
                f'backbone.side_information={self.side_information} needs the data samples of {count} images, got '
                f'{len(data_samples)}: extract features with extract_feat(inputs, data_samples)'
            )
        indices = []
        for sample in data_samples:
            index = 0
            for field, size in self.side_information.items():
                value = sample.get(field, -1)
                if not 0 <= value < size:
                    raise ValueError(
                        f'{field}={value} of {sample.get("img_path", "an image")}: backbone.side_information has '
                        f'learned embeddings of {field} 0 to {size - 1}, and -1 is unknown. Give images of the '
                        'cameras of the training, or train without side_information'
                    )
                index = index * size + value
            indices.append(index)
        return self.side_weight * self.sie_embed[indices]

    def _blocks_of_cls(self) -> list[Any]:
        """Return the blocks that the class token passes through."""
        return list(self.blocks)

    def _embedded(self, inputs: Tensor, data_samples: Sequence[BaseDataElement]) -> Tensor:
        """Turn images into embedded tokens (B, 1 + P + N, D)."""
        patches = self.patch_embed(inputs) + self.pos_embed
        return self._joined(patches, self._side(data_samples, len(inputs)) if self.needs_samples else None)

    def _joined(self, patches: Tensor, side: Tensor | None = None) -> Tensor:
        """Put cls and part tokens before patches (B, N, D) with their positions."""
        leading = self._leading_tokens().expand(patches.shape[0], -1, -1)  # len() would fix it in exports
        x = torch.cat([leading, patches], 1)
        return self.pos_drop(x if side is None else x + side)

    def _encode(self, x: Tensor) -> Tensor:
        """Turn embedded tokens (B, 1 + P + N, D) into normalized cls and part tokens (B, 1 + P, D)."""
        x = self.blocks(x)
        if self.gem is None:
            return self.norm(x[:, : 1 + self.num_part_tokens])
        cls, patches = self.norm(x).split([1, x.shape[1] - 1], 1)
        return cls + self.gem(patches.transpose(1, 2)[..., None])[:, None]

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
            if name.endswith('_pos') or 'token' in name or name in ('pos_embed', 'sie_embed'):
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
