"""Features to test with, and the slow plain definitions that fast code is compared with."""

import numpy as np


def clustered_features(
    num_images: int, num_clusters: int, noise: float = 0.15, dim: int = 24, seed: int = 0
) -> np.ndarray:
    """Noisy copies of random unit vectors (N, D), shuffled, float32, not normalized."""
    rng = np.random.default_rng(seed)
    centers = rng.normal(size=(num_clusters, dim))
    centers /= np.linalg.norm(centers, axis=1, keepdims=True)
    features = centers[rng.integers(num_clusters, size=num_images)]
    return (features + noise * rng.normal(size=features.shape)).astype(np.float32)


def dense_similarities(features: np.ndarray) -> np.ndarray:
    x = features.astype(np.float64)
    x = x / np.linalg.norm(x, axis=1, keepdims=True)
    return x @ x.T


def naive_ranks(features: np.ndarray, k: int) -> np.ndarray:
    similarities = dense_similarities(features)
    everyone = range(len(features))
    return np.array([sorted(everyone, key=lambda j: (j != i, -similarities[i, j], j))[:k] for i in everyone])


def euclidean_ranks(features: np.ndarray, k: int) -> np.ndarray:
    everyone = range(len(features))
    x = features.astype(np.float64)
    return np.array(
        [sorted(everyone, key=lambda j: (j != i, ((x[i] - x[j]) ** 2).sum(), j))[:k] for i in everyone]
    )


def naive_jaccard(features: np.ndarray, k1: int, k2: int, unit: bool = True) -> np.ndarray:
    """Dense float64 Jaccard distances, set by set and image by image; of unit rows, or of the rows as they are."""
    num = len(features)
    x = features.astype(np.float64)
    similarities = dense_similarities(features) if unit else x @ x.T
    ranks = (naive_ranks if unit else euclidean_ranks)(features, k1)
    half = int(np.around(k1 / 2)) + 1

    def mutual(i: int, width: int) -> set[int]:
        return {int(j) for j in ranks[i, :width] if i in ranks[j, :width]}

    weights = np.zeros((num, num))
    for i in range(num):
        reciprocal = mutual(i, k1)
        expanded = set(reciprocal)
        for j in reciprocal:
            candidate = mutual(j, half)
            if len(candidate & reciprocal) > 2 / 3 * len(candidate):
                expanded |= candidate
        for j in expanded:
            weights[i, j] = np.exp(-(2 - 2 * similarities[i, j]))
        weights[i] /= weights[i].sum()
    encoding = np.array([weights[ranks[i, :k2]].mean(axis=0) for i in range(num)])
    distance = np.empty((num, num))
    for i in range(num):
        for j in range(num):
            shared = np.minimum(encoding[i], encoding[j]).sum()
            distance[i, j] = max(0.0, 1 - shared / (2 - shared))
    return distance


def seen_by_cameras(num_ids=24, size=12, dim=32, spread=0.5, camera=1.2, seed=0):
    """Features of people who stand before three cameras, each of which adds an offset of its own."""
    rng = np.random.default_rng(seed)
    truth = np.repeat(np.arange(num_ids), size)
    cams = np.tile(np.arange(3), len(truth) // 3)
    features = rng.normal(size=(num_ids, dim))[truth] + camera * rng.normal(size=(3, dim))[cams]
    features = features + spread * rng.normal(size=(len(truth), dim))
    return (features / np.linalg.norm(features, axis=1, keepdims=True)).astype(np.float32), cams, truth


def people(sizes, noise=0.8, cameras=0, modes=1, mode_distance=0.7, dim=64, seed=0):
    """Features (N, D) of people of so many images, their cameras or None, and identities; in random order.

    Four people share a look, which makes up half of their variance. Images have noise of their own strength. A person
    has as many modes of appearance, up to ``mode_distance`` from the center in six directions that all people share.
    """
    rng = np.random.default_rng(seed)

    def directions(*shape):
        x = rng.normal(size=(*shape, dim))
        return x / np.linalg.norm(x, axis=-1, keepdims=True)

    num_people = len(sizes)
    truth = np.repeat(np.arange(num_people), sizes)
    look = directions(num_people // 4 + 1)[rng.integers(num_people // 4 + 1, size=num_people)]
    center = (look + directions(num_people)) / 2**0.5
    mode = rng.normal(size=(num_people, modes, 6)) @ directions(6)
    mode *= rng.uniform(0, mode_distance, size=(num_people, modes, 1)) / np.linalg.norm(
        mode, axis=2, keepdims=True
    )
    x = center[truth] + noise * np.exp(0.3 * rng.normal(size=len(truth)))[:, None] * directions(len(truth))
    if modes > 1:
        x += mode[truth, rng.integers(modes, size=len(truth))]
    cams = rng.integers(cameras, size=len(truth)) if cameras else None
    if cameras:
        x += 0.5 * directions(cameras)[cams]
    order = rng.permutation(len(truth))
    x = x / np.linalg.norm(x, axis=1, keepdims=True)
    return x[order].astype(np.float32), cams if cams is None else cams[order], truth[order]
