"""Made-up features for the benchmarks, of any number of images."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor

_IDENTITIES_PER_BLOCK = 512
_IMAGES_PER_BLOCK = 2**17
_IMAGES_PER_IDENTITY = (15, 40)
_IDENTITIES_PER_LOOK = 6
_FACTORS = 64
_FACTOR_SHARE = 0.25
_OWN_SHARE = (0.05, 0.7)
_SPECTRUM_KNEE = 80
_CAMERAS = 6
_CAMERA_SHIFT = 0.2
_NOISE = (0.36, 0.35)  # median of the images' noise, standard deviation of its logarithm
_BAD_VIEWS = (0.1, 1.2)  # their share, their noise


def synthetic_identities(
    num_images: int, dim: int, seed: int, views: tuple[int, int] = _IMAGES_PER_IDENTITY
) -> tuple[np.ndarray, np.ndarray]:
    """Make identities of 15 to 40 noisy views each, some of which look alike.

    Every identity has one of a number of looks (six identities to a look) plus 5% to 70% of variance of its own.
    A quarter of a look lies in 64 dimensions that all looks share, so that these grow denser with more images;
    the rest has any direction. Of the views of an identity, those of one camera (of six) are shifted together;
    each has noise of its own strength, and every tenth is a bad one, far off. Coordinates have a falling spectrum.

    The constants come from features of a ViT-S/16 on Market-1501 (12,936 images, 17 per identity). At that
    size, with 2 to 32 images per identity, made-up and real features compare as follows (5%, 50%, 95% quantile):

    =================================  ==================  ==================
    cosine similarity                  real                made up
    =================================  ==================  ==================
    same identity                       0.50  0.82  0.92    0.56  0.84  0.92
    nearest image of its identity       0.83  0.92  0.96    0.63  0.90  0.95
    nearest image of another identity   0.46  0.63  0.85    0.43  0.65  0.81
    two identities                     -0.07  0.01  0.11   -0.10  0.00  0.10
    30th neighbor                       0.43  0.60  0.83    0.40  0.62  0.78
    =================================  ==================  ==================

    The effective dimension (participation ratio of the covariance) is 151 for 185 of the real ones.

    Args:
        num_images: Images N.
        dim: Dimension D.
        seed: The data are a function of the arguments.
        views: Fewest and most views of an identity.

    Returns:
        Unit features, float32 (N, D), and identities, int64 (N,), in random order.
    """
    rng = np.random.default_rng(seed)

    def normal(*shape: int) -> np.ndarray:
        return rng.standard_normal((*shape, dim), dtype=np.float32)

    def unit(x: np.ndarray) -> np.ndarray:
        return x / np.linalg.norm(x, axis=-1, keepdims=True)

    fewest, most = views
    sizes = rng.integers(fewest, most + 1, size=num_images // fewest + 1)
    num_identities = int(np.searchsorted(sizes.cumsum(), num_images)) + 1
    identities = np.repeat(np.arange(num_identities), sizes[:num_identities])[:num_images]
    spectrum = unit((1 + np.arange(dim, dtype=np.float32) / _SPECTRUM_KNEE) ** -0.5)
    noise_spectrum = (spectrum + np.float32(dim**-0.5)) / 2
    num_looks = num_identities // _IDENTITIES_PER_LOOK + 1
    factors = rng.standard_normal((num_looks, _FACTORS), dtype=np.float32) @ normal(_FACTORS)
    looks = np.sqrt(_FACTOR_SHARE / _FACTORS) * factors + np.sqrt(1 - _FACTOR_SHARE) * normal(num_looks)
    noise = np.exp(rng.normal(np.log(_NOISE[0]), _NOISE[1], size=num_images)).astype(np.float32)
    noise[rng.random(num_images) < _BAD_VIEWS[0]] = _BAD_VIEWS[1]
    position = rng.permutation(num_images)
    features = np.empty((num_images, dim), np.float32)
    for first in range(0, num_identities, _IDENTITIES_PER_BLOCK):
        count = min(_IDENTITIES_PER_BLOCK, num_identities - first)
        own = rng.uniform(*_OWN_SHARE, size=(count, 1)).astype(np.float32)
        chosen = looks[rng.integers(num_looks, size=count)]
        centers = unit(spectrum * (np.sqrt(1 - own) * chosen + np.sqrt(own) * normal(count)))
        shifts = _CAMERA_SHIFT * noise_spectrum * normal(count, _CAMERAS)
        images = slice(*np.searchsorted(identities, (first, first + count)))
        identity = identities[images] - first
        views = centers[identity] + shifts[identity, rng.integers(_CAMERAS, size=len(identity))]
        views += noise[images, None] * noise_spectrum * normal(len(identity))
        features[position[images]] = unit(views)
    return features, identities[np.argsort(position)]


def device_identities(num_images: int, dim: int, seed: int, device: str) -> tuple[Tensor, Tensor]:
    """Make features as :func:`synthetic_identities` does, with other random numbers, on a device and in float16.

    Args:
        num_images: Images N.
        dim: Dimension D.
        seed: The data are a function of the four arguments.
        device: Device that makes and keeps them, in blocks.

    Returns:
        Features of about unit length, float16 (N, D), and cameras, int64 (N,), images in random order.
    """
    import torch

    generator = torch.Generator(device).manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, device=device, generator=generator)

    def integers(high: int, *shape: int) -> Tensor:
        return torch.randint(high, shape, device=device, generator=generator)

    num_identities = round(num_images / (sum(_IMAGES_PER_IDENTITY) / 2))
    num_looks = num_identities // _IDENTITIES_PER_LOOK + 1
    identity, cameras = integers(num_identities, num_images), integers(_CAMERAS, num_images)
    unit = torch.nn.functional.normalize
    spectrum = unit((1 + torch.arange(dim, device=device) / _SPECTRUM_KNEE) ** -0.5, dim=0)
    noise_spectrum = (spectrum + dim**-0.5) / 2
    looks = (_FACTOR_SHARE / _FACTORS) ** 0.5 * normal(num_looks, _FACTORS) @ normal(_FACTORS, dim)
    looks += (1 - _FACTOR_SHARE) ** 0.5 * normal(num_looks, dim)
    fewest, most = _OWN_SHARE
    own = fewest + (most - fewest) * torch.rand(num_identities, 1, device=device, generator=generator)
    looks = (1 - own).sqrt() * looks[integers(num_looks, num_identities)] + own.sqrt() * normal(
        num_identities, dim
    )
    centers = unit(spectrum * looks, dim=1)
    shifts = _CAMERA_SHIFT * noise_spectrum * normal(num_identities * _CAMERAS, dim)
    noise = _NOISE[0] * (_NOISE[1] * normal(num_images, 1)).exp()
    bad = torch.rand(num_images, 1, device=device, generator=generator) < _BAD_VIEWS[0]
    noise = noise.masked_fill(bad, _BAD_VIEWS[1])
    features = torch.empty(num_images, dim, dtype=torch.float16, device=device)
    for rows in torch.arange(num_images, device=device).split(_IMAGES_PER_BLOCK):
        views = centers[identity[rows]] + shifts[identity[rows] * _CAMERAS + cameras[rows]]
        features[rows] = unit(views + noise[rows] * noise_spectrum * normal(len(rows), dim), dim=1).half()
    return features, cameras


def shift_by_camera(
    features: np.ndarray, num_cameras: int, shift: float, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Give every image a random camera and move it by the offset of that camera.

    Args:
        features: Features (N, D), of about unit length.
        num_cameras: Number of cameras.
        shift: Length of the offsets, which have random directions. On Market-1501, the cameras' mean features lie 0.02
            to 0.09 (ViT-S/16) or 0.09 to 0.16 (OSNet trained elsewhere) from the mean of all.
        seed: The result is a function of the arguments.

    Returns:
        Unit features, float32 (N, D), and cameras, int64 (N,).
    """
    rng = np.random.default_rng(seed)
    cameras = rng.integers(num_cameras, size=len(features))
    offsets = rng.normal(size=(num_cameras, features.shape[1]))
    offsets *= shift / np.linalg.norm(offsets, axis=1, keepdims=True)
    result = np.empty_like(features, dtype=np.float32)
    for first in range(0, len(features), _IMAGES_PER_BLOCK):
        block = slice(first, first + _IMAGES_PER_BLOCK)
        shifted = features[block] + offsets[cameras[block]]
        result[block] = shifted / np.linalg.norm(shifted, axis=1, keepdims=True)
    return result, cameras


