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


def naive_jaccard(features: np.ndarray, k1: int, k2: int) -> np.ndarray:
    """Dense float64 Jaccard distances, set by set and image by image."""
    num = len(features)
    similarities = dense_similarities(features)
    ranks = naive_ranks(features, k1)
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
