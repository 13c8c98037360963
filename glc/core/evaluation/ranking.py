"""Retrieval scores under the Market-1501 protocol: mAP, mINP and CMC."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from numbers import Integral
from typing import Any

import numpy as np
import torch
from torch import Tensor

from glc.core.evaluation import ranking_numba
from glc.core.gpu import kernels_work
from glc.core.labels import as_labels, as_tensor, as_unit_features
from glc.core.neighbors.jaccard_numba import parallel_rows
from glc.core.parameters import AT_LEAST_ONE, Rules, Several, StrOptions, checked

BlockDistance = Callable[[range], Tensor]
"""A distance of queries and gallery: the rows (B, G) of a range of B queries, smaller is nearer."""

SAME_CAMERA = [StrOptions({'drop', 'keep'})]
"""Whether images of a query's identity and camera are ignored, see :func:`evaluate_ranking`."""

_RULES: Rules = {'same_camera': SAME_CAMERA, 'distance': [callable, None]}
_BLOCK_SIMILARITIES = 2**23  # 32 MiB, which caches hold in part
_DEVICE_SIMILARITIES = 2**26  # 256 MiB: a GPU is faster with few large blocks
_MANY_MATCHES = 1000  # per query; where there are more, a sort of the gallery takes less time than counts


@checked(ranks=[Several(Integral, 1, None, closed='left', empty=True)], **_RULES)
def evaluate_ranking(
    query_features: np.ndarray | Tensor,
    gallery_features: np.ndarray | Tensor,
    query_pids: np.ndarray | Tensor,
    gallery_pids: np.ndarray | Tensor,
    query_cams: np.ndarray | Tensor | None,
    gallery_cams: np.ndarray | Tensor | None,
    ranks: Sequence[int] = (1, 5, 10),
    distance: BlockDistance | None = None,
    same_camera: str = 'drop',
) -> dict[str, float]:
    """Rank the gallery for every query, by cosine similarity or a given distance, and score the rankings.

    Market-1501 protocol (Zheng et al., ICCV 2015):

    - Gallery images of unknown identity (negative) are never used.
    - For a query, gallery images of its identity and its camera are ignored. An unknown camera (negative) is no camera
      of another image, not even of one whose camera is unknown too.
    - A query of unknown identity (negative), or with no other image of its identity, is not counted.

    Scores, as means over the queries:

    - Average precision is the mean of the precision at every true match, the area under the precision-recall steps.
    - The inverse negative penalty (Ye et al., TPAMI 2021) is the number of matches over the rank of the last match.
    - CMC at r is the share of queries with a match among the first r.

    Equally similar images keep their order in the gallery.

    Args:
        query_features: Features (Q, D); rows are scaled to unit length first.
        gallery_features: Features (G, D), likewise.
        query_pids: Identities (Q,); negative = unknown.
        gallery_pids: Identities (G,); negative = unknown, never used.
        query_cams: Cameras (Q,); negative, or None = unknown.
        gallery_cams: Cameras (G,); negative, or None = unknown.
        ranks: The ranks r at which CMC is returned, as 'rank<r>'.
        distance: Replaces the cosine similarity, e.g. the distance of
            :class:`glc.core.evaluation.reranking.KReciprocalReranking`.
        same_camera: 'drop' ignores gallery images of the query's identity and camera; 'keep' ranks them as matches, for
            images of one camera. The gallery should not hold the queries themselves, then.

    Returns:
        Fractions 'mAP', 'mINP' and 'rank<r>' for every r of ``ranks``.

    Raises:
        ValueError: Shapes do not match, features or distances are not finite, a rank is below 1, or no query has a
            match; the message says why.

    Example:
        >>> query, gallery = np.array([[1.0, 0.0]]), np.array([[1.0, 0.1], [0.9, 0.5], [0.0, 1.0]])
        >>> pids, cams = (np.array([3]), np.array([4, 3, 3])), (np.array([0]), np.array([1, 1, 1]))
        >>> scores = evaluate_ranking(query, gallery, *pids, *cams, ranks=(1, 2))
        >>> {name: round(value, 3) for name, value in scores.items()}
        {'mAP': 0.583, 'mINP': 0.667, 'rank1': 0.0, 'rank2': 1.0}
    """
    scores = score_queries(
        query_features,
        gallery_features,
        query_pids,
        gallery_pids,
        query_cams,
        gallery_cams,
        distance,
        same_camera,
    )
    counted = ~np.isnan(scores['ap'])
    if not counted.any():
        raise ValueError(_no_match(query_pids, gallery_pids, query_cams, gallery_cams))
    first_rank = scores['first_rank'][counted]
    return {
        'mAP': float(scores['ap'][counted].mean()),
        'mINP': float(scores['inp'][counted].mean()),
        **{f'rank{rank}': float((first_rank <= rank).mean()) for rank in ranks},
    }