def planted_noise(labels: np.ndarray, kind: str, share: float, seed: int) -> np.ndarray:
    """Spoil labels in one way.

    Args:
        labels: Integer labels (N,), negative = outlier; e.g. the true identities.
        kind: 'merged' joins clusters in pairs, 'split' cuts clusters into random halves, 'outliers' takes the label of
            single images away.
        share: Share of the clusters that are joined or cut, or of the images that lose their label.
        seed: The result is a function of the arguments.

    Returns:
        int64 labels (N,), negative = outlier, numbered with gaps.

    Raises:
        ValueError: Unknown kind.
    """
    rng = np.random.default_rng(seed)
    noisy = labels.astype(np.int64)
    if kind == 'outliers':
        labeled = rng.permutation(np.flatnonzero(labels >= 0))
        noisy[labeled[: round(share * len(labeled))]] = -1
        return noisy
    clusters = rng.permutation(np.unique(labels[labels >= 0]))
    clusters = clusters[: round(share * len(clusters))]
    if kind == 'merged':
        for kept, gone in zip(clusters[::2], clusters[1::2], strict=False):
            noisy[labels == gone] = kept
    elif kind == 'split':
        for new, cluster in enumerate(clusters, start=labels.max() + 1):
            members = rng.permutation(np.flatnonzero(labels == cluster))
            noisy[members[: len(members) // 2]] = new
    else:
        raise ValueError(f"kind must be 'merged', 'split' or 'outliers', got {kind!r}")
    return noisy


def isotropic_noise(num_images: int, dim: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Draw random directions, the worst case of an approximate search: float32 (N, D), and an identity for each."""
    rng = np.random.default_rng(seed)
    features = np.empty((num_images, dim), np.float32)
    for block in np.array_split(features, num_images // 2**14 + 1):
        block[:] = rng.standard_normal(block.shape, dtype=np.float32)
        block /= np.linalg.norm(block, axis=1, keepdims=True)
    return features, np.arange(num_images)
