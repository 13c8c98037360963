"""Draw one epoch of training, docs/one_epoch.png.

    python tools/docs/draw_epoch.py

The crops are drawn by the synthetic data set, the points are made-up features in two dimensions. Their labels come from
``JaccardDBSCAN`` and ``GLC``, which get the same view; nothing is painted by hand.
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import matplotlib as mpl

mpl.use('Agg')
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import FancyArrowPatch

from glc import GLC, FeatureView, JaccardDBSCAN, PseudoLabels
from glc.datasets.drawing import SyntheticSpec, draw, plan
from glc.utils.files import atomic_file

PEOPLE, IMAGES = 12, 20
INK, GRAY = '#24292f', '#9aa4af'
COLORS = plt.get_cmap('tab20').colors[::2] + plt.get_cmap('tab20').colors[1::2]
TITLES = (
    ('1  extract', 'crops, no identities'),
    ('2  view', 'normalized, searched once'),
    ('3  label', '{} clusters, {} outlier{}'),
    ('4  correct', '{} clusters, {} outlier{}'),
    ('5  train', 'pull to the center'),
)


def made_up_points() -> np.ndarray:
    """Positions (N, 2) of images of people, some of whom look alike."""
    rng = np.random.default_rng(0)
    people: list[np.ndarray] = []
    while len(people) < PEOPLE:
        person = rng.uniform(-1, 1, 2)
        if all(np.linalg.norm(person - other) > 0.38 for other in people):
            people.append(person)
    spread = 0.09 * rng.normal(size=(PEOPLE * IMAGES, 2))
    return np.repeat(people, IMAGES, axis=0) + spread * rng.uniform(0.6, 1.6, (PEOPLE, 1)).repeat(
        IMAGES, axis=0
    )


def show_crops(ax: Axes) -> None:
    """Four people, two images each."""
    spec = SyntheticSpec(train_ids=4, test_ids=1)
    by_person: dict[int, list[np.ndarray]] = {}
    for job in plan(spec):
        if job.path.startswith('bounding_box_train'):
            by_person.setdefault(job.person, []).append(draw(spec, job)[..., ::-1])
    crops = [images[place] for place in (0, 9) for images in by_person.values()]
    for number, crop in enumerate(crops):
        row, column = divmod(number, 4)
        left, bottom = column / 4, (1 - row) / 2
        ax.imshow(crop, extent=(left + 0.015, left + 0.235, bottom + 0.02, bottom + 0.48), aspect='auto')
    ax.set(xlim=(0, 1), ylim=(0, 1))


def show_points(ax: Axes, points: np.ndarray, labels: np.ndarray | None = None, faint: bool = False) -> None:
    """The points, in the colors of their clusters where there are any; outliers are crosses.

    Args:
        ax: Where to draw.
        points: Positions (N, 2).
        labels: Number of a color (N,), -1 = outlier.
        faint: Whether the points are in the background.
    """
    if labels is None:
        ax.scatter(*points.T, s=7, color=GRAY, linewidths=0)
    else:
        inside = labels >= 0
        colors = [COLORS[label] for label in labels[inside]]
        ax.scatter(*points[inside].T, s=7, color=colors, linewidths=0, alpha=0.45 if faint else 1)
        ax.scatter(*points[~inside].T, s=16, color=INK, marker='x', linewidths=1)
    margin = 0.12
    ax.set(xlim=(points[:, 0].min() - margin, points[:, 0].max() + margin))
    ax.set(ylim=(points[:, 1].min() - margin, points[:, 1].max() + margin))


def in_colors_of(labels: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Number the clusters of ``labels`` (N,) as the clusters of ``others`` (N,) that most of their images are in."""
    numbers = labels.copy()
    for label in range(labels.max() + 1):
        shared = others[(labels == label) & (others >= 0)]
        numbers[labels == label] = np.bincount(shared).argmax()
    return numbers


def add_arrow(figure: Figure, start: tuple[float, float], end: tuple[float, float]) -> None:
    """An arrow between two places of the figure, as shares of its width and height."""
    arrow = FancyArrowPatch(
        start, end, arrowstyle='-|>', mutation_scale=13, color=INK, transform=figure.transFigure
    )
    figure.add_artist(arrow)


def main() -> None:
    """Label, correct and draw."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    root = Path(__file__).resolve().parents[2]
    parser.add_argument('--out', type=Path, default=root / 'docs/one_epoch.png', help='default: %(default)s')
    out = parser.parse_args().out

    points = made_up_points()
    labeler, corrector = JaccardDBSCAN(k1=20), GLC(linking='communities', careful=False)
    features = np.column_stack([points, np.full(len(points), 2.5)])
    view = FeatureView(features, expected_k=max(labeler.expected_k, corrector.expected_k))
    labels = labeler(view)
    corrected = corrector(view, labels)
    centers = PseudoLabels.from_features(features, corrected).centroids.numpy()
    centers = 2.5 * centers[:, :2] / centers[:, 2:]  # from the sphere back to the plane of the points

    plt.rcParams.update({'font.family': 'DejaVu Sans', 'text.color': INK})
    figure = plt.figure(figsize=(12, 2.9), dpi=150, facecolor='white')
    axes = [figure.add_axes((0.008 + 0.2 * place, 0.2, 0.168, 0.68)) for place in range(len(TITLES))]
    for ax, (title, caption), found in zip(axes, TITLES, (None, None, labels, corrected, None), strict=True):
        if found is not None:
            outliers = int((found < 0).sum())
            caption = caption.format(found.max() + 1, outliers, 's' * (outliers != 1))
        ax.set(xticks=[], yticks=[])
        ax.set_title(title, fontsize=13, fontweight='bold', loc='left')
        ax.text(0, -0.04, caption, fontsize=9.5, va='top', transform=ax.transAxes)
        for spine in ax.spines.values():
            spine.set(color=GRAY, linewidth=0.8)
    show_crops(axes[0])
    show_points(axes[1], points)
    show_points(axes[2], points, in_colors_of(labels, corrected))
    show_points(axes[3], points, corrected)
    show_points(axes[4], points, corrected, faint=True)
    axes[4].scatter(*centers.T, s=60, marker='*', color=[COLORS[label] for label in range(len(centers))])
    for point, label in zip(points[3::10], corrected[3::10], strict=True):
        if label >= 0:
            style = {'arrowstyle': '->', 'color': INK, 'linewidth': 0.6, 'shrinkA': 0, 'shrinkB': 3}
            axes[4].annotate('', centers[label], point, arrowprops=style)

    for place in range(1, len(TITLES)):
        add_arrow(figure, (0.2 * place - 0.022, 0.54), (0.2 * place + 0.006, 0.54))
    corners = (0.968, 0.968, 0.166, 0.166), (0.155, 0.045, 0.045, 0.1)
    figure.add_artist(Line2D(*corners, color=INK, linewidth=1, transform=figure.transFigure))
    add_arrow(figure, (0.166, 0.08), (0.166, 0.175))
    figure.text(0.567, 0.065, 'next epoch', fontsize=9.5, ha='center')
    with atomic_file(out) as path:
        figure.savefig(path, metadata={'Software': None})
    print(f'wrote {out}')


if __name__ == '__main__':
    main()
