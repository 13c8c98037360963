"""Features, labels and centroids: the plain data that labelers, correctors and memories exchange."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from glc.core.parameters import AT_LEAST_ONE, BOOLEAN, checked

ArrayOrTensor = TypeVar('ArrayOrTensor', np.ndarray, Tensor)

_UNIT_TOLERANCE = 1e-6
# A block stays below 32 MiB in float64: larger arrays go back to the system at once, and new pages take longer than the
# work on them.
_BLOCK_ROWS = 2**10
_TINY = 2.0**-100  # rows of larger values keep all digits in float32


class UnusableLabelsError(ValueError):
    """The labels hold nothing that can be learned from."""


def as_unit_features(features: Any, name: str = 'features') -> Tensor:
    """Check features and scale every row to unit length.

    Args:
        features: Features (N, D) of any real type, N >= 1: a tensor, an array, or lists. Not modified.
        name: What they are, for error messages.

    Returns:
        float32 tensor (N, D) with unit rows, detached, on the device of the input. All-zero rows stay zero.
        Shares memory with the input where that is already a float32 array of unit rows.

    Raises:
        ValueError: The input is empty, is not of shape (N, D), holds no real numbers, or has rows with NaN or infinite
            values.
    """
    x = given = as_tensor(features, name)
    if x.ndim != 2 or 0 in x.shape:
        raise ValueError(f'{name} must be a non-empty (N, D) array, got shape {tuple(x.shape)}')
    if x.is_complex():
        raise ValueError(f'{name} must be real numbers, got {x.dtype}')
    x = _as_float32(x)
    # Written in place: small results between the blocks would leave holes that no later block fits into.
    norms = torch.empty(len(x), dtype=torch.float64, device=x.device)
    for rows, result in row_blocks(x, norms):
        torch.linalg.vector_norm(rows.double(), dim=1, out=result)
    finite = norms.isfinite()
    if not finite.all():
        rows = (~finite).nonzero().squeeze(1)
        shown = ', '.join(map(str, rows[:5].tolist())) + (', ...' if len(rows) > 5 else '')
        raise ValueError(
            f'{name}: {len(rows)} of {len(x)} feature rows hold NaN or infinite values (rows {shown}); '
            'check the network that made them (diverged training, overflow in half precision)'
        )
    if ((norms - 1).abs().lt(_UNIT_TOLERANCE) | norms.eq(0)).all():
        return x
    divisors = norms.where(norms > 0, 1.0)[:, None]
    unit = empty_rows(x, *x.shape) if x is given else x  # what was converted is ours already
    for rows, divisor, result in row_blocks(x, divisors, unit):
        result.copy_(rows.double() / divisor)
    return unit


def as_features(features: Any, unit: bool) -> Tensor:
    """Check features as :func:`as_unit_features` does; with ``unit=False`` the rows keep their lengths."""
    scaled = as_unit_features(features)
    return scaled if unit else as_tensor(features, 'features').to(torch.float32)


def as_tensor(values: Any, name: str) -> Tensor:
    """Make a tensor of numbers that come in any form: a tensor, any view of an array, or lists.

    Args:
        values: The numbers. Not modified.
        name: What they are, for error messages.

    Returns:
        Detached tensor. It shares memory with the input where that is possible and allowed.

    Raises:
        ValueError: They are text, objects, lists of different lengths, or a sparse, nested, quantized or meta tensor.
    """
    if isinstance(values, Tensor):
        kinds = {
            'nested': values.is_nested,
            f'of layout {values.layout}': values.layout != torch.strided,
            'quantized': values.is_quantized,
            'without values (meta)': values.is_meta,
        }
        if any(kinds.values()):
            found = ' and '.join(kind for kind, is_one in kinds.items() if is_one)
            raise ValueError(f'{name} must be a dense tensor of numbers, got one that is {found}')
        return values.detach()
    try:
        array = np.asarray(values)
    except (TypeError, ValueError) as error:
        raise ValueError(f'{name} must be one array of numbers: {error}') from error
    if array.dtype.kind not in 'biufc':
        what = 'text' if array.dtype.kind in 'US' else f'values of type {array.dtype}'
        raise ValueError(f'{name} must be numbers, got {what}, for instance {array.ravel()[:1].tolist()}')
    if array.dtype.itemsize > (16 if array.dtype.kind == 'c' else 8):
        array = array.astype(np.complex128 if array.dtype.kind == 'c' else np.float64)
    # torch takes no reversed axes, no foreign byte order, and no read-only memory.
    native = array.astype(array.dtype.newbyteorder('='), copy=False)
    return torch.from_numpy(np.require(native, requirements=['C', 'W']))


def _as_float32(x: Tensor) -> Tensor:
    """Convert features; rows that float32 cannot hold are scaled first."""
    if x.dtype == torch.float32:
        return x
    result = empty_rows(x, *x.shape, dtype=torch.float32).copy_(x)
    if x.dtype != torch.float64:
        return result
    for rows, converted in row_blocks(x, result):
        largest = rows.abs().amax(dim=1)
        outside = largest.isfinite() & (largest > 0) & ~((largest > _TINY) & (largest < 1 / _TINY))
        if outside.any():
            converted[outside] = (rows[outside] / largest[outside, None]).float()
    return result


def as_labels(labels: Any, num_images: int | None = None, name: str = 'labels') -> Tensor:
    """Check a vector of one integer per image: labels, identities or cameras.

    Args:
        labels: Integers (N,): a tensor, an array, or a list.
        num_images: The N to insist on; None accepts any.
        name: What they are, for error messages.

    Returns:
        int64 tensor (N,) on the device of the input.

    Raises:
        ValueError: Not integers of shape (N,), too large for int64, or not ``num_images`` of them.
    """
    try:
        result = as_tensor(labels, name)
    except ValueError as error:
        raise ValueError(f'{error}; give every different one a number') from None
    if result.ndim != 1 or result.is_floating_point() or result.is_complex() or result.dtype == torch.bool:
        shape = tuple(result.shape)
        raise ValueError(f'{name} must be an (N,) array of integers, got {result.dtype} of shape {shape}')
    if num_images is not None and len(result) != num_images:
        raise ValueError(f'{name}: got {len(result)} for {num_images} images, one per image is needed')
    numbers = result.to(torch.int64)
    if result.dtype == torch.uint64 and (numbers < 0).any():
        first = int((numbers < 0).nonzero()[0])
        raise ValueError(
            f'{name}: {int((numbers < 0).sum())} of {len(numbers)} numbers are too large for int64, the first at '
            f'{first}; give every different one a smaller number'
        )
    return numbers


def like(result: Tensor, example: ArrayOrTensor) -> ArrayOrTensor:
    """Convert a tensor to the kind (ndarray, or tensor on its device) of ``example``."""
    if isinstance(example, Tensor):
        return result.to(example.device)
    return result.cpu().numpy()


@checked(min_size=AT_LEAST_ONE)
def compact_labels(labels: ArrayOrTensor, min_size: int = 1) -> ArrayOrTensor:
    """Number the clusters 0..C-1 without gaps, in the order of their old numbers.

    Args:
        labels: Integer labels (N,); negative means outlier.
        min_size: Clusters of fewer images become outliers.

    Returns:
        int64 labels (N,) of the same kind as the input; -1 = outlier.

    Raises:
        ValueError: The labels are not integers of shape (N,).

    Example:
        >>> compact_labels(np.array([7, 7, -1, 3, 9, 9]), min_size=2)
        array([ 0,  0, -1, -1,  1,  1])
    """
    old = as_labels(labels)
    values, inverse, sizes = old.unique(return_inverse=True, return_counts=True)
    kept = (values >= 0) & (sizes >= min_size)
    number = torch.where(kept, kept.cumsum(0) - 1, -1)
    return like(number[inverse], labels)


def with_singletons(labels: np.ndarray) -> np.ndarray:
    """Give every outlier a number of its own.

    Args:
        labels: Integer labels (N,); negative = outlier.

    Returns:
        Labels (N,), all of them 0 or more.

    Example:
        >>> with_singletons(np.array([0, -1, 1, -1]))
        array([0, 2, 1, 3])
    """
    outliers = labels < 0
    return np.where(outliers, max(labels.max(), -1) + outliers.cumsum(), labels)


@checked(unit_features=BOOLEAN)
def cluster_centroids(
    features: np.ndarray | Tensor, labels: np.ndarray | Tensor, unit_features: bool = True
) -> Tensor:
    """Unit-norm mean of the members of every cluster.

    Args:
        features: Features (N, D).
        labels: Integer labels (N,): negative = outlier, others 0..C-1 without gaps.
        unit_features: Scale the features to unit length first; False takes the mean of the features as they are.

    Returns:
        float32 centroids (C, D) with unit rows, on the device of the features; (0, D) if all are outliers.

    Raises:
        ValueError: Shapes do not match, features are not finite, or cluster numbers have gaps.
    """
    x = as_features(features, unit_features)
    y = as_labels(labels, len(x)).to(x.device)
    if len(y[y >= 0].unique()) < int(y.max()) + 1:
        raise ValueError('cluster numbers have gaps; pass the labels through compact_labels first')
    return unit_centroids(x, y)


def unit_centroids(x: Tensor, y: Tensor) -> Tensor:
    """Do the work of :func:`cluster_centroids` for float32 features as they are, without checks."""
    return torch.nn.functional.normalize(group_sums(x, y, int(y.max()) + 1), dim=1).float()


def group_sums(x: Tensor, groups: Tensor, num_groups: int) -> Tensor:
    """Sum the features of every group.

    They are summed in float64, so that the order, which CUDA does not fix, leaves no trace in a float32 result.

    Args:
        x: Features (N, D).
        groups: int64 group (N,) of every image: negative = none, others below G.
        num_groups: G.

    Returns:
        float64 tensor (G, D) on the device of the features; zero for a group without images.
    """
    sums = torch.zeros(num_groups + 1, x.shape[1], dtype=torch.float64, device=x.device)
    for rows, numbers in row_blocks(x, groups):
        sums.index_add_(0, numbers.where(numbers >= 0, num_groups), rows.double())
    return sums[:-1]


def empty_rows(like: Tensor, *shape: int, dtype: torch.dtype | None = None) -> Tensor:
    """Make an empty tensor on the device of another one, of its type or ``dtype``, whose rows are fast to look up.

    On a CPU it is an array of NumPy, which asks the system for large pages of memory where torch does not.
    """
    if like.device.type != 'cpu':
        return like.new_empty(shape, dtype=dtype)
    return torch.from_numpy(np.empty(shape, like.new_empty(0, dtype=dtype).numpy().dtype))


def row_blocks(*parts: Tensor) -> Iterator[tuple[Tensor, ...]]:
    """Go through tensors (N, ...) in blocks of rows: a float64 copy of all features would be the largest array."""
    return zip(*(part.split(_BLOCK_ROWS) for part in parts), strict=True)


def center_similarity(x: Tensor, y: Tensor, centroids: Tensor) -> Tensor:
    """Measure how near every image is to the center of its cluster.

    Args:
        x: float32 unit features (N, D).
        y: Integer labels (N,): negative = outlier, others 0..C-1.
        centroids: Unit rows (C, D).

    Returns:
        Cosine similarities (N,); NaN for outliers.

    Example:
        >>> center_similarity(torch.eye(2), torch.tensor([0, -1]), torch.tensor([[0.6, 0.8]]))
        tensor([0.6000,    nan])
    """
    found = x.new_empty(len(x))
    for rows, labels, result in row_blocks(x, y.clamp(min=0), found):
        torch.sum(rows * centroids[labels], dim=1, out=result)
    return found.masked_fill(y < 0, torch.nan)


def with_earlier_features(x: Tensor, earlier: Tensor, weight: float) -> Tensor:
    """Add earlier features of the same images: what a network gets wrong by chance differs from epoch to epoch.

    Args:
        x: Unit features (N, D).
        earlier: Unit features (N, D) of the same network, trained less, on any device.
        weight: Weight of the earlier features; 1 counts them as much as ``x``.

    Returns:
        float32 tensor (N, D) with unit rows, on the device of ``x``.

    Raises:
        ValueError: The shapes differ.

    Example:
        >>> with_earlier_features(torch.eye(2), torch.tensor([[0.0, 1.0], [0.0, 1.0]]), 0.75)
        tensor([[0.8000, 0.6000],
                [0.0000, 1.0000]])
    """
    if x.shape != earlier.shape:
        raise ValueError(
            f'earlier features must be {tuple(x.shape)} as the features are, got {tuple(earlier.shape)}'
        )
    both = torch.empty_like(x, dtype=torch.float32)
    for rows, before, result in row_blocks(x, earlier, both):
        torch.add(rows, before.to(x.device, torch.float32), alpha=weight, out=result)
    return as_unit_features(both)


def with_class_scores(x: Tensor, y: Tensor, share: float, temperature: float = 0.05) -> Tensor:
    """Extend features by class scores, for similarities that are a mean of both.

    The class scores of an image are the softmax over clusters of <x, centroid> / temperature, as a cluster memory gives
    them to its loss. The similarity of two results is ``(1 - share) cosine(features) + share cosine(class scores)``.

    Args:
        x: float32 unit features (N, D).
        y: Integer labels (N,): negative = outlier, others 0..C-1 without gaps, at least one cluster.
        share: Share of the class scores in the similarity.
        temperature: See above; 0.05 is that of the published memory.

    Returns:
        float32 tensor (N, D + C) with unit rows. It is dense: 100,000 images of 5,000 clusters take 2 GB.

    Example:
        >>> x = torch.eye(2)[[0, 0, 1, 1]]
        >>> blended = with_class_scores(x, torch.tensor([0, 0, 1, 1]), share=0.5)
        >>> blended.shape, round(float(blended[0] @ blended[1]), 3)
        (torch.Size([4, 4]), 1.0)
    """
    scores = (x @ unit_centroids(x, y).T / temperature).softmax(dim=1)
    scores = torch.nn.functional.normalize(scores, dim=1)
    return torch.cat([(1 - share) ** 0.5 * x, share**0.5 * scores], dim=1)


@dataclass(frozen=True)
class PseudoLabels:
    """One labeling of the training images: what the model, its memory and the sampler receive.

    Args:
        labels: int64 tensor (N,): -1 = outlier, others 0..C-1 without gaps.
        centroids: float32 tensor (C, D) with unit rows.
        features: float32 tensor (N, D), for memories that start from more than centroids.
        cam_ids: int64 tensor (N,), camera of every image, for memories that hold cameras apart.

    Raises:
        ValueError: The cluster numbers are not exactly 0..C-1 for C centroids, centroids are not finite, or a field
            has not as many rows as there are labels.

    Example:
        >>> features = np.array([[3.0, 0.0], [1.0, 0.0], [0.0, 2.0], [0.0, 1.0]])
        >>> pseudo = PseudoLabels.from_features(features, np.array([5, 5, 8, -1]))
        >>> pseudo.labels.tolist(), pseudo.num_clusters, pseudo.num_outliers
        ([0, 0, 1, -1], 2, 1)
        >>> pseudo.centroids.tolist()
        [[1.0, 0.0], [0.0, 1.0]]
    """

    labels: Tensor
    centroids: Tensor
    features: Tensor | None = None
    cam_ids: Tensor | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, 'labels', as_labels(self.labels))
        object.__setattr__(self, 'centroids', as_tensor(self.centroids, 'centroids'))
        if self.centroids.ndim != 2:
            raise ValueError(f'centroids must be (C, D), got shape {tuple(self.centroids.shape)}')
        wrong = (~self.centroids.isfinite().all(dim=1)).nonzero().flatten().tolist()
        if wrong:
            raise ValueError(
                f'{len(wrong)} of {len(self.centroids)} centroids hold NaN or infinite values, the first is that of '
                f'cluster {wrong[0]}'
            )
        found = self.labels.unique().tolist()
        if [label for label in found if label != -1] != list(range(len(self.centroids))):
            raise ValueError(
                f'labels must be -1 and 0..C-1 without gaps for the {len(self.centroids)} centroids given; '
                'PseudoLabels.from_features makes such labels'
            )
        wanted = len(self.labels), self.centroids.shape[1]
        if self.features is not None and self.features.shape != wanted:
            raise ValueError(
                f'features: got shape {tuple(self.features.shape)} for {wanted[0]} images, whose centroids have '
                f'{wanted[1]} values: {wanted} is needed'
            )
        if self.cam_ids is not None:
            object.__setattr__(self, 'cam_ids', as_labels(self.cam_ids, len(self.labels), 'cam_ids'))

    @classmethod
    def from_features(
        cls,
        features: np.ndarray | Tensor,
        labels: np.ndarray | Tensor,
        cam_ids: np.ndarray | Tensor | None = None,
        unit_features: bool = True,
    ) -> PseudoLabels:
        """Renumber the clusters without gaps and compute their centroids.

        Args:
            features: Features (N, D).
            labels: Integer labels (N,); negative = outlier, any numbering.
            cam_ids: Camera of every image (N,), for memories that hold cameras apart.
            unit_features: Scale the features to unit length first; False keeps them as they are.

        Returns:
            All fields on the device of the features.

        Raises:
            ValueError: Shapes do not match or features are not finite.
        """
        x = as_features(features, unit_features)
        y = compact_labels(as_labels(labels, len(x)).to(x.device))
        cameras = None if cam_ids is None else as_labels(cam_ids, len(x), 'cam_ids').to(x.device)
        return cls(y, unit_centroids(x, y), x, cameras)

    @property
    def num_clusters(self) -> int:
        """Number of clusters C."""
        return len(self.centroids)

    @property
    def num_outliers(self) -> int:
        """Number of images without a cluster."""
        return int((self.labels == -1).sum())
