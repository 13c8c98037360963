"""Likely nearest neighbors of images among themselves, in a time that grows little faster than their number.

The images are split into lists by k-means. Each list is compared, as one matrix product, with all images that have it
among the lists nearest to them. Both sides of a product keep their best, so two images meet where one of them visits
the list of the other. A list holds the same number of images whatever their total N, so an image is compared with the
same number of others. Only the search for the nearest lists takes longer with N.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import partial

import numba
import numpy as np
import torch
from llvmlite.binding import get_host_cpu_features
from torch import Tensor

from glc.core.compiled import compiled
from glc.core.labels import empty_rows, group_sums
from glc.core.neighbors.jaccard_numba import kept_threads, parallel_rows
from glc.core.neighbors.similarity import pair_similarities

# On features of Market-1501 and CUHK03, ten lists find 98 to 99.8% of 30 neighbors, five find 93 to 99%. Larger lists
# would save products with centroids, but people made at random are spread over more of them: among 4,200,000 images,
# lists of 650 found 98%.
LIST_SIZE = 250
NUM_PROBES = 10

# Images per list in the sample of every iteration of k-means. The first ones move centroids far whatever the sample.
_SAMPLES_PER_LIST = (4, 8, 16, 32, 64)
_MAX_LIST = 4  # times the average
# K-means compares an image with so many centroids at once. The groups of more are smaller products, which take about as
# long at 4,000.
_FEW_CENTROIDS = 2**13
_NUM_GROUPS = 16  # of centroids, that an image is compared with
_REGION_SIZE = 5000
_SEED = 0
# Similarities per matrix product: with centroids, and with a list, whose images are gathered. The products stay in the
# caches of a processor.
_CENTROID_SIMILARITIES = 2**20
_LIST_SIMILARITIES = 2**18
_SHAPE_STEP = 64
# Images in lists of less spread are compared in float32: rounding would mix up the neighbors of near duplicates.
_FINE_SPREAD = 2**-5
_FAST_BFLOAT16 = any(get_host_cpu_features().get(kind) for kind in ('avx512bf16', 'amx-bf16'))
_DEVICE_SIMILARITIES = 2**22  # both, on a GPU
_SORTED_ROWS = 2**14


@kept_threads()
def likely_neighbors(
    x: Tensor, rows: Tensor, count: int, list_size: int = LIST_SIZE, num_probes: int = NUM_PROBES
) -> Tensor:
    """Find candidates for the nearest neighbors of each of the ``rows`` by cosine similarity.

    Equal images in any number, or zero vectors, do not take longer than others, because no list holds more than four
    times the average. Which of them become candidates is arbitrary.

    Args:
        x: float32 unit features (N, D).
        rows: Images that need neighbors, int64 tensor (R,). They are compared with all N images.
        count: Candidates per row, at most N and much fewer than ``list_size * num_probes``.
        list_size: Images per list, on average.
        num_probes: Lists that an image is compared with; with all lists the search is exact, but for rounding.

    Returns:
        int32 tensor (R, count) on the device of ``x``: distinct images, the most similar first. As a rule, the
        image itself is among them.
    """
    lists, probes, spread = _lists(x, list_size, num_probes)
    similarities, found = _search_lists(x, rows, lists, probes, count, rounded=spread > _FINE_SPREAD)
    for part in range(0, len(rows), _SORTED_ROWS):
        block = slice(part, part + _SORTED_ROWS)
        found[block] = found[block].gather(1, similarities[block].argsort(dim=1, descending=True))
    short = found[:, -1] < 0
    if short.any():
        found[short] = _filled_up(found[short], rows[short], lists.argsort(stable=True))
    return found


@kept_threads()
def whole_regions(x: Tensor, num_images: int) -> tuple[Tensor, Tensor]:
    """Choose regions of the feature space at random, and take all images in them and at their borders.

    A random sample of the images would leave few of each person. Within a region most people stay whole, and those cut
    by its border with the images outside to which it is the second or third nearest one.

    Args:
        x: float32 unit features (N, D).
        num_images: Images that the regions hold together, at least; all if there are fewer.

    Returns:
        Rising int64 indices (M,) of the images, and whether they lie within the regions, bool (M,); on the device of
        ``x``.
    """
    centroids = _kmeans(x, math.ceil(len(x) / _REGION_SIZE))
    nearest = _nearest(x, centroids, 3)
    sizes = nearest[:, 0].bincount(minlength=len(centroids)).cpu()
    order = torch.randperm(len(centroids), generator=torch.Generator().manual_seed(_SEED))
    enough = int((sizes[order].cumsum(0) < num_images).sum()) + 1
    within = torch.isin(nearest, order[:enough].int().to(x.device))
    images = within.any(dim=1).nonzero().squeeze(1)
    return images, within[images, 0]


def _lists(x: Tensor, list_size: int, num_probes: int) -> tuple[Tensor, Tensor, float]:
    """Return the list of every image, int64 (N,), the lists nearest to it, int32 (N, P), and how wide lists spread.

    The spread is what the similarity of an image to the centroid of its list is below 1, in the mean.
    """
    centroids = _kmeans(x, math.ceil(len(x) / list_size))
    nearest = _nearest(x, centroids, num_probes)
    homes, similarities = _homes(x, centroids, nearest)
    spread = 1 - float(similarities.mean())
    lists = _cut_long_lists(homes, similarities, _MAX_LIST * list_size)
    if lists is homes:
        return homes, nearest, spread
    return lists, _nearest(x, _means(x, lists), num_probes), spread


def _kmeans(x: Tensor, num_lists: int) -> Tensor:
    """Compute centroids of at most ``num_lists`` lists, float32 (L, D), from a growing sample of the images."""
    generator = torch.Generator().manual_seed(_SEED)
    chosen = torch.randperm(len(x), generator=generator)[: num_lists * max(_SAMPLES_PER_LIST)]
    images = x[chosen.to(x.device)]
    centroids = images[:num_lists].unique(dim=0)
    for per_list in _SAMPLES_PER_LIST:
        sample = images[: num_lists * per_list]
        homes, _ = _homes(sample, centroids, _roughly_nearest(sample, centroids, 2))
        centroids = _means(sample, homes)
    return centroids


def _nearest(x: Tensor, centroids: Tensor, count: int) -> Tensor:
    """Find the centroids nearest to every image, int32 (N, count), or all if there are fewer."""
    count = min(count, len(centroids))
    best, found = nothing_found(x, len(x), count)
    lists = torch.arange(len(centroids), dtype=torch.int32, device=x.device)
    size = min(len(x), _rows_per_product(x, len(centroids), _CENTROID_SIMILARITIES))
    compared = _Compared(centroids, size)
    for rows, images in zip(torch.arange(len(x), device=x.device).split(size), x.split(size), strict=True):
        compete(best, found, rows, compared(images), lists)
    return found.gather(1, best.argsort(dim=1, descending=True, stable=True))


def _roughly_nearest(x: Tensor, centroids: Tensor, count: int) -> Tensor:
    """Do the work of :func:`_nearest` for k-means, whose means change little where some images miss the nearest one.

    Lists are not chosen so: an image that is in another list than its nearest one is found by few of its neighbors.
    Many centroids are put into groups, as many as a group has centroids. An image is then compared with the centroids
    of the groups whose means are nearest to it.
    """
    if len(centroids) <= _FEW_CENTROIDS:
        return _nearest(x, centroids, count)
    means = _kmeans(centroids, math.isqrt(len(centroids)))
    groups, _ = _homes(centroids, means, _nearest(centroids, means, 2))
    probes = _nearest(x, means, _NUM_GROUPS)
    best, found = nothing_found(x, len(x), count)
    for lists, visits in zip(_places(groups, len(means)), _places(probes.flatten(), len(means)), strict=True):
        for block, similarities in _products(x, visits // probes.shape[1], centroids[lists]):
            compete(best, found, block, similarities, lists.int())
    found = found.gather(1, best.argsort(dim=1, descending=True, stable=True))
    short = found[:, -1] < 0
    if short.any():  # their groups have fewer centroids than that, as where most centroids are alike
        found[short] = _nearest(x[short], centroids, count)
    return found


class _Compared:
    """Images or centroids (M, D) that blocks of at most so many features are compared with.

    Where the processor multiplies bfloat16 faster, products may be ``rounded``. The product with the others less their
    mean then is, by a few thousandths; what the mean adds comes in float32. That is enough to choose candidates,
    however similar all images are, except where those of a list are closer to each other than that.

    Calling it with a block (B, D) returns similarities, float32 (B, M), which the next call overwrites.
    """

    def __init__(self, others: Tensor, num_rows: int, rounded: bool = True) -> None:
        # Memory is used again: new pages take as long as the products.
        self._others = others
        self._products = others.new_empty(num_rows, len(others))
        self._rounded = rounded and _FAST_BFLOAT16 and others.device.type == 'cpu'
        if self._rounded:
            shape = _rounded_up(num_rows), _rounded_up(len(others))
            self._mean = others.mean(dim=0)
            self._differences = others.new_zeros(shape[1], others.shape[1], dtype=torch.bfloat16)
            self._differences[: len(others)] = others - self._mean
            self._images = others.new_zeros(shape[0], others.shape[1], dtype=torch.bfloat16)
            self._half = others.new_empty(shape, dtype=torch.bfloat16)

    def __call__(self, images: Tensor) -> Tensor:
        products = self._products[: len(images)]
        if not self._rounded:
            return torch.mm(images, self._others.T, out=products)
        self._images[: len(images)] = images
        size = _rounded_up(len(images))
        torch.mm(self._images[:size], self._differences.T, out=self._half[:size])
        half = self._half[: len(images), : len(self._others)]
        return torch.add(half, (images @ self._mean)[:, None], out=products)


def _rounded_up(count: int) -> int:
    """Return a size of which there are few: a product of new sizes is compiled first."""
    return -(-count // _SHAPE_STEP) * _SHAPE_STEP


def _rows_per_product(x: Tensor, num_columns: int, similarities: int) -> int:
    """Return the rows of a matrix product with so many columns, on the device of ``x``."""
    similarities = similarities if x.device.type == 'cpu' else _DEVICE_SIMILARITIES
    return max(64, similarities // max(1, num_columns))


def _homes(x: Tensor, centroids: Tensor, nearest: Tensor) -> tuple[Tensor, Tensor]:
    """Find the centroid nearest to every image, int64 (N,), and its similarity, float32 (N,).

    The two ``nearest`` in float32 are compared again, so that rounding errors do not decide.
    """
    candidates = nearest[:, :2].long().sort(dim=1).values
    count = candidates.shape[1]
    images = torch.arange(len(x), device=x.device).repeat_interleave(count)
    similarities = pair_similarities(x, images, candidates.flatten(), centroids).view(-1, count)
    best = similarities.max(dim=1)
    return candidates.gather(1, best.indices[:, None]).squeeze(1), best.values


def _means(x: Tensor, groups: Tensor) -> Tensor:
    """Compute the unit-length mean of every group that is not empty, float32 (G, D); zero where that is zero."""
    sizes = groups.bincount()
    return torch.nn.functional.normalize(group_sums(x, groups, len(sizes))[sizes > 0], dim=1).float()


def _cut_long_lists(homes: Tensor, similarities: Tensor, max_size: int) -> Tensor:
    """Cut lists of more than ``max_size`` images into pieces of images about equally similar to the centroid.

    Many equal images, or zero vectors, all fall into one list. Its images would be compared with each other, in a time
    that grows with the square of their number. The pieces have equal sizes. They are cut along the similarity, so equal
    images mostly stay together.

    Args:
        homes: List of every image, int64 (N,).
        similarities: Similarity of every image to the centroid of its list (N,).
        max_size: Images that a list may hold.

    Returns:
        New lists (N,) without gaps in their numbers, or ``homes`` itself where no list is too long.
    """
    sizes = homes.bincount()
    if sizes.max() <= max_size:
        return homes
    pieces = (sizes + max_size - 1) // max_size
    order = similarities.argsort(descending=True, stable=True)
    order = order[homes[order].argsort(stable=True)]
    ranked = homes[order]
    # Place of an image within its list, the most similar image first.
    position = torch.arange(len(homes), device=homes.device) - (sizes.cumsum(0) - sizes)[ranked]
    result = torch.empty_like(homes)
    result[order] = (pieces.cumsum(0) - pieces)[ranked] + position * pieces[ranked] // sizes[ranked]
    return result


def _search_lists(
    x: Tensor, rows: Tensor, lists: Tensor, probes: Tensor, count: int, rounded: bool = True
) -> tuple[Tensor, Tensor]:
    """Compare images with the images of the lists near to them, and let both know.

    The loop is over lists, not over rows: all visitors of a list share one matrix product. The best of a row so far
    compete with the images of its next list, so no more than ``count`` candidates are ever kept.

    Args:
        x: Features (N, D).
        rows: Images to find candidates for (R,).
        lists: List of every image, int64 (N,).
        probes: The lists near to it, int32 (N, P).
        count: Candidates to keep.
        rounded: Whether products may be rounded, see :class:`_Compared`.

    Returns:
        Similarities, float32, and images, int32 (R, count), unsorted; -inf and -1 where fewer were met.
    """
    best, found = nothing_found(x, len(rows), count)
    place = torch.full((len(x),), -1, device=x.device)
    place[rows] = torch.arange(len(rows), device=x.device)
    num_lists = int(torch.cat([lists, probes.flatten()]).max()) + 1
    members_of = _places(lists, num_lists)
    for members in members_of:  # first, since most neighbors are here: later images hardly get in
        for block, similarities in _products(x, members[place[members] >= 0], x[members], rounded):
            compete(best, found, place[block], similarities, members.int())
    elsewhere = torch.where(probes == lists[:, None], num_lists, probes).flatten()
    for members, visits in zip(members_of, _places(elsewhere, num_lists + 1)[:-1], strict=True):
        visitors = visits // probes.shape[1]
        own = slice(None) if len(rows) == len(x) else place[members] >= 0
        mine, looked, among = members[own], probes[members[own]], place[visitors] >= 0
        for block, similarities in _products(x, visitors[among], x[members], rounded):
            compete(best, found, place[block], similarities, members.int())
            back = similarities.T[own]
            compete(best, found, place[mine], back, block.int(), (looked, lists[block].int()))
        for block, similarities in _products(x, visitors[~among], x[mine], rounded):
            compete(best, found, place[mine], similarities.T, block.int(), (looked, lists[block].int()))
    return best, found


def _places(numbers: Tensor, count: int) -> tuple[Tensor, ...]:
    """Return where each of the numbers 0 to ``count`` - 1 stands in ``numbers`` (M,)."""
    return numbers.argsort(stable=True).split(numbers.bincount(minlength=count).tolist())


def _products(
    x: Tensor, rows: Tensor, others: Tensor, rounded: bool = True
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield blocks of the rows (B,) and their products (B, M) with others (M, D), which the next block overwrites."""
    if not len(rows) or not len(others):
        return
    size = min(len(rows), _rows_per_product(x, len(others), _LIST_SIMILARITIES))
    gathered, compared = x.new_empty(size, x.shape[1]), _Compared(others, size, rounded)
    for block in rows.split(size):
        torch.index_select(x, 0, block, out=gathered[: len(block)])
        yield block, compared(gathered[: len(block)])


