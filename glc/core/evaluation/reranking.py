"""Better rankings from the same features: k-reciprocal re-ranking, and expansion of queries and gallery."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import ClassVar, cast

import numpy as np
import torch
from scipy import sparse
from torch import Tensor

from glc.core.evaluation.ranking import query_and_gallery, query_blocks
from glc.core.neighbors.jaccard import as_scales, reciprocal_encodings
from glc.core.neighbors.jaccard_numba import parallel_rows, shared_weights
from glc.core.neighbors.knn import knn_graph
from glc.core.parameters import AT_LEAST_ONE, BOOLEAN, NOT_NEGATIVE, SHARE, CheckedFields, Rules

_BLENDED_ROWS = 2**11


@dataclass(frozen=True)
class KReciprocalReranking(CheckedFields):
    """k-reciprocal re-ranking (Zhong et al., CVPR 2017) without a dense matrix of all images.

    Queries and gallery are encoded together, as :func:`glc.core.neighbors.jaccard.jaccard_distance` does it, with the
    numbers of the authors' program:

    - rank(i) has k1 neighbors beside the image itself, its half round(k1 / 2);
    - d(i, j) = (2 - 2 <x_i, x_j>) / max_l (2 - 2 <x_i, x_l>), over all images l, is the original distance. V(i)
      is the softmax of -d(i, .) over the expanded set, then the mean of V over the k2 first of rank(i);
    - the new distance of a query i and a gallery image j is
      (1 - lambda_value) * Jaccard(V(i), V(j)) + lambda_value * d(i, j).

    Published programs differ in d. That of Cluster Contrast squares distances that are squared already
    (``square=True``); that of TransReID, which is the default, does not.

    Identities and cameras play no part here. The scoring drops the images that the protocol ignores.

    Args:
        k1: Number of neighbors that are searched for reciprocal ones, the image itself not counted.
        k2: Number of images over which V is averaged, the image itself counted; 1 leaves V as it is.
        lambda_value: Share of the original distance.
        square: Whether d is squared once more, for V and for the new distance.

    Raises:
        ValueError: Not 1 <= k2 <= k1, or ``lambda_value`` is outside [0, 1].

    Example:
        >>> query, gallery = np.array([[1.0, 0.0]]), np.array([[0.8, 0.6], [0.9, 0.5], [0.0, 1.0]])
        >>> distance = KReciprocalReranking(k1=2, k2=1)(query, gallery)
        >>> distance(range(1)).argsort().tolist()
        [[1, 0, 2]]
    """

    _parameter_constraints: ClassVar[Rules] = {
        'k1': AT_LEAST_ONE,
        'k2': AT_LEAST_ONE,
        'lambda_value': SHARE,
        'square': BOOLEAN,
    }

    k1: int = 20
    k2: int = 6
    lambda_value: float = 0.3
    square: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        as_scales(self.k1, self.k2, type(self).__name__)

    def __call__(
        self, query_features: np.ndarray | Tensor, gallery_features: np.ndarray | Tensor
    ) -> Callable[[range], Tensor]:
        """Encode all images.

        Args:
            query_features: Features (Q, D); rows are scaled to unit length first.
            gallery_features: Features (G, D), likewise.

        Returns:
            A function that takes a range of B queries and gives their distances, a float32 tensor (B, G) on
            the device of the queries; the ``distance`` of :func:`glc.core.evaluation.ranking.evaluate_ranking`.

        Raises:
            ValueError: The features are not finite, or their dimensions differ.
        """
        query, gallery = query_and_gallery(query_features, gallery_features)
        images = torch.cat([query, gallery])
        scale = _largest_distances(images)
        power = 2.0 if self.square else 1.0
        on_cpu = reciprocal_encodings(
            images.cpu(),
            self.k1 + 1,
            self.k2,
            half=round(self.k1 / 2) + 1,
            scale=scale.double().cpu().numpy(),
            power=power,
        )
        encoding = cast(sparse.csr_array, on_cpu[0])
        rows, columns = encoding[: len(query)], encoding[len(query) :].tocsc()
        overlap = partial(
            shared_weights,
            (rows.indptr.astype(np.int64), rows.indices.astype(np.int32, copy=False), rows.data),
            (columns.indptr.astype(np.int64), columns.indices.astype(np.int32, copy=False), columns.data),
            len(gallery),
        )

        def distance(queries: range) -> Tensor:
            block = slice(queries.start, queries.stop)
            original = ((2 - 2 * query[block] @ gallery.T) / scale[block, None]) ** power
            shared = torch.from_numpy(np.concatenate(list(parallel_rows(overlap, queries)))).to(query.device)
            return (1 - self.lambda_value) * (1 - shared / (2 - shared)) + self.lambda_value * original

        return distance


@dataclass(frozen=True)
class QueryExpansion(CheckedFields):
    """Expansion of every query to a weighted mean of itself and its nearest gallery images.

    The weights are 1 for the query itself and max(0, <x, y>) ** alpha for its neighbor y; the sum is scaled to
    unit length. ``alpha=0`` is average query expansion (Chum et al., ICCV 2007), which weighs all alike; the default
    weighting is alphaQE (Radenovic et al., TPAMI 2018). With ``gallery=True`` every gallery image is
    replaced first, in the same way (database augmentation, Arandjelovic and Zisserman, CVPR 2012). The queries then
    look for neighbors among the new ones.

    Args:
        k: Number of neighbors, the image itself not counted; all if there are fewer.
        alpha: Power of the similarity.
        gallery: Whether the gallery is augmented too.

    Raises:
        ValueError: ``k`` is below 1, or ``alpha`` is negative or not finite.

    Example:
        >>> query, gallery = np.array([[1.0, 0.0]]), np.array([[0.6, 0.8], [0.0, 1.0]])
        >>> QueryExpansion(k=1, alpha=0.0)(query, gallery)[0].numpy().round(3)
        array([[0.894, 0.447]], dtype=float32)
    """

    _parameter_constraints: ClassVar[Rules] = {'k': AT_LEAST_ONE, 'alpha': NOT_NEGATIVE, 'gallery': BOOLEAN}

    k: int = 5
    alpha: float = 3.0
    gallery: bool = False

    def __call__(
        self, query_features: np.ndarray | Tensor, gallery_features: np.ndarray | Tensor
    ) -> tuple[Tensor, Tensor]:
        """Expand the queries, and the gallery if asked for.

        Args:
            query_features: Features (Q, D); rows are scaled to unit length first.
            gallery_features: Features (G, D), likewise.

        Returns:
            New unit features of the queries (Q, D) and the gallery (G, D), on the device of the queries.

        Raises:
            ValueError: The features are not finite, or their dimensions differ.
        """
        query, gallery = query_and_gallery(query_features, gallery_features)
        if self.gallery:
            graph = knn_graph(gallery, self.k + 1)
            indices, similarities = graph.indices[:, 1:], graph.similarities[:, 1:]
            blocks = (part.split(_BLENDED_ROWS) for part in (gallery, similarities, indices))
            gallery = torch.cat([self._blend(gallery, *block) for block in zip(*blocks, strict=True)])
        expanded = torch.empty_like(query)
        for block in query_blocks(query, gallery):
            rows = slice(block.start, block.stop)
            nearest = (query[rows] @ gallery.T).topk(min(self.k, len(gallery)), dim=1)
            expanded[rows] = self._blend(gallery, query[rows], *nearest)
        return expanded, gallery

    def _blend(self, database: Tensor, own: Tensor, similarities: Tensor, neighbors: Tensor) -> Tensor:
        """Blend unit rows ``own`` (B, D) with their ``neighbors`` (B, k), rows of the database."""
        weights = similarities.clamp(min=0) ** self.alpha
        blended = own + torch.einsum('bk,bkd->bd', weights, database[neighbors])
        return torch.nn.functional.normalize(blended, dim=1)


def _largest_distances(images: Tensor) -> Tensor:
    """Compute ``max_l 2 - 2 <x_i, x_l>`` (N,) of unit features (N, D); 1 where all images are equal."""
    blocks = (slice(block.start, block.stop) for block in query_blocks(images, images))
    farthest = torch.cat([2 - 2 * (images[block] @ images.T).amin(dim=1) for block in blocks])
    return farthest.where(farthest > 1e-6, 1.0)
