"""Ranks of the true matches, counted without sorting the gallery; compiled by numba."""

from __future__ import annotations

import numpy as np

from glc.core.compiled import compiled

_MANY = 500  # matches of a query


@compiled()
def match_ranks(
    nearness: np.ndarray,
    begins: np.ndarray,
    ends: np.ndarray,
    by_identity: np.ndarray,
    query_cams: np.ndarray,
    gallery_cams: np.ndarray,
    drop: bool,
    start: int,
    stop: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Count the images that rank before each true match of a query; equally near images keep their order.

    The matches of a query are few, so a count for each of them takes less time than a sort of the gallery. Where they
    are many, the gallery is sorted.

    Args:
        nearness: Nearness (B, G) of queries and gallery, greater is nearer, -inf where an image is not used. Images
            that are ignored for a query become -inf.
        begins: For every query (B,), where the images of its identity begin in ``by_identity``.
        ends: Where they end.
        by_identity: Rows (G,) of the gallery, those of one identity together.
        query_cams: Cameras (B,).
        gallery_cams: Cameras (G,), negative = unknown.
        drop: Whether images of the query's identity and camera are ignored.
        start: First query.
        stop: Query after the last.

    Returns:
        Number of matches (M,) of the M queries, and their ranks from 1, query by query, rising within each.
    """
    counts = np.zeros(stop - start, np.int64)
    ranks = np.empty((ends[start:stop] - begins[start:stop]).sum(), np.int64)
    filled = 0
    for i in range(start, stop):
        row, same = nearness[i], by_identity[begins[i] : ends[i]]
        match = np.ones(len(same), np.bool_)
        for n, j in enumerate(same):
            if drop and gallery_cams[j] >= 0 and gallery_cams[j] == query_cams[i]:
                match[n] = False
                row[j] = -np.inf
        matches = same[match]
        found = ranks[filled : filled + len(matches)]
        if len(matches) > _MANY:
            rank = np.empty(len(row), np.int64)
            rank[np.argsort(-row, kind='mergesort')] = np.arange(1, len(row) + 1)
            found[:] = rank[matches]
        else:
            for n, j in enumerate(matches):
                level, before = row[j], 0
                for k in range(len(row)):  # this loop and the next become vector instructions
                    before += row[k] > level
                for k in range(j):
                    before += row[k] == level
                found[n] = before + 1
        found.sort()
        filled += len(matches)
        counts[i - start] = len(matches)
    return counts, ranks[:filled]