def nothing_found(x: Tensor, num_rows: int, count: int) -> tuple[Tensor, Tensor]:
    """Return similarities, float32, and images, int32 (R, count), to begin a search among features ``x`` with."""
    best = empty_rows(x, num_rows, count).fill_(-torch.inf)
    return best, empty_rows(x, num_rows, count, dtype=torch.int32).fill_(-1)


def compete(
    best: Tensor,
    found: Tensor,
    rows: Tensor,
    similarities: Tensor,
    images: Tensor,
    met: tuple[Tensor, Tensor] | None = None,
) -> None:
    """Let images compete with the best of some rows so far, which change in place.

    Args:
        best: Similarities of the best, float32 (R, count).
        found: Their numbers, int32 (R, count).
        rows: Different rows, int64 (B,).
        similarities: Similarities of the new images to these rows, float32 (B, L).
        images: Their numbers, int32 (L,).
        met: Lists that the rows look into, int32 (B, P), and the list of every image, int32 (L,): an image of such a
            list does not compete.
    """
    looked, lists = met or (rows.new_empty((len(rows), 0), dtype=torch.int32), images)
    if best.device.type == 'cpu':
        kernel = partial(
            _push,
            *(best.numpy(), found.numpy(), rows.numpy(), similarities.numpy(), images.numpy()),
            *(looked.numpy(), lists.numpy()),
        )
        share = -(-len(rows) // torch.get_num_threads())
        list(parallel_rows(kernel, range(len(rows)), max(1, share)))
        return
    if met:
        similarities = similarities.masked_fill((looked[:, None] == lists[:, None]).any(dim=2), -torch.inf)
    both = torch.cat([similarities, best[rows]], dim=1)
    everyone = torch.cat([images.expand(len(rows), -1), found[rows]], dim=1)
    best[rows], chosen = both.topk(best.shape[1], dim=1, sorted=False)
    found[rows] = everyone.gather(1, chosen).masked_fill(best[rows] == -torch.inf, -1)


@numba.njit(nogil=True)
def _among(number: int, numbers: np.ndarray) -> bool:
    for other in numbers:  # noqa: SIM110 -- numba has no generators in any()
        if other == number:
            return True
    return False


@compiled()
def _push(
    best: np.ndarray,
    found: np.ndarray,
    rows: np.ndarray,
    similarities: np.ndarray,
    images: np.ndarray,
    looked: np.ndarray,
    lists: np.ndarray,
    start: int,
    stop: int,
) -> None:
    """Do the work of :func:`compete` for the rows ``start`` to ``stop``, each of which is a heap, its least first."""
    count = np.uint64(best.shape[1])
    for b in range(start, stop):
        values, numbers = best[rows[b]], found[rows[b]]
        for new in range(len(images)):
            value = similarities[b, new]
            if value <= values[0] or _among(lists[new], looked[b]):
                continue
            place, child = np.uint64(0), np.uint64(1)
            while child < count:
                if child + np.uint64(1) < count and values[child + np.uint64(1)] < values[child]:
                    child += np.uint64(1)
                if values[child] >= value:
                    break
                values[place], numbers[place] = values[child], numbers[child]
                place, child = child, np.uint64(2) * child + np.uint64(1)
            values[place], numbers[place] = value, images[new]


def _filled_up(found: Tensor, rows: Tensor, members: Tensor) -> Tensor:
    """Replace every -1 in ``found`` (B, count) by another image that stands close to the row in ``members`` (N,)."""
    count = found.shape[1]
    window = torch.arange(count, device=rows.device)
    start = (members.argsort()[rows] - count // 2).clamp(0, len(members) - count)
    # A whole window of members has count images, so enough of them remain after the known ones are taken out.
    blocks = []
    for known, first in zip(found.split(_SORTED_ROWS), start.split(_SORTED_ROWS), strict=True):
        images = torch.cat([known, members[first[:, None] + window].int()], dim=1)
        ordered, place = images.sort(dim=1, stable=True)
        useless = ordered < 0
        useless[:, 1:] |= ordered[:, 1:] == ordered[:, :-1]
        useless = torch.empty_like(useless).scatter_(1, place, useless)
        blocks.append(images.gather(1, useless.int().argsort(dim=1, stable=True)[:, :count]))
    return torch.cat(blocks)
