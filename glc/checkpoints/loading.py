"""Loading checkpoints into backbones, models and the network of GLC."""

import logging
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from mmengine.logging import print_log
from torch import Tensor, nn

from glc.core.correctors import LinkPredictor

from .conversion import backbone_state_dict, compare, convert_state_dict
from .layouts import first_names, unwrap_state_dict
from .reading import load_checkpoint_file
from .report import LoadReport

__all__ = [
    'check_same_tensors',
    'link_predictor_for',
    'load_backbone_checkpoint',
    'load_link_predictor',
    'load_model_checkpoint',
    'non_finite',
]


def load_backbone_checkpoint(
    backbone: nn.Module,
    checkpoint: str | Path,
    prefix: str | None = None,
    hw_ratio: int | None = None,
    min_matched: float = 0.95,
) -> LoadReport:
    """Load a published checkpoint into a backbone and report what matched.

    Args:
        backbone: The module to load into. If it has a method ``adapt_state_dict(state_dict, hw_ratio) -> state_dict``,
            as every :class:`~glc.models.backbones.base.BaseBackbone` has, this method converts the tensors first.
        checkpoint: Path of the file.
        prefix: Only load keys that start with this, without it; not needed for published files.
        hw_ratio: Height divided by width of the images of the pre-training, for position embeddings of
            another number (2 for person images, 1 for ImageNet). ``None``: see :func:`resize_pos_embed`.
        min_matched: Smallest share of the backbone's tensors that must be loaded, in [0, 1].

    Returns:
        The report, which is also logged.

    Raises:
        FileNotFoundError: If the file does not exist.
        RuntimeError: If the file cannot be read safely, holds no weights or weights that are not finite, matches less
            than ``min_matched``, or has a tensor of another shape (which means another architecture). The backbone is
            unchanged.
    """
    content = load_checkpoint_file(checkpoint)
    try:
        bare, beside = backbone_state_dict(content, prefix)
        adapt = getattr(backbone, 'adapt_state_dict', None)
        state = adapt(dict(bare), hw_ratio) if adapt else bare
    except RuntimeError as error:
        raise RuntimeError(f"checkpoint '{checkpoint}': {error}") from error
    fitting, report = compare(backbone, state, unwrap_state_dict(content), str(checkpoint), beside=beside)
    if report.fraction < min_matched or report.mismatched:
        raise RuntimeError(
            f'{report}\nThat is {report.fraction:.1%} of {type(backbone).__name__}; required are '
            f'{min_matched:.0%} and no other shape, since random features train to nothing. Is this the '
            'checkpoint of another architecture, width or stem? If the weights sit below another key, name '
            "it: init_cfg=dict(..., prefix='...')"
        )
    return _load(backbone, fitting, report)


def load_model_checkpoint(
    model: nn.Module,
    checkpoint: str | Path,
    layout: str = 'auto',
    hw_ratio: int | None = None,
    content: Any = None,
) -> LoadReport:
    """Load a whole model, backbone and neck, from a checkpoint of ours or a published one.

    Only the classifier (``head.``) may be missing, because features do not need it. Only heads and classifiers may be
    left over.

    Args:
        model: The model to load into.
        checkpoint: Path of the file.
        layout: Layout of the file, see :func:`~glc.checkpoints.layouts.rename_keys`.
        hw_ratio: See :func:`resize_pos_embed`.
        content: Content of the file, where it has been read already.

    Returns:
        The report, which is also logged.

    Raises:
        FileNotFoundError: If the file does not exist.
        RuntimeError: If the file cannot be read safely, holds no weights, holds weights that are not finite, or does
            not fit the model, which is unchanged then.
        ValueError: If the layout is unknown.
    """
    if content is None:
        content = load_checkpoint_file(checkpoint)
    try:
        fitting, report = convert_state_dict(model, content, layout, hw_ratio, str(checkpoint))
    except RuntimeError as error:
        raise RuntimeError(f"checkpoint '{checkpoint}': {error}") from error
    missing = [name for name in report.missing if not name.startswith('head.')]
    if missing or report.mismatched or report.unexpected:
        absent = [*missing, *report.mismatched]
        if any(name.startswith('neck.') for name in report.matched):
            hint = 'use the config it was trained with (neck.fusion, neck.multi, neck.pool, the kind of backbone)'
        elif report.matched:
            hint = (
                'it holds a network without a neck, which can be started from: test.py CONFIG --cfg-options '
                f'model.backbone.init_cfg.checkpoint={checkpoint}'
            )
        else:
            hint = (
                f'it is of another network: {_shapes("only in the config", missing, model.state_dict())}; '
                f'{_shapes("only in the file", report.unexpected, unwrap_state_dict(content))}'
            )
        raise RuntimeError(
            f"checkpoint '{checkpoint}' (layout {report.layout}) does not fit the config: "
            f'{_some("missing or misshapen tensors", absent)}, {_some("unexpected tensors", report.unexpected)}; '
            f'{hint}'
        )
    return _load(model, fitting, report)


