"""Convert the tensors of a checkpoint to the names and shapes of a model."""

import re
from collections.abc import Iterable, Mapping
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from .layouts import first_names, rename_keys, unwrap_state_dict
from .report import LoadReport

__all__ = ['backbone_state_dict', 'compare', 'convert_state_dict', 'one_domain', 'resize_pos_embed']

_DOMAIN = re.compile(r'\.norms\.(\d+)\.')  # as DomainBatchNorm names its layers
_HEAD_PARTS = ('head', 'dist', 'pre_logits', 'fc.', 'classifier', 'bottleneck')


def backbone_state_dict(content: Any, prefix: str | None = None) -> tuple[dict[str, Tensor], list[str]]:
    """Find the tensors of the backbone in a checkpoint, whatever they are wrapped in.

    Descends into the top-level entries ``teacher``, ``model`` and ``state_dict``, recognizes the layout
    (:func:`~glc.checkpoints.layouts.rename_keys`), and strips the prefixes ``module.``, ``backbone.`` and ``base.`` as
    often as they occur. If some keys start with ``backbone.`` or ``base.``, the others belong to heads and necks.

    Args:
        content: What :func:`load_checkpoint_file` returned.
        prefix: Keep only the keys that start with this, and strip it, before everything else.

    Returns:
        The tensors by bare name, and the keys of the tensors beside the backbone.

    Raises:
        RuntimeError: If there is no tensor, or none below ``prefix``.

    Example:
        >>> import torch
        >>> teacher = {'module.backbone.norm.bias': torch.ones(2), 'module.head.bias': torch.ones(1)}
        >>> backbone_state_dict({'teacher': teacher})
        ({'norm.bias': tensor([1., 1.])}, ['module.head.bias'])
    """
    state = unwrap_state_dict(content)
    start = f'{prefix.rstrip(".")}.' if prefix else ''
    keys = {key.removeprefix(start): key for key in state if key.startswith(start)}
    if not keys:
        raise RuntimeError(f"no key starts with the prefix '{start}'; there are {first_names(state)}")
    network = {
        name.removeprefix('backbone.'): keys[key]
        for name, key in rename_keys(keys)[1].items()
        if name.startswith('backbone.')
    }
    inside = set(network.values())
    return {name: state[key] for name, key in network.items()}, [key for key in state if key not in inside]


def convert_state_dict(
    model: nn.Module,
    content: Any,
    layout: str = 'auto',
    hw_ratio: int | None = None,
    checkpoint: str = 'checkpoint',
) -> tuple[dict[str, Tensor], LoadReport]:
    """Convert a checkpoint to the names of a model, without loading anything.

    Args:
        model: The model: a whole one with a ``backbone``, or a :class:`~glc.core.correctors.LinkPredictor`.
        content: What :func:`load_checkpoint_file` returned.
        layout: Layout of the file, see :func:`~glc.checkpoints.layouts.rename_keys`.
        hw_ratio: See :func:`resize_pos_embed`.
        checkpoint: Name of the file for the report.

    Returns:
        The tensors that fit the model, by its names, and the report on all tensors. A classifier (``head.``) of other
        persons is left out.

    Raises:
        RuntimeError: If the content holds no weights.
        ValueError: If the layout is unknown.
    """
    raw = unwrap_state_dict(content)
    layout, sources = rename_keys(raw, layout)
    state = {name: raw[key] for name, key in sources.items()}
    adapt = getattr(getattr(model, 'backbone', None), 'adapt_state_dict', None)
    if adapt:
        network = {
            key.removeprefix('backbone.'): state.pop(key)
            for key in list(state)
            if key.startswith('backbone.')
        }
        state |= {f'backbone.{key}': value for key, value in adapt(network, hw_ratio).items()}
    return compare(model, state, raw, checkpoint, layout)


