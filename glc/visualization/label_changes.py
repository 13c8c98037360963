"""What a correction did to clusters."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from os import PathLike

import numpy as np
from PIL import Image, ImageDraw
from scipy import sparse
from scipy.sparse.csgraph import connected_components

from glc.core.labels import as_labels

from .image_rows import COLORS, GRAY, Color, Row, Tile, draw_image_rows

__all__ = ['KINDS', 'Change', 'compare_labels', 'draw_label_changes', 'largest_of_each_kind']

KINDS = {
    'merged': 'several clusters became one',
    'split': 'one cluster became several',
    'regrouped': 'several clusters became several others',
    'dropped': 'all images of a cluster became outliers',
    'new': 'outliers became a cluster',
    'adjusted': 'a cluster lost images to the outliers, or took some',
    'kept': 'a cluster stayed as it was',
}
"""Kinds of changes, and what they mean."""


@dataclass(frozen=True)
class Change:
    """Clusters that have images in common, before and after.

    Args:
        kind: A key of :data:`KINDS`.
        before: Clusters before, largest first.
        after: Clusters after, largest first.
        images: Rows of the images in them, in order.
    """

    kind: str
    before: tuple[int, ...]
    after: tuple[int, ...]
    images: np.ndarray


def compare_labels(before: np.ndarray, after: np.ndarray) -> list[Change]:
    """Find what happened to the clusters of a labeling.

    Clusters before and after belong together where they share an image.

    Args:
        before: Integer labels (N,); negative = outlier.
        after: Integer labels (N,) of the same images.

    Returns:
        The changes, kept clusters included: in the order of :data:`KINDS`, and those of more images first.

    Raises:
        ValueError: Lengths differ, or labels are not integers.

    Example:
        >>> changes = compare_labels(np.array([0, 0, 1, 1, 2, 2]), np.array([0, 0, 0, 0, -1, -1]))
        >>> [(change.kind, change.before, change.after) for change in changes]
        [('merged', (0, 1), (0,)), ('dropped', (2,), ())]
    """
    old = as_labels(before, name='before').cpu().numpy()
    new = as_labels(after, len(old), 'after').cpu().numpy()
    old_names, old_nodes = np.unique(old[old >= 0], return_inverse=True)
    new_names, new_nodes = np.unique(new[new >= 0], return_inverse=True)
    nodes = np.full((2, len(old)), -1)
    nodes[0, old >= 0] = old_nodes
    nodes[1, new >= 0] = new_nodes + len(old_names)
    shared = (nodes >= 0).all(0)
    size = len(old_names) + len(new_names)
    graph = sparse.coo_array((np.ones(shared.sum()), nodes[:, shared]), shape=(size, size))
    _, group_of = connected_components(graph, directed=False)
    group = np.where(nodes.max(0) < 0, -1, group_of[nodes.max(0)] if size else -1)
    inside = np.flatnonzero(group >= 0)
    inside = inside[np.argsort(group[inside], kind='stable')]
    starts = np.flatnonzero(np.diff(group[inside])) + 1
    changes = [_change(images, old, new) for images in np.split(inside, starts)] if len(inside) else []
    order = list(KINDS)
    return sorted(changes, key=lambda change: (order.index(change.kind), -len(change.images)))


def _change(images: np.ndarray, old: np.ndarray, new: np.ndarray) -> Change:
    before, after = (_by_size(labels[images]) for labels in (old, new))
    match len(before), len(after):
        case _, 0:
            kind = 'dropped'
        case 0, _:
            kind = 'new'
        case 1, 1:
            kind = 'kept' if ((old[images] < 0) == (new[images] < 0)).all() else 'adjusted'
        case 1, _:
            kind = 'split'
        case _, 1:
            kind = 'merged'
        case _:
            kind = 'regrouped'
    return Change(kind, before, after, images)


def _by_size(labels: np.ndarray) -> tuple[int, ...]:
    names, counts = np.unique(labels[labels >= 0], return_counts=True)
    return tuple(names[np.argsort(-counts, kind='stable')].tolist())


def largest_of_each_kind(changes: Sequence[Change], number: int) -> list[Change]:
    """Take some changes of :func:`compare_labels`: the largest of every kind, then the second largest, and so on.

    Example:
        >>> changes = compare_labels(np.array([0, 0, 1, 1, 2, 2, 3]), np.array([0, 0, 1, 1, -1, -1, -1]))
        >>> [change.kind for change in largest_of_each_kind(changes, 2)]
        ['dropped', 'kept']
    """
    turns: Counter[str] = Counter()
    ranked = []
    for place, change in enumerate(changes):
        ranked.append((turns[change.kind], place))
        turns[change.kind] += 1
    return [changes[place] for place in sorted(place for _, place in sorted(ranked)[:number])]


def draw_label_changes(
    paths: Sequence[str | PathLike],
    before: np.ndarray,
    after: np.ndarray,
    changes: Sequence[Change],
    images: int = 8,
    clusters: int = 4,
    size: tuple[int, int] = (48, 96),
) -> Image.Image:
    """Draw changed clusters before the correction, on the left, and after it, on the right.

    A frame has the color of the image's cluster on the side with more clusters; it is gray around outliers.

    Args:
        paths: N image files.
        before: Integer labels (N,); negative = outlier.
        after: Integer labels (N,).
        changes: The changes to draw, of :func:`compare_labels`; at least one.
        images: Images of a cluster that are drawn.
        clusters: Clusters of a change that are drawn, on each side.
        size: ``(width, height)`` of an image in pixels.

    Returns:
        An RGB image.

    Raises:
        ValueError: There is no change.
    """
    if not changes:
        raise ValueError('there is no change to draw')
    halves: tuple[list[Image.Image], list[Image.Image]] = ([], [])
    for change in changes:
        by, names = (
            (before, change.before) if len(change.before) >= len(change.after) else (after, change.after)
        )
        colors = {name: COLORS[place % len(COLORS)] for place, name in enumerate(names)}
        for half, labels, sides in zip(halves, (before, after), (change.before, change.after), strict=True):
            rows = []
            for name in [*sides[:clusters], *([-1] if (labels[change.images] < 0).any() else [])]:
                members = change.images[
                    labels[change.images] == name if name >= 0 else labels[change.images] < 0
                ]
                # Images of every color, not those of the first cluster only.
                members = members[np.argsort(_turns(by[members]), kind='stable')]
                tiles = [Tile(paths[row], _color(colors, by[row])) for row in members[:images].tolist()]
                title = f'cluster {name}' if name >= 0 else 'outliers'
                rows.append(Row(f'{title}, {len(members)} image{"s" * (len(members) != 1)}', tiles))
            more = len(sides) - clusters
            rows += [Row(f'and {more} more')] if more > 0 else []
            half.append(draw_image_rows(rows or [Row('')], size, images))
    return _side_by_side(halves, [f'{change.kind}: {KINDS[change.kind]}' for change in changes])


def _turns(groups: np.ndarray) -> np.ndarray:
    """Number the members of every group from 0: what is sorted by it takes turns."""
    turns = np.zeros(len(groups), int)
    for name in np.unique(groups):
        turns[groups == name] = np.arange((groups == name).sum())
    return turns


def _color(colors: dict[int, Color], label: int) -> Color:
    return colors.get(int(label), GRAY)


def _side_by_side(halves: tuple[list[Image.Image], list[Image.Image]], titles: Sequence[str]) -> Image.Image:
    gap, head = 24, 30
    widths = [max(part.width for part in half) for half in halves]
    heights = [max(left.height, right.height) + head for left, right in zip(*halves, strict=True)]
    picture = Image.new('RGB', (sum(widths) + 3 * gap, head + sum(heights) + gap), 'white')
    draw = ImageDraw.Draw(picture)
    lefts = (gap, widths[0] + 2 * gap)
    for left, title in zip(lefts, ('before', 'after'), strict=True):
        draw.text((left, head // 2), title, 'black', font_size=16, anchor='lm')
    top = head
    for title, height, *parts in zip(titles, heights, *halves, strict=True):
        draw.line((gap, top, picture.width - gap, top), GRAY)
        draw.text((gap, top + head // 2), title, GRAY, font_size=14, anchor='lm')
        for left, part in zip(lefts, parts, strict=True):
            picture.paste(part, (left, top + head))
        top += height
    return picture