@checked(**_RULES)
def score_queries(
    query_features: np.ndarray | Tensor,
    gallery_features: np.ndarray | Tensor,
    query_pids: np.ndarray | Tensor,
    gallery_pids: np.ndarray | Tensor,
    query_cams: np.ndarray | Tensor | None,
    gallery_cams: np.ndarray | Tensor | None,
    distance: BlockDistance | None = None,
    same_camera: str = 'drop',
) -> dict[str, np.ndarray]:
    """Score the ranking of every query; ``evaluate_ranking`` gives the means of these scores.

    Args:
        query_features: See ``evaluate_ranking``, as all arguments.
        gallery_features: See there.
        query_pids: See there.
        gallery_pids: See there.
        query_cams: See there.
        gallery_cams: See there.
        distance: See there.
        same_camera: See there.

    Returns:
        Arrays (Q,) 'ap' (average precision), 'inp' (inverse negative penalty) and 'first_rank' (rank of the first
        match, from 1); NaN where a query is not counted.

    Raises:
        ValueError: Shapes do not match, or features or distances are not finite.

    Example:
        >>> query, gallery = np.array([[1.0, 0.0], [0.0, 1.0]]), np.array([[1.0, 0.1], [0.9, 0.5]])
        >>> pids, cams = (np.array([3, 5]), np.array([4, 3])), (np.array([0, 0]), np.array([1, 1]))
        >>> score_queries(query, gallery, *pids, *cams)['ap']
        array([0.5, nan])
    """
    blocks = []
    for num_queries, query, rank in _match_ranks(
        query_features,
        gallery_features,
        query_pids,
        gallery_pids,
        query_cams,
        gallery_cams,
        distance,
        same_camera,
    ):
        block = np.full((3, num_queries), np.nan)
        count = np.bincount(query, minlength=num_queries)
        counted = count > 0
        count = count[counted]
        if len(count):
            start = count.cumsum() - count
            number = np.arange(1, len(rank) + 1) - np.repeat(start, count)
            block[:, counted] = (
                np.add.reduceat(number / rank, start) / count,
                count / rank[start + count - 1],
                rank[start],
            )
        blocks.append(block)
    return dict(zip(('ap', 'inp', 'first_rank'), np.concatenate(blocks, axis=1), strict=True))


@checked(top=AT_LEAST_ONE, **_RULES, unlabeled=[StrOptions({'drop', 'keep'})])
def rank_gallery(
    query_features: np.ndarray | Tensor,
    gallery_features: np.ndarray | Tensor,
    query_pids: np.ndarray | Tensor,
    gallery_pids: np.ndarray | Tensor,
    query_cams: np.ndarray | Tensor | None,
    gallery_cams: np.ndarray | Tensor | None,
    top: int = 10,
    distance: BlockDistance | None = None,
    same_camera: str = 'drop',
    unlabeled: str = 'drop',
) -> np.ndarray:
    """Find the best gallery images of every query, in the order of ``evaluate_ranking``.

    Args:
        query_features: Features (Q, D); rows are scaled to unit length first.
        gallery_features: Features (G, D), likewise.
        query_pids: Identities (Q,); negative = unknown.
        gallery_pids: Identities (G,); negative = unknown.
        query_cams: Cameras (Q,); negative, or None = unknown.
        gallery_cams: Cameras (G,); negative, or None = unknown.
        top: Images per query.
        distance: See ``evaluate_ranking``.
        same_camera: See ``evaluate_ranking``.
        unlabeled: 'drop' ignores gallery images of unknown identity, as ``evaluate_ranking`` does; 'keep' ranks them.

    Returns:
        int64 array (Q, top) of rows of ``gallery_features``, best first; -1 where the gallery has no more.

    Raises:
        ValueError: Shapes do not match, features or distances are not finite, or ``top`` is below 1.

    Example:
        >>> query, gallery = np.array([[1.0, 0.0]]), np.array([[1.0, 0.1], [0.9, 0.5], [0.0, 1.0]])
        >>> pids, cams = (np.array([3]), np.array([3, 4, 3])), (np.array([0]), np.array([0, 1, 1]))
        >>> rank_gallery(query, gallery, *pids, *cams, top=3)
        array([[ 1,  2, -1]])
    """
    parts = []
    for order, ignored, _ in _rankings(
        query_features,
        gallery_features,
        query_pids,
        gallery_pids,
        query_cams,
        gallery_cams,
        distance,
        same_camera,
        unlabeled,
    ):
        best = order[:, :top]
        parts.append(np.full((len(best), top), -1))
        parts[-1][:, : best.shape[1]] = best.masked_fill(ignored.gather(1, best), -1).cpu().numpy()
    return np.concatenate(parts)