def resize_pos_embed(embed: Tensor, grid: tuple[int, int], hw_ratio: int | None = None) -> Tensor:
    """Resize the position embeddings of a grid of patches to another grid, bilinearly.

    Args:
        embed: Embeddings of the patches in row-major order, without any class token, (1, n, D).
        grid: Height and width of the wanted grid, in patches.
        hw_ratio: Height divided by width of the images of the old grid. Where n positions make no grid of ratio 1, 2
            or 3, it may have a few more rows, as overlapping patches do: 21 x 10 of 256 x 128 pixels. ``None`` keeps
            embeddings of the wanted number; for another number, it takes the first of 1, 2 and 3 that makes a grid.

    Returns:
        Embeddings (1, grid[0] * grid[1], D).

    Raises:
        RuntimeError: If n positions make no grid of that ratio.

    Example:
        >>> import torch
        >>> resize_pos_embed(torch.zeros(1, 14 * 14, 8), (16, 8)).shape
        torch.Size([1, 128, 8])
    """
    count = embed.shape[1]
    if hw_ratio is None and count == grid[0] * grid[1]:
        return embed
    grids = [(count // width, width) for width in range(1, count + 1) if count % width == 0]
    found = [(h, w) for ratio in (1, 2, 3) for h, w in grids if h == ratio * w]
    if found and hw_ratio is not None:
        found = [(h, w) for h, w in found if h == hw_ratio * w]
    elif hw_ratio is not None:
        found = [(h, w) for h, w in grids if 0 < h - hw_ratio * w < hw_ratio]
    if not found:
        likely = [f'{h} x {w}' for h, w in grids if w <= h <= 4 * w]
        raise RuntimeError(
            f'{count} position embeddings make no grid with hw_ratio={hw_ratio or "1, 2 or 3"}; the network has a grid '
            f'of {grid[0]} x {grid[1]} (height x width), and {count} positions are '
            f'{" or ".join(likely) or "no grid of usual shape"}: set hw_ratio in init_cfg to height / width of the '
            'images of the pre-training, or img_size and stride of the network to those of the file'
        )
    height, width = found[0]
    if (height, width) == tuple(grid):
        return embed
    old = embed.reshape(1, height, width, -1).permute(0, 3, 1, 2).float()
    new = F.interpolate(old, size=tuple(grid), mode='bilinear', align_corners=False)
    return new.permute(0, 2, 3, 1).reshape(1, grid[0] * grid[1], -1).to(embed.dtype)


def compare(
    module: nn.Module,
    state: Mapping[str, Tensor],
    raw: Mapping[str, Tensor],
    checkpoint: str,
    layout: str = '',
    beside: Iterable[str] = (),
) -> tuple[dict[str, Tensor], LoadReport]:
    """Select the tensors that fit a module, and report on all.

    Args:
        module: The module to load into.
        state: Tensors by the names of the module.
        raw: Tensors by their keys in the file.
        checkpoint: Name of the file.
        layout: Layout of the file.
        beside: Keys of the file that belong to no part of the module.
    """
    own = module.state_dict()
    state = _for_all_domains(own, state)
    keys = {id(value): key for key, value in raw.items()}
    positions = next((key for key in raw if key.endswith('pos_embed')), '')  # all that is ever computed anew
    sources = {name: keys.get(id(value), positions or name) for name, value in state.items()}
    fitting = {name: value for name, value in state.items() if name in own and value.shape == own[name].shape}
    classifier: list[str] = []
    other: list[str] = []
    for name in state:
        if name in own and name not in fitting:
            (classifier if name.startswith('head.') else other).append(name)
    surplus = [name for name in state if name not in own]
    heads = [name for name in surplus if _is_head(name)]
    return fitting, LoadReport(
        checkpoint=checkpoint,
        matched=_counted(name for name in own if name in fitting),
        resized=_counted(
            f'{name} {tuple(raw[sources[name]].shape)} -> {tuple(value.shape)}'
            for name, value in fitting.items()
            if name.endswith('pos_embed') and raw.get(sources[name], value).shape != value.shape
        ),
        missing=_counted(name for name in own if name not in fitting and name not in other),
        mismatched=_counted(
            f'{name} {tuple(state[name].shape)} != {tuple(own[name].shape)}' for name in other
        ),
        unexpected=_counted(sources[name] for name in surplus if name not in heads),
        dropped=_counted([*beside, *(sources[name] for name in (*heads, *classifier))]),
        sources={name: sources[name] for name in (*fitting, *other)},
        layout=layout,
    )


def one_domain(state: Mapping[str, Tensor], domain: int) -> dict[str, Tensor]:
    """Keep the batch normalizations of one domain, for a network that has common ones.

    Args:
        state: Tensors of a network with domain-specific normalizations, by name.
        domain: Number of the domain, from 0.

    Raises:
        RuntimeError: If there is no such domain.

    Example:
        >>> import torch
        >>> state = {'bn.norms.0.weight': torch.zeros(2), 'bn.norms.1.weight': torch.ones(2), 'fc': torch.ones(1)}
        >>> one_domain(state, 1)
        {'bn.weight': tensor([1., 1.]), 'fc': tensor([1.])}
    """
    found = {int(number) for key in state for number in _DOMAIN.findall(key)}
    if domain not in found:
        raise RuntimeError(
            f'the file has batch normalizations of domains {sorted(found)}, and none of {domain}'
        )
    own = f'.norms.{domain}.'
    return {
        key.replace(own, '.'): value for key, value in state.items() if own in key or not _DOMAIN.search(key)
    }


def _for_all_domains(own: Iterable[str], state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Give every domain of a network (names ``own``) the tensors of a common batch normalization."""
    copies: dict[str, list[str]] = {}
    for name in own:
        if _DOMAIN.search(name):
            copies.setdefault(_DOMAIN.sub('.', name), []).append(name)
    return {name: value for key, value in state.items() for name in copies.get(key, [key])}


def _is_head(name: str) -> bool:
    return not name.startswith('neck.') and any(part in name for part in _HEAD_PARTS)


def _counted(names: Iterable[str]) -> tuple[str, ...]:
    return tuple(name for name in names if 'num_batches_tracked' not in name)
