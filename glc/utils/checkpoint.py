"""Reading published checkpoints: safe unpickling, names of ours, and a report of what was loaded."""

import argparse
import logging
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from mmengine.logging import print_log
from torch import Tensor, nn

from glc.core.correctors.link_network import LinkPredictor

from .layouts import CONTAINERS, rename_keys, unwrap_state_dict

__all__ = [
    'LoadReport',
    'backbone_state_dict',
    'convert_state_dict',
    'link_predictor_for',
    'load_backbone_checkpoint',
    'load_checkpoint_file',
    'load_link_predictor',
    'load_model_checkpoint',
    'resize_pos_embed',
]

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
    """What happened to every tensor when a checkpoint was loaded into a backbone or a model.

    The ``num_batches_tracked`` counters of batch normalisation, absent from older files and without any
    effect, are left out everywhere.

    Attributes:
        checkpoint: Path of the file.
        matched: Tensors of the model that were loaded.
        resized: Those of ``matched`` that had another shape in the file, as ``'name (old) -> (new)'``.
        missing: Tensors of the model that the file does not have; they keep their values.
        mismatched: Tensors that have another shape in the file, as ``'name (file) != (model)'``.
        unexpected: Tensors of the file that the model does not have, by their keys in the file.
        dropped: Tensors of the file that belong to a head or classifier and, where only a backbone is loaded, to a
            neck; by their keys in the file.
        sources: Key in the file of every tensor of ``matched`` and ``mismatched``.
        layout: Layout of the file, one of :data:`~glc.utils.layouts.LAYOUTS`, where a whole model was loaded.

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
    sources: Mapping[str, str] = field(default_factory=dict)
    layout: str = ''

    @property
    def total(self) -> int:
        """Number of tensors of the model."""
        return len(self.matched) + len(self.missing) + len(self.mismatched)

    @property
    def fraction(self) -> float:
        """Share of the model's tensors that were loaded.

        Tensors are counted, not elements: a file without the small normalisation statistics ruins the features just
        as thoroughly as one without a large matrix.
        """
        return len(self.matched) / self.total if self.total else 1.0

    @property
    def renamed(self) -> tuple[str, ...]:
        """Those of ``matched`` that have another name in the file."""
        return tuple(name for name in self.matched if self.sources.get(name, name) != name)

    def table(self) -> str:
        """One row per tensor: what happened to it, its key in the file, its name in the model, changed shapes."""
        rows = [('status', 'key in the file', 'name in the model', 'shape'), *self._rows()]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        return '\n'.join(
            '  '.join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
            for row in rows
        )

    def _rows(self) -> Iterator[tuple[str, str, str, str]]:
        shapes = dict(entry.split(' ', 1) for entry in (*self.resized, *self.mismatched))
        renamed = set(self.renamed)
        for name in self.matched:
            status = 'renamed' if name in renamed else 'matched'
            yield status, self.sources.get(name, name), name, shapes.get(name, '')
        for name in (entry.split(' ', 1)[0] for entry in self.mismatched):
            yield 'other shape', self.sources.get(name, name), name, shapes[name]
        yield from (('missing', '', name, '') for name in self.missing)
        yield from (('skipped', key, '', '') for key in self.dropped)
        yield from (('unexpected', key, '', '') for key in self.unexpected)

    def __str__(self) -> str:
        what = f'tensors (layout {self.layout})' if self.layout else 'backbone tensors'
        lines = [f'{self.checkpoint}: loaded {len(self.matched)} of {self.total} {what}']
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
            f"torch.save({{k: d[k] for k in {CONTAINERS} if k in d}} or d, 'weights.pth')\""
        ) from error


def backbone_state_dict(content: Any, prefix: str | None = None) -> tuple[dict[str, Tensor], list[str]]:
    """Bare tensors of the backbone in a checkpoint, whatever they are wrapped in.

    Descends into the top-level entries ``teacher``, ``model`` and ``state_dict``, recognises the layout
    (:func:`~glc.utils.layouts.rename_keys`), and strips the prefixes ``module.``, ``backbone.`` and ``base.`` as
    often as they occur. Where some keys start with ``backbone.`` or ``base.``, the others belong to heads and necks.

    Args:
        content: What :func:`load_checkpoint_file` returned.
        prefix: Keep only the keys that start with this, and strip it, before everything else.

    Returns:
        The tensors by bare name, and the keys of the tensors beside the backbone.

    Raises:
        RuntimeError: If there is no tensor, or none below ``prefix``.

    Example:
        >>> teacher = {'module.backbone.norm.bias': torch.ones(2), 'module.head.bias': torch.ones(1)}
        >>> backbone_state_dict({'teacher': teacher})
        ({'norm.bias': tensor([1., 1.])}, ['module.head.bias'])
    """
    state = unwrap_state_dict(content)
    start = f'{prefix.rstrip(".")}.' if prefix else ''
    keys = {key.removeprefix(start): key for key in state if key.startswith(start)}
    if not keys:
        raise RuntimeError(f"no key starts with the prefix '{start}'; there are {_first(state)}")
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
    """Tensors of a checkpoint under the names of a model; nothing is loaded.

    Args:
        model: The model: a whole one with a ``backbone``, or a :class:`~glc.core.gcn.LinkPredictor`.
        content: What :func:`load_checkpoint_file` returned.
        layout: Layout of the file, see :func:`~glc.utils.layouts.rename_keys`.
        hw_ratio: See :func:`resize_pos_embed`.
        checkpoint: Name of the file for the report.

    Returns:
        The tensors that fit the model by its names, and what became of all of them. A classifier (``head.``) of
        other persons is left out.

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
    return _compare(model, state, raw, checkpoint, layout)


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
        bare, beside = backbone_state_dict(content, prefix)
        adapt = getattr(backbone, 'adapt_state_dict', None)
        state = adapt(dict(bare), hw_ratio) if adapt else bare
    except RuntimeError as error:
        raise RuntimeError(f"checkpoint '{checkpoint}': {error}") from error
    fitting, report = _compare(backbone, state, unwrap_state_dict(content), str(checkpoint), beside=beside)
    if report.fraction < min_matched or report.mismatched:
        raise RuntimeError(
            f'{report}\nThat is {report.fraction:.1%} of {type(backbone).__name__}; required are '
            f'{min_matched:.0%} and no other shape, since random features train to nothing. Is this the '
            'checkpoint of another architecture, width or stem? If the weights sit below another key, name '
            "it: init_cfg=dict(..., prefix='...')"
        )
    return _load(backbone, fitting, report)