def query_and_gallery(
    query_features: np.ndarray | Tensor, gallery_features: np.ndarray | Tensor
) -> tuple[Tensor, Tensor]:
    """Check and normalize the features of queries (Q, D) and gallery (G, D), on the device of the queries.

    Raises:
        ValueError: The features are not finite, or their dimensions differ.
    """
    query = as_unit_features(query_features, 'query_features')
    gallery = as_unit_features(gallery_features, 'gallery_features').to(query.device)
    if query.shape[1] != gallery.shape[1]:
        raise ValueError(f'query features have {query.shape[1]} values, gallery features {gallery.shape[1]}')
    return query, gallery


def query_blocks(query: Tensor, gallery: Tensor) -> Iterator[range]:
    """Split the queries into ranges whose float32 similarities to the gallery take about 32 MiB, 256 MiB on a GPU."""
    similarities = _BLOCK_SIMILARITIES if query.device.type == 'cpu' else _DEVICE_SIMILARITIES
    step = max(1, similarities // len(gallery))
    for start in range(0, len(query), step):
        yield range(start, min(start + step, len(query)))


def _match_ranks(
    query_features: np.ndarray | Tensor,
    gallery_features: np.ndarray | Tensor,
    query_pids: np.ndarray | Tensor,
    gallery_pids: np.ndarray | Tensor,
    query_cams: np.ndarray | Tensor | None,
    gallery_cams: np.ndarray | Tensor | None,
    distance: BlockDistance | None,
    same_camera: str,
) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
    """Rank the M true matches of blocks of B queries, in order.

    Yields:
        B; the query (M,) of every match, from 0 in the block, rising; the ranks (M,), rising for each query.
    """
    query, gallery = query_and_gallery(query_features, gallery_features)
    query_ids, gallery_ids = _both(query_pids, gallery_pids, query, gallery, 'identities')
    query_views, gallery_views = _both(query_cams, gallery_cams, query, gallery, 'cameras')
    unknown = (gallery_ids < 0).nonzero().squeeze(1)
    by_identity = gallery_ids.argsort(stable=True)
    begins, ends = (
        torch.searchsorted(gallery_ids[by_identity], query_ids, side=side) for side in ('left', 'right')
    )
    counts = (ends - begins).masked_fill(query_ids < 0, 0)
    for block, nearness in _nearness(query, gallery, distance):
        rows = slice(block.start, block.stop)
        nearness.index_fill_(1, unknown, -torch.inf)
        count = counts[rows]
        matched = torch.arange(len(block), device=query.device).repeat_interleave(count)
        number = torch.arange(len(matched), device=query.device) - (count.cumsum(0) - count)[matched]
        image = by_identity[begins[rows][matched] + number]
        if same_camera == 'drop':
            ignored = (query_views[rows][matched] == gallery_views[image]) & (gallery_views[image] >= 0)
            nearness[matched[ignored], image[ignored]] = -torch.inf
            matched, image = matched[~ignored], image[~ignored]
        before = matched * (len(gallery) + 1)
        ranks = (before + _ranks(nearness, matched, image)).sort().values - before
        yield len(block), matched.cpu().numpy(), ranks.cpu().numpy()


def _ranks(nearness: Tensor, queries: Tensor, images: Tensor) -> Tensor:
    """Find the ranks (M,), from 1, of gallery images (M,) in rows (M,), rising, of ``nearness`` (B, G)."""
    if 0 < len(queries) <= _MANY_MATCHES * len(nearness):
        if nearness.device.type == 'cpu':
            kernel = partial(ranking_numba.count_ranks, nearness.numpy(), queries.numpy(), images.numpy())
            share = -(-len(queries) // torch.get_num_threads())
            return torch.from_numpy(np.concatenate(list(parallel_rows(kernel, range(len(queries)), share))))
        if nearness.is_cuda and kernels_work(nearness.device):
            from glc.core.evaluation import ranking_triton

            return ranking_triton.count_ranks(nearness, queries, images)
    order = nearness.argsort(dim=1, descending=True, stable=True)
    numbers = torch.arange(order.shape[1], device=order.device)
    return torch.empty_like(order).scatter_(1, order, numbers.expand_as(order))[queries, images] + 1


def _nearness(
    query: Tensor, gallery: Tensor, distance: BlockDistance | None
) -> Iterator[tuple[range, Tensor]]:
    """Compute the nearness (B, G) of blocks of queries: cosine similarities, or negative distances.

    A block takes the memory of the one before: new pages for so many numbers take as long as a pass over them.
    """
    memory = query.new_empty(0, len(gallery))
    for block in query_blocks(query, gallery):
        distances = None if distance is None else _checked_distance(distance(block), block, len(gallery))
        dtype = torch.promote_types(torch.float32 if distances is None else distances.dtype, torch.float32)
        if len(memory) < len(block) or memory.dtype != dtype:
            memory = memory.new_empty(len(block), len(gallery), dtype=dtype)
        nearness = memory[: len(block)]
        if distances is None:
            torch.mm(query[block.start : block.stop], gallery.T, out=nearness)
        else:
            nearness.copy_(distances).neg_()
        yield block, nearness


def _rankings(
    query_features: np.ndarray | Tensor,
    gallery_features: np.ndarray | Tensor,
    query_pids: np.ndarray | Tensor,
    gallery_pids: np.ndarray | Tensor,
    query_cams: np.ndarray | Tensor | None,
    gallery_cams: np.ndarray | Tensor | None,
    distance: BlockDistance | None,
    same_camera: str,
    unlabeled: str = 'drop',
) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Rank the gallery for blocks of B queries, in order; ignored images come last.

    Yields:
        (B, G) each: the ranking as rows of the gallery; then for every row of the gallery whether the image
        is ignored and whether it is a true match.
    """
    query, gallery = query_and_gallery(query_features, gallery_features)
    query_ids, gallery_ids = _both(query_pids, gallery_pids, query, gallery, 'identities')
    query_views, gallery_views = _both(query_cams, gallery_cams, query, gallery, 'cameras')
    for block, nearness in _nearness(query, gallery, distance):
        rows = slice(block.start, block.stop)
        same_id = query_ids[rows, None] == gallery_ids
        same_id = same_id & (gallery_ids >= 0)
        ignored = torch.zeros_like(same_id)
        if unlabeled == 'drop':
            ignored |= gallery_ids < 0
        if same_camera == 'drop':
            ignored |= same_id & (query_views[rows, None] == gallery_views) & (gallery_views >= 0)
        ranking = nearness.masked_fill(ignored, -torch.inf).argsort(dim=1, descending=True, stable=True)
        yield ranking, ignored, same_id & ~ignored


def _checked_distance(rows: Tensor, block: range, num_gallery: int) -> Tensor:
    """Check the distances (B, G) of a block of queries."""
    distances = as_tensor(rows, 'distance')
    if distances.shape != (len(block), num_gallery):
        raise ValueError(
            f'distance must return ({len(block)}, {num_gallery}) for {len(block)} queries and {num_gallery} gallery '
            f'images, got {tuple(distances.shape)}'
        )
    if not torch.stack(distances.aminmax()).isfinite().all():
        wrong = ~distances.isfinite()
        query, image = wrong.nonzero()[0].tolist()
        raise ValueError(
            f'distance: {int(wrong.sum())} of {wrong.numel()} distances of queries {block.start} to {block.stop - 1} '
            f'are NaN or infinite, the first is that of query {block.start + query} and gallery image {image}'
        )
    return distances


def _no_match(query_pids: Any, gallery_pids: Any, query_cams: Any, gallery_cams: Any) -> str:
    """Say why no query has a match in the gallery."""
    ids, others, cams, other_cams = (
        as_labels(np.empty(0, int) if part is None else part).cpu().numpy()
        for part in (query_pids, gallery_pids, query_cams, gallery_cams)
    )
    known = [np.count_nonzero(part >= 0) for part in (ids, others)]
    common = np.intersect1d(ids[ids >= 0], others)
    reason = 'no query has a match in the gallery: '
    if not all(known):
        return reason + (
            f'identities are known of {known[0]} of {len(ids)} queries and of {known[1]} of {len(others)} gallery '
            'images'
        )
    if not len(common):
        return reason + (
            'they have no identity in common; check that both are of one data set, and that identities and cameras are '
            'not swapped'
        )
    return reason + (
        f'all images of their {len(common)} common identities are of the camera of the query, and those are ignored; '
        f"the cameras are {np.unique([*cams, *other_cams])[:5].tolist()}. same_camera='keep', of evaluate_ranking and "
        'of ReIDMetric, takes them as matches'
    )


def _both(
    of_query: np.ndarray | Tensor | None,
    of_gallery: np.ndarray | Tensor | None,
    query: Tensor,
    gallery: Tensor,
    name: str,
) -> tuple[Tensor, Tensor]:
    """Check identities or cameras, None = unknown; move them to the device of the features."""
    first, second = (
        as_labels(np.full(len(rows), -1) if part is None else part, len(rows), f'{whose} {name}').to(
            query.device
        )
        for part, rows, whose in ((of_query, query, 'query'), (of_gallery, gallery, 'gallery'))
    )
    return first, second
