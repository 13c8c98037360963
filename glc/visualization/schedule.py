"""The schedule of a training on one time line."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ['Schedule', 'draw_schedule']


@dataclass(frozen=True)
class Schedule:
    """What a training does in which epoch. Epochs are 1-based, as in the log and in the names of checkpoints.

    Args:
        lr: Learning rate (E, S) of every epoch, at S moments of it.
        clustering: Epochs that make new labels.
        correction: Epochs whose labels are corrected.
        frozen: Epochs that keep the labels on purpose.
        restart: Epochs at whose start the network restarts.
        evaluation: Epochs after which the network is evaluated.
    """

    lr: np.ndarray
    clustering: tuple[int, ...] = ()
    correction: tuple[int, ...] = ()
    frozen: tuple[int, ...] = ()
    restart: tuple[int, ...] = ()
    evaluation: tuple[int, ...] = ()

    @property
    def events(self) -> dict[str, tuple[int, ...]]:
        """Epochs by what happens in them, of what happens at all."""
        found = {part.name: getattr(self, part.name) for part in fields(self) if part.name != 'lr'}
        return {name: epochs for name, epochs in found.items() if epochs}


def draw_schedule(schedule: Schedule) -> Figure:
    """Draw the learning rate, and below it a line for everything that happens in some epochs.

    Args:
        schedule: The schedule.

    Returns:
        A figure of matplotlib.

    Example:
        >>> figure = draw_schedule(Schedule(np.full((4, 1), 0.1), clustering=(1, 2, 3, 4), correction=(2, 4)))
        >>> [label.get_text() for label in figure.axes[1].get_yticklabels()]
        ['clustering', 'correction']
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    epochs, moments = schedule.lr.shape
    events = schedule.events
    figure = Figure(figsize=(9, 2.4 + 0.28 * len(events)), layout='constrained')
    top, below = figure.subplots(2, sharex=True, height_ratios=(2, 0.1 + 0.28 * len(events)))
    edges = 0.5 + np.arange(epochs * moments + 1) / moments
    top.stairs(schedule.lr.ravel(), edges, baseline=None, linewidth=1.6)
    positive = schedule.lr[schedule.lr > 0]
    if len(positive) and positive.max() > 20 * positive.min():
        top.set_yscale('log')
    top.set_ylabel('learning rate', fontsize=9)
    top.grid(alpha=0.3)
    for row, (name, found) in enumerate(events.items()):
        below.broken_barh(
            [(epoch - 0.42, 0.84) for epoch in found], (row - 0.35, 0.7), facecolors=f'C{row}', label=name
        )
    below.set_yticks(range(len(events)), list(events), fontsize=9)
    below.set(xlim=(0.5, epochs + 0.5), ylim=(max(len(events), 1) - 0.5, -0.5))
    below.set_xlabel('epoch', fontsize=9)
    below.xaxis.set_major_locator(MaxNLocator(integer=True))
    return figure