def load_model_checkpoint(
    model: nn.Module, checkpoint: str | Path, layout: str = 'auto', hw_ratio: int | None = None
) -> LoadReport:
    """Load a whole model, backbone and neck, from a checkpoint of ours or a published one.

    Nothing may be missing but the classifier (``head.``), which features do not need, and nothing left over but heads
    and classifiers.

    Args:
        model: The model to load into.
        checkpoint: Path of the file.
        layout: Layout of the file, see :func:`~glc.utils.layouts.rename_keys`.
        hw_ratio: See :func:`resize_pos_embed`.

    Returns:
        The report, which is also logged.

    Raises:
        FileNotFoundError: If the file does not exist.
        RuntimeError: If the file cannot be read safely, holds no weights or does not fit the model, which is
            unchanged then.
        ValueError: If the layout is unknown.
    """
    content = load_checkpoint_file(checkpoint)
    try:
        fitting, report = convert_state_dict(model, content, layout, hw_ratio, str(checkpoint))
    except RuntimeError as error:
        raise RuntimeError(f"checkpoint '{checkpoint}': {error}") from error
    missing = [name for name in report.missing if not name.startswith('head.')]
    if missing or report.mismatched or report.unexpected:
        absent = [*missing, *report.mismatched]
        hint = (
            'use the config it was trained with (neck.fusion, neck.multi, neck.pool, the kind of backbone)'
            if any(name.startswith('neck.') for name in report.matched)
            else 'it holds a network without a neck, which can be started from: test.py CONFIG --cfg-options '
            f'model.backbone.init_cfg.checkpoint={checkpoint}'
        )
        raise RuntimeError(
            f"checkpoint '{checkpoint}' (layout {report.layout}) does not fit the config: "
            f'{_some("missing or misshapen", absent)}, {_some("unexpected", report.unexpected)}; {hint}'
        )
    return _load(model, fitting, report)


