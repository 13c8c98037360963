"""Reading published checkpoints: safe unpickling, key clean-up and a report of what was loaded."""

import argparse
import logging
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from mmengine.logging import print_log
from torch import Tensor, nn

__all__ = [
    'LoadReport',
    'backbone_state_dict',
    'load_backbone_checkpoint',
    'load_checkpoint_file',
    'resize_pos_embed',
]

_CONTAINERS = ('teacher', 'model', 'state_dict')
_BACKBONE_PREFIXES = ('backbone.', 'base.')
_HEAD_PARTS = ('head', 'dist', 'pre_logits', 'fc.', 'classifier', 'bottleneck')

# What training scripts leave beside the weights: the command line and a best score. None can run code.
_HARMLESS_GLOBALS = [
    argparse.Namespace,
    np.dtype,
    *(type(np.dtype(kind)) for kind in ('float64', 'float32', 'int64', 'int32', 'bool')),
    *((np.float64(0).__reduce__()[0], f'numpy.{core}.multiarray.scalar') for core in ('core', '_core')),
]


@dataclass(frozen=True)
class LoadReport:
    """What happened to every tensor when a checkpoint was loaded into a backbone.

    The ``num_batches_tracked`` counters of batch normalisation, absent from older files and without any
    effect, are left out everywhere.

    Attributes:
        checkpoint: Path of the file.
        matched: Tensors of the backbone that were loaded.
        resized: Those of ``matched`` that had another shape in the file, as ``'name (old) -> (new)'``.
        missing: Tensors of the backbone that the file does not have; they keep their values.
        mismatched: Tensors that have another shape in the file, as ``'name (file) != (backbone)'``.
        unexpected: Tensors of the file that the backbone does not have.
        dropped: Tensors of the file that belong to a head, classifier or neck.

    Example:
        >>> LoadReport('a.pth', matched=('conv.weight',), missing=('conv.bias',)).fraction
        0.5
    """

    checkpoint: str
    matched: tuple[str, ...] = ()
    resized: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    mismatched: tuple[str, ...] = ()
    unexpected: tuple[str, ...] = ()
    dropped: tuple[str, ...] = ()

    @property
    def total(self) -> int:
        """Number of tensors of the backbone."""
        return len(self.matched) + len(self.missing) + len(self.mismatched)

    @property
    def fraction(self) -> float:
        """Share of the backbone's tensors that were loaded.

        Tensors are counted, not elements: a file without the small normalisation statistics ruins the
            features
        just as thoroughly as one without a large matrix.
        """
        return len(self.matched) / self.total if self.total else 1.0

    def __str__(self) -> str:
        lines = [f'{self.checkpoint}: loaded {len(self.matched)} of {self.total} backbone tensors']
        for what in ('resized', 'missing', 'mismatched', 'unexpected', 'dropped'):
            if names := getattr(self, what):
                lines.append(f'  {what} ({len(names)}): {_first(names)}')
        return '\n'.join(lines)


