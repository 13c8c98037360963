"""Curves of a training."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ['PANELS', 'draw_curves']

PANELS: dict[str, dict[str, str]] = {
    'loss': {'loss': 'loss'},
    'test scores, percent': {'mAP': 'reid/mAP', 'Rank-1': 'reid/rank1'},
    'clusters and outliers': {'clusters': 'pseudo_labels/clusters', 'outliers': 'pseudo_labels/outliers'},
    'labels against identities: pairwise F': {
        'before correction': 'pseudo_labels/labels/pairwise_f',
        'after correction': 'pseudo_labels/corrected/pairwise_f',
    },
    'labels against identities: BCubed F': {
        'before correction': 'pseudo_labels/labels/bcubed_f',
        'after correction': 'pseudo_labels/corrected/bcubed_f',
    },
    'change of the labels since the last ones': {'change': 'pseudo_labels/change'},
    'seconds per stage': {
        'extract': 'pseudo_labels/seconds/extract',
        'label': 'pseudo_labels/seconds/label',
        'correct': 'pseudo_labels/seconds/correct',
        'train': 'seconds/train',
    },
}
"""Curves by panel: their labels, and the names of the scalars."""
_STACKED = 'seconds per stage'


def draw_curves(scalars: Mapping[str, Mapping[int, float]], columns: int = 2) -> Figure:
    """Draw the panels of :data:`PANELS` of which there are values, side by side.

    Args:
        scalars: By name, by 1-based epoch, as :func:`glc.utils.scalars.read_scalars` returns them.
        columns: Panels side by side.

    Returns:
        A figure of matplotlib.

    Raises:
        ValueError: There is no value of any panel.

    Example:
        >>> figure = draw_curves({'loss': {1: 3.0, 2: 2.5}, 'reid/mAP': {2: 40.0}})
        >>> [ax.get_title(loc='left') for ax in figure.axes]
        ['loss', 'test scores, percent']
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    panels = {
        title: found
        for title, names in PANELS.items()
        if (found := {label: scalars[name] for label, name in names.items() if scalars.get(name)})
    }
    if not panels:
        names = ', '.join(name for names in PANELS.values() for name in names.values())
        raise ValueError(f'there is no value of {names}')
    rows = -(-len(panels) // columns)
    figure = Figure(figsize=(5 * columns, 2.7 * rows), layout='constrained')
    for place, (title, curves) in enumerate(panels.items(), 1):
        ax = figure.add_subplot(rows, columns, place)
        ax.set_title(title, fontsize=11, loc='left')
        if title == _STACKED:
            _stack(ax, curves)
        else:
            for label, values in curves.items():
                ax.plot(list(values), list(values.values()), marker='o', markersize=3, label=label)
        epochs = [epoch for values in curves.values() for epoch in values]
        ax.set_xlim(min(epochs) - 0.6, max(epochs) + 0.6)
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
        ax.grid(alpha=0.3)
        if len(curves) > 1:
            ax.legend(fontsize=8, ncols=2)
        ax.set_xlabel('epoch', fontsize=9)
    return figure


def _stack(ax: Axes, curves: Mapping[str, Mapping[int, float]]) -> None:
    below: dict[int, float] = {}
    for label, values in curves.items():
        bottom = [below.get(epoch, 0.0) for epoch in values]
        ax.bar(list(values), list(values.values()), bottom=bottom, label=label)
        below |= {epoch: below.get(epoch, 0.0) + value for epoch, value in values.items()}
    ax.margins(y=0.35)  # for the legend