def link_predictor_for(state: Mapping[str, Tensor]) -> LinkPredictor:
    """A random network of GLC of the size of published weights.

    Args:
        state: The published weights, with ``conv1.weight`` (2 D, H).

    Raises:
        RuntimeError: If there is no ``conv1.weight``.
    """
    weight = state.get('conv1.weight')
    if weight is None or weight.dim() != 2:
        raise RuntimeError(f'no graph convolution conv1.weight (2 D, H) among {_first(state)}')
    return LinkPredictor(weight.shape[0] // 2, weight.shape[1])


def load_link_predictor(*checkpoints: str | Path) -> LinkPredictor:
    """The network of GLC with published weights, for :meth:`glc.core.correction.GLC.use_network`.

    Args:
        checkpoints: Paths of the files: graph convolution and link head, or one file of both.

    Raises:
        FileNotFoundError: If a file does not exist.
        RuntimeError: If a file cannot be read safely, or if together they are not such a network.
    """
    state: dict[str, Tensor] = {}
    for checkpoint in checkpoints:
        state |= unwrap_state_dict(load_checkpoint_file(checkpoint))
    names = ', '.join(map(str, checkpoints))
    try:
        network = link_predictor_for(state)
    except RuntimeError as error:
        raise RuntimeError(f"checkpoint '{names}': {error}") from error
    fitting, report = convert_state_dict(network, state, 'gcn', checkpoint=names)
    if report.fraction < 1 or report.unexpected:
        raise RuntimeError(
            f'{report}\nThe network of GLC is conv1 and classifier.0 to classifier.2: give both files'
        )
    _load(network, fitting, report)
    return network


def _compare(
    module: nn.Module,
    state: Mapping[str, Tensor],
    raw: Mapping[str, Tensor],
    checkpoint: str,
    layout: str = '',
    beside: Iterable[str] = (),
) -> tuple[dict[str, Tensor], LoadReport]:
    """Tensors of ``state`` that fit a module, and the report; ``raw`` is the content of the file, key by key."""
    own = module.state_dict()
    keys = {id(value): key for key, value in raw.items()}
    positions = next((key for key in raw if key.endswith('pos_embed')), '')  # all that is ever computed anew
    sources = {name: keys.get(id(value), positions or name) for name, value in state.items()}
    fitting = {name: value for name, value in state.items() if name in own and value.shape == own[name].shape}
    classifier, other = [], []
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


def _load(module: nn.Module, fitting: Mapping[str, Tensor], report: LoadReport) -> LoadReport:
    module.load_state_dict(fitting, strict=False)
    level = logging.WARNING if report.missing or report.unexpected else logging.INFO
    print_log(str(report), logger='current', level=level)
    return report


def _is_head(name: str) -> bool:
    return not name.startswith('neck.') and any(part in name for part in _HEAD_PARTS)


def _counted(names: Iterable[str]) -> tuple[str, ...]:
    return tuple(name for name in names if 'num_batches_tracked' not in name)


def _some(what: str, names: Iterable[str]) -> str:
    names = list(names)
    return f'{len(names)} {what} tensors' + (f' ({_first(names, 3)})' if names else '')


def _first(names: Iterable[str], limit: int = 6) -> str:
    names = [str(name) for name in names]
    return ', '.join(names[:limit]) + (', ...' if len(names) > limit else '')