def link_predictor_for(state: Mapping[str, Tensor]) -> LinkPredictor:
    """Make a random network of GLC of the size of published weights.

    Args:
        state: The published weights, with ``conv1.weight`` (2 D, H).

    Raises:
        RuntimeError: If there is no ``conv1.weight``.
    """
    weight = state.get('conv1.weight')
    if weight is None or weight.dim() != 2:
        raise RuntimeError(f'no graph convolution conv1.weight (2 D, H) among {first_names(state)}')
    return LinkPredictor(weight.shape[0] // 2, weight.shape[1])


def load_link_predictor(*checkpoints: str | Path) -> LinkPredictor:
    """Load the published weights of GLC into a network, for :meth:`glc.core.correctors.GLC.use_network`.

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


def check_same_tensors(model: nn.Module, state: Mapping[str, Tensor], checkpoint: str | Path) -> None:
    """Check that tensors are those of a model: all names, no other ones, the same shapes, all values finite.

    Args:
        model: The model.
        state: Tensors by name.
        checkpoint: Path of their file.

    Raises:
        RuntimeError: If they are not; the message has examples of both sides.
    """
    _, report = compare(model, state, state, str(checkpoint))
    beside = (*report.unexpected, *report.dropped)
    if report.missing or report.mismatched or beside:
        raise RuntimeError(
            f"checkpoint '{checkpoint}' holds another model than the config: {len(report.matched)} tensors fit; "
            f'{_shapes("only in the config", report.missing, model.state_dict())}; '
            f'{_shapes("only in the file", beside, state)}; '
            f'{_some("misshapen", report.mismatched)}'
        )
    _check_finite(state, checkpoint)


def non_finite(state: Mapping[str, Any]) -> list[str]:
    """List the names of the tensors with an element that is infinite or no number; meta tensors have no elements.

    Example:
        >>> import torch
        >>> non_finite({'a': torch.ones(2), 'b': torch.tensor([1.0, float('nan')])})
        ['b']
    """
    return [
        name
        for name, value in state.items()
        if isinstance(value, Tensor) and not value.is_meta and not bool(torch.isfinite(value).all())
    ]


def _check_finite(state: Mapping[str, Tensor], checkpoint: str | Path) -> None:
    if bad := non_finite(state):
        raise RuntimeError(
            f"checkpoint '{checkpoint}': {len(bad)} of {len(state)} tensors have elements that are infinite or no "
            f'number ({first_names(bad, 3)}): the training that wrote it diverged; take an earlier checkpoint'
        )


def _shapes(what: str, names: Iterable[str], state: Mapping[str, Tensor]) -> str:
    return _some(what, [f'{name} {tuple(state[name].shape)}' for name in names])


def _load(module: nn.Module, fitting: Mapping[str, Tensor], report: LoadReport) -> LoadReport:
    _check_finite(fitting, report.checkpoint)
    module.load_state_dict(fitting, strict=False)
    level = logging.WARNING if report.missing or report.unexpected else logging.INFO
    print_log(str(report), logger='current', level=level)
    return report


def _some(what: str, names: Iterable[str]) -> str:
    names = list(names)
    return f'{len(names)} {what}' + (f' ({first_names(names, 3)})' if names else '')
