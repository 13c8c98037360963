"""Features in two dimensions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ['METHODS', 'draw_feature_map', 'embed_features']

METHODS = ('auto', 'umap', 'tsne', 'pca')


def embed_features(features: np.ndarray, method: str = 'auto', seed: int = 0) -> np.ndarray:
    """Place images in two dimensions so that similar ones are near each other.

    Args:
        features: Unit features (N, D), N >= 2.
        method: 'umap' (McInnes et al., 2018; needs umap-learn), 'tsne' (van der Maaten and Hinton, 2008) or 'pca';
            'auto' takes UMAP where it is installed, else t-SNE.
        seed: Seed of UMAP and t-SNE.

    Returns:
        Positions (N, 2) float32.

    Raises:
        ValueError: The method is another one, or there are fewer than two images.
        ModuleNotFoundError: umap-learn is asked for and not installed.

    Example:
        >>> embed_features(np.eye(4), 'pca').shape
        (4, 2)
    """
    if method not in METHODS:
        raise ValueError(f'method must be one of {", ".join(METHODS)}, got {method!r}')
    if len(features) < 2:
        raise ValueError(f'a map needs two images or more, got {len(features)}')
    if method in ('auto', 'umap'):
        try:
            from umap import UMAP
        except ModuleNotFoundError:
            if method == 'umap':
                raise ModuleNotFoundError(
                    "the method 'umap' needs umap-learn: pip install umap-learn, or take 'tsne' or 'pca'"
                ) from None
            method = 'tsne'
        else:
            method = 'umap'
    if method == 'umap' and len(features) > 4:
        neighbors = min(15, len(features) - 1)
        umap = UMAP(n_neighbors=neighbors, metric='cosine', random_state=seed, n_jobs=1, init='random')
        return umap.fit_transform(features).astype(np.float32)
    from sklearn.decomposition import PCA

    few = PCA(min(2 if method == 'pca' else 50, *features.shape), random_state=seed).fit_transform(features)
    if method == 'pca' or len(features) < 5:
        return np.pad(few, ((0, 0), (0, 2)))[:, :2].astype(np.float32)
    from sklearn.manifold import TSNE

    perplexity = min(30.0, (len(features) - 1) / 3)
    return TSNE(init='pca', perplexity=perplexity, random_state=seed).fit_transform(few.astype(np.float32))


def draw_feature_map(positions: np.ndarray, groups: Mapping[str, np.ndarray]) -> Figure:
    """Draw positions, once for every grouping, in the colors of its groups.

    Groups of few images share a color with others; what is of no group is gray.

    Args:
        positions: Positions (N, 2).
        groups: Number of the group of every image (N,), negative = none, by the name of the grouping, such as
            ``cluster``, ``camera`` and ``identity``; at least one.

    Returns:
        A figure of matplotlib.

    Raises:
        ValueError: There is no grouping, or shapes do not agree.
    """
    from matplotlib import colormaps
    from matplotlib.figure import Figure

    if not groups or any(np.shape(numbers) != (len(positions),) for numbers in groups.values()):
        shapes = {name: np.shape(numbers) for name, numbers in groups.items()}
        raise ValueError(f'a map of {len(positions)} images needs groups of this length, got {shapes}')
    figure = Figure(figsize=(5 * len(groups), 5.2), layout='constrained')
    axes = figure.subplots(1, len(groups), squeeze=False)[0]
    palette = colormaps['tab20'](np.arange(20))
    for ax, (name, numbers) in zip(axes, groups.items(), strict=True):
        numbers = np.asarray(numbers)
        known = numbers >= 0
        names, place = np.unique(numbers[known], return_inverse=True)
        ax.scatter(*positions[~known].T, s=5, color='0.8', linewidths=0)
        ax.scatter(*positions[known].T, s=7, color=palette[place % len(palette)], linewidths=0)
        without = f', {(~known).sum():,} images in none' if (~known).any() else ''
        ax.set_title(f'by {name}: {len(names):,}{without}', fontsize=11, loc='left')
        ax.set(xticks=[], yticks=[])
    return figure
