"""Layouts of published checkpoints, and the names that their tensors have in a model of ours.

A layout says where network, neck and classifier are in a file. Names inside the network are those of timm, torchvision,
IBN-Net and torchreid already. What differs there (position embeddings, networks saved as a sequence) is the business of
``adapt_state_dict`` of the backbone.
"""

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

__all__ = [
    'CONTAINERS',
    'LAYOUTS',
    'Layout',
    'first_names',
    'recognize_layout',
    'rename_keys',
    'unwrap_state_dict',
]

CONTAINERS = ('teacher', 'model', 'state_dict')

_WRAPPERS = re.compile(r'^(?:module\.)+')
_NETWORK_WRAPPERS = re.compile(r'^backbone\.(?:(?:module|backbone|base)\.)+')


@dataclass(frozen=True)
class Layout:
    """Where a published file holds the parts of a model.

    Attributes:
        about: Whose files have this layout.
        evidence: Regular expression; a file with a key that starts so has this layout.
        rules: Regular expressions and what they are replaced by; the first one that matches names a key.
        default: What is put before a key that no rule matches.
        complete: Whether every key of the file must be evidence.
    """

    about: str
    evidence: str
    rules: tuple[tuple[str, str], ...] = ()
    default: str = ''
    complete: bool = False

    def fits(self, keys: Iterable[str]) -> bool:
        """Return whether keys without ``module.`` show this layout."""
        found = (re.match(self.evidence, key) is not None for key in keys)
        return all(found) if self.complete else any(found)

    def rename(self, key: str) -> str:
        """Name in our model of a key without ``module.``."""
        for pattern, replacement in self.rules:
            renamed, count = re.subn(f'^{pattern}', replacement, key)
            if count:
                return _NETWORK_WRAPPERS.sub('backbone.', renamed)
        return _NETWORK_WRAPPERS.sub('backbone.', self.default + key)


_REID_RULES = (
    (r'base\.', 'backbone.'),
    (r'(b[12]\.)', r'backbone.\1'),  # JPM of TransReID
    (r'(?:feat|fcneck)\.', 'neck.embedding.'),
    (r'(?:bottleneck|feat_bn)\.', 'neck.bottleneck.'),
    (r'bottleneck_(?:pt)?(\d+)\.', r'neck.bottleneck_pt\1.'),
    (r'gap\.p$', 'neck.pool.p'),
    (r'classifier\.', 'head.classifier.'),
)

# In the order in which they are tried.
LAYOUTS: Mapping[str, Layout] = {
    'glc': Layout('checkpoints of this project', r'(?:neck|student)\.'),
    'teacher': Layout('pre-training of DINO, TransReID-SSL and PASS, with its heads', r'backbone\.'),
    'reid': Layout(
        'network below base., neck and classifier beside it: cluster contrast, models trained with labels by '
        'TransReID, TransReID-SSL and PASS',
        r'base\.',
        _REID_RULES,
    ),
    'reid_vit': Layout(
        'ViT with its neck among its own keys: USL and UDA models of TransReID-SSL, PASS and GLC',
        r'bottleneck(?:_pt\d+)?\.',
        _REID_RULES,
        'backbone.',
    ),
    'gcn': Layout(
        'network of GLC, one file or two', r'(?:conv1|classifier\.[012])\.(?:weight|bias)$', complete=True
    ),
    'network': Layout('network alone: timm, torchvision, IBN-Net, torchreid, DINO', '', default='backbone.'),
}


def unwrap_state_dict(content: Any) -> dict[str, Tensor]:
    """Find the tensors of a checkpoint, by their keys in the file.

    Args:
        content: Content of the file: a state dict, alone or below (any of) the entries ``teacher``, ``model`` and
            ``state_dict``.

    Raises:
        RuntimeError: If there is no tensor, or a sparse or complex one.

    Example:
        >>> import torch
        >>> list(unwrap_state_dict({'epoch': 50, 'state_dict': {'module.norm.bias': torch.ones(2)}}))
        ['module.norm.bias']
    """
    while isinstance(content, Mapping):
        inner = next((content[key] for key in CONTAINERS if isinstance(content.get(key), Mapping)), None)
        if inner is None:
            break
        content = inner
    items = content.items() if isinstance(content, Mapping) else ()
    state = {key: value for key, value in items if isinstance(key, str) and isinstance(value, Tensor)}
    if not state:
        found = (
            f'only {first_names(content)}' if isinstance(content, Mapping) else f'a {type(content).__name__}'
        )
        raise RuntimeError(f'no weights at the top or below {", ".join(CONTAINERS)}, but {found}')
    odd = [key for key, value in state.items() if value.layout != torch.strided or value.is_complex()]
    if odd:
        raise RuntimeError(f'no network here has sparse or complex weights, such as {first_names(odd, 3)}')
    return state


def recognize_layout(keys: Collection[str]) -> str:
    """Recognize the layout of a file by its keys; ``'network'`` if no other layout fits.

    Example:
        >>> recognize_layout(['module.base.0.weight', 'module.feat_bn.weight'])
        'reid'
        >>> recognize_layout(['conv1.weight', 'bn1.weight', 'fc.weight'])
        'network'
    """
    bare = [_WRAPPERS.sub('', key) for key in keys]
    return next(name for name, layout in LAYOUTS.items() if layout.fits(bare))


def rename_keys(keys: Collection[str], layout: str = 'auto') -> tuple[str, dict[str, str]]:
    """Translate the keys of a published file to the names in a model of ours.

    The network is below ``backbone.``, with the names of its publication, the neck below ``neck.``, a classifier is
    ``head.classifier.``. Keys that belong to none of them keep their names. ``module.`` is left out everywhere.

    Args:
        keys: Keys of the file.
        layout: One of :data:`LAYOUTS`, or ``'auto'`` for :func:`recognize_layout`.

    Returns:
        The layout, and the key in the file of every name.

    Raises:
        ValueError: If there is no such layout.
        RuntimeError: If two keys get the same name.

    Example:
        >>> rename_keys(['module.cls_token', 'module.bottleneck_pt1.weight'])[1]
        {'backbone.cls_token': 'module.cls_token', 'neck.bottleneck_pt1.weight': 'module.bottleneck_pt1.weight'}
        >>> rename_keys(['base.cls_token', 'bottleneck_1.weight'])[1]
        {'backbone.cls_token': 'base.cls_token', 'neck.bottleneck_pt1.weight': 'bottleneck_1.weight'}
    """
    if layout != 'auto' and layout not in LAYOUTS:
        raise ValueError(f"layout must be 'auto' or one of {', '.join(LAYOUTS)}, got {layout!r}")
    name = recognize_layout(keys) if layout == 'auto' else layout
    sources: dict[str, str] = {}
    for key in keys:
        renamed = LAYOUTS[name].rename(_WRAPPERS.sub('', key))
        if renamed in sources:
            raise RuntimeError(
                f"'{sources[renamed]}' and '{key}' would both be '{renamed}' in layout '{name}'"
            )
        sources[renamed] = key
    return name, sources


def first_names(names: Iterable[str], limit: int = 6) -> str:
    """List the first of some names, for a message."""
    names = [str(name) for name in names]
    return ', '.join(names[:limit]) + (', ...' if len(names) > limit else '')