def load_checkpoint_file(path: str | Path) -> Any:
    """Content of a checkpoint file, on the CPU, without running any code that the file may carry.

    Besides tensors and Python containers, a file may hold an ``argparse.Namespace`` and NumPy numbers.

    Args:
        path: The file.

    Raises:
        FileNotFoundError: If there is no such file.
        RuntimeError: If the file holds other Python objects, or is no PyTorch checkpoint.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(
            f"checkpoint '{path}' does not exist (current directory: '{Path.cwd()}'). Download the file that "
            "the configuration's README names and put it there, or pass its place with "
            '--cfg-options model.backbone.init_cfg.checkpoint=PATH; '
            'model.backbone.init_cfg=None starts from random weights'
        )
    try:
        with torch.serialization.safe_globals(_HARMLESS_GLOBALS):
            return torch.load(path, map_location='cpu', weights_only=True)
    except Exception as error:
        named = re.search('.*unsupported.*', str(error), re.IGNORECASE)
        reason = named[0] if named else str(error).partition('\n')[0]
        raise RuntimeError(
            f"checkpoint '{path}' cannot be read safely: {reason}\n"
            'Either the file is damaged (download it again), or it holds Python objects beside its weights, '
            'and unpickling those can run any code. If you trust its origin, keep only the weights, once:\n'
            f"  python -c \"import torch; d = torch.load('{path}', map_location='cpu', weights_only=False); "
            f"torch.save({{k: d[k] for k in {_CONTAINERS} if k in d}} or d, 'weights.pth')\""
        ) from error


def backbone_state_dict(content: Any, prefix: str | None = None) -> tuple[dict[str, Tensor], list[str]]:
    """Bare tensors of the backbone in a checkpoint, whatever they are wrapped in.

    Descends into the top-level entries ``teacher``, ``model`` and ``state_dict``, and strips the prefixes
    ``module.``, ``backbone.`` and ``base.`` as often as they occur. Where some keys start with ``backbone.``
    or ``base.``, the others belong to heads and necks.

    Args:
        content: What :func:`load_checkpoint_file` returned.
        prefix: Keep only the keys that start with this, and strip it, before everything else.

    Returns:
        The tensors by bare name, and the names of the tensors beside the backbone.

    Raises:
        RuntimeError: If there is no tensor, or none below ``prefix``.

    Example:
        >>> teacher = {'module.backbone.norm.bias': torch.ones(2), 'module.head.bias': torch.ones(1)}
        >>> backbone_state_dict({'teacher': teacher})
        ({'norm.bias': tensor([1., 1.])}, ['head.bias'])
    """
    while isinstance(content, Mapping):
        inner = next((content[key] for key in _CONTAINERS if isinstance(content.get(key), Mapping)), None)
        if inner is None:
            break
        content = inner
    items = content.items() if isinstance(content, Mapping) else ()
    state = {key: value for key, value in items if isinstance(value, Tensor)}
    if not state:
        found = f'only {_first(content)}' if isinstance(content, Mapping) else f'a {type(content).__name__}'
        raise RuntimeError(f'no weights at the top or below {", ".join(_CONTAINERS)}, but {found}')
    beside: list[str] = []

    def below(start: str) -> dict[str, Tensor]:
        beside.extend(key for key in state if not key.startswith(start))
        return {key[len(start) :]: value for key, value in state.items() if key.startswith(start)}

    if prefix:
        start = prefix.rstrip('.') + '.'
        if not any(key.startswith(start) for key in state):
            raise RuntimeError(f"no key starts with the prefix '{start}'; there are {_first(state)}")
        state = below(start)
    while True:
        state = {_without_module(key): value for key, value in state.items()}
        start = next((p for p in _BACKBONE_PREFIXES if any(key.startswith(p) for key in state)), '')
        if not start:
            return state, beside
        state = below(start)


def resize_pos_embed(embed: Tensor, grid: tuple[int, int], hw_ratio: int | None = None) -> Tensor:
    """Resize the position embeddings of a grid of patches to another grid, bilinearly.

    Args:
        embed: Embeddings of the patches in row-major order, without any class token, `(1, n, D)`.
        grid: Height and width of the wanted grid, in patches.
        hw_ratio: Height divided by width of the old grid. ``None``: embeddings of the wanted number are kept;
            otherwise the one of 1, 2 and 3 that makes a grid out of n positions.

    Returns:
        Embeddings `(1, grid[0] * grid[1], D)`.

    Raises:
        RuntimeError: If n positions make no grid of that ratio.

    Example:
        >>> resize_pos_embed(torch.zeros(1, 14 * 14, 8), (16, 8)).shape
        torch.Size([1, 128, 8])
    """
    count = embed.shape[1]
    if hw_ratio is None and count == grid[0] * grid[1]:
        return embed
    for ratio in (1, 2, 3) if hw_ratio is None else (hw_ratio,):
        height = int((count * ratio) ** 0.5)
        width = height // ratio
        if height * width == count:
            break
    else:
        raise RuntimeError(
            f'{count} position embeddings make no grid with hw_ratio={hw_ratio or "1, 2 or 3"}: set hw_ratio '
            'in init_cfg to height / width of the images of the pre-training'
        )
    if (height, width) == tuple(grid):
        return embed
    old = embed.reshape(1, height, width, -1).permute(0, 3, 1, 2).float()
    new = F.interpolate(old, size=tuple(grid), mode='bilinear', align_corners=False)
    return new.permute(0, 2, 3, 1).reshape(1, grid[0] * grid[1], -1).to(embed.dtype)


def load_backbone_checkpoint(
    backbone: nn.Module,
    checkpoint: str | Path,
    prefix: str | None = None,
    hw_ratio: int | None = None,
    min_matched: float = 0.95,
) -> LoadReport:
    """Load a published checkpoint into a backbone and report what matched.

    Args:
        backbone: The module to load into. Where it has a method
            ``adapt_state_dict(state_dict, hw_ratio) -> state_dict``, as every
            :class:`~glc.models.backbones.base.BaseBackbone` has, that brings the tensors into its layout.
        checkpoint: Path of the file.
        prefix: Only load keys that start with this, without it; not needed for published files.
        hw_ratio: Height divided by width of the images of the pre-training, for position embeddings of
            another number (2 for person images, 1 for ImageNet). ``None``: see :func:`resize_pos_embed`.
        min_matched: Smallest share of the backbone's tensors that must be loaded, in [0, 1].

    Returns:
        The report, which is also logged.

    Raises:
        FileNotFoundError: If the file does not exist.
        RuntimeError: If the file cannot be read safely, holds no weights, matches less than ``min_matched``,
            or has a tensor of another shape (which means another architecture). The backbone is unchanged.
    """
    content = load_checkpoint_file(checkpoint)
    try:
        raw, beside = backbone_state_dict(content, prefix)
        adapt = getattr(backbone, 'adapt_state_dict', None)
        state = adapt(dict(raw), hw_ratio) if adapt else raw
    except RuntimeError as error:
        raise RuntimeError(f"checkpoint '{checkpoint}': {error}") from error

    own = backbone.state_dict()
    fitting = {key: value for key, value in state.items() if key in own and value.shape == own[key].shape}
    surplus = [key for key in state if key not in own]
    heads = [key for key in surplus if any(part in key for part in _HEAD_PARTS)]
    report = LoadReport(
        checkpoint=str(checkpoint),
        matched=_counted(key for key in own if key in fitting),
        resized=_counted(
            f'{key} {tuple(raw[key].shape)} -> {tuple(value.shape)}'
            for key, value in fitting.items()
            if key in raw and raw[key].shape != value.shape
        ),
        missing=_counted(key for key in own if key not in state),
        mismatched=_counted(
            f'{key} {tuple(value.shape)} != {tuple(own[key].shape)}'
            for key, value in state.items()
            if key in own and key not in fitting
        ),
        unexpected=_counted(key for key in surplus if key not in heads),
        dropped=_counted([*beside, *heads]),
    )
    if report.fraction < min_matched or report.mismatched:
        raise RuntimeError(
            f'{report}\nThat is {report.fraction:.1%} of {type(backbone).__name__}; required are '
            f'{min_matched:.0%} and no other shape, since random features train to nothing. Is this the '
            'checkpoint of another architecture, width or stem? If the weights sit below another key, name '
            "it: init_cfg=dict(..., prefix='...')"
        )
    backbone.load_state_dict(fitting, strict=False)
    level = logging.WARNING if report.missing or report.unexpected else logging.INFO
    print_log(str(report), logger='current', level=level)
    return report


def _without_module(key: str) -> str:
    while key.startswith('module.'):
        key = key.removeprefix('module.')
    return key


def _counted(names: Iterable[str]) -> tuple[str, ...]:
    return tuple(name for name in names if 'num_batches_tracked' not in name)


def _first(names: Iterable[str], limit: int = 6) -> str:
    names = [str(name) for name in names]
    return ', '.join(names[:limit]) + (', ...' if len(names) > limit else '')
