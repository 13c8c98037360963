"""What the cameras put into features, and how to take it out."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from glc.core.graph import KNNGraph, as_graph, knn_graph
from glc.core.labels import as_labels, as_unit_features

_SAMPLE = 4096
_NEAREST = 10
_CANDIDATES = 2
_BLOCK_SIMILARITIES = 2**24


def center_cameras(
    features: np.ndarray | Tensor, cam_ids: np.ndarray | Tensor, prior: float = 20.0
) -> Tensor:
    """Move the mean feature of every camera to the origin, which takes light, angle and background out.

    A camera's mean is drawn towards the mean of all images by ``prior`` images' weight, so that a camera of few
    images keeps what tells these apart. Where a camera sees other people than the rest, that goes too.

    Args:
        features: Features (N, D); rows are scaled to unit length first.
        cam_ids: Camera of every image (N,), any integers.
        prior: Weight of the mean of all images, in images.

    Returns:
        float32 tensor (N, D) with unit rows on the device of the features.

    Raises:
        ValueError: Shapes do not match, or features are not finite.
    """
    x = as_unit_features(features)
    cameras, camera = as_labels(cam_ids, len(x), 'cam_ids').to(x.device).unique(return_inverse=True)
    sums = torch.zeros(len(cameras), x.shape[1], dtype=torch.float64, device=x.device)
    sums.index_add_(0, camera, x.double())
    counts = camera.bincount(minlength=len(cameras))[:, None]
    means = (sums + prior * sums.sum(0) / len(x)) / (counts + prior)
    return as_unit_features(x - means.float()[camera])


def camera_levels(features: np.ndarray | Tensor, cam_ids: np.ndarray | Tensor) -> Tensor:
    """How similar the nearest images of each camera are to those of each other one.

    Args:
        features: Features (N, D); rows are scaled to unit length first.
        cam_ids: Camera of every image (N,), any integers; K different ones.

    Returns:
        Symmetric float32 tensor (K, K), cameras in rising order: mean similarity of an image of one camera and its
        nearest ten images of the other, without itself; estimated from a sample of evenly spaced images.
    """
    x = as_unit_features(features)
    cameras, camera = as_labels(cam_ids, len(x), 'cam_ids').to(x.device).unique(return_inverse=True)
    members = [(camera == c).nonzero().squeeze(1) for c in range(len(cameras))]
    # Sums in float64, so that their order (which CUDA does not fix) leaves no trace in the float32 result.
    sums = torch.zeros(len(cameras), len(cameras), dtype=torch.float64, device=x.device)
    sample = torch.arange(0, len(x), max(1, len(x) // _SAMPLE), device=x.device)
    for rows in sample.split(max(64, _BLOCK_SIMILARITIES // len(x))):
        similarities = x[rows] @ x.T
        similarities.scatter_(1, rows[:, None], -1.0)
        nearest = [
            similarities[:, own].topk(min(_NEAREST, len(own)), dim=1).values.mean(1) for own in members
        ]
        sums.index_add_(0, camera[rows], torch.stack(nearest, dim=1).double())
    counts = camera[sample].bincount(minlength=len(cameras))[:, None]
    levels = (sums / counts.clip(min=1)).float()
    unseen = (counts == 0) | (counts == 0).T
    return torch.where(unseen, levels + levels.T, (levels + levels.T) / 2)


def balance_cameras(
    graph: KNNGraph, cam_ids: np.ndarray | Tensor, levels: Tensor, k: int, strength: float = 0.5
) -> KNNGraph:
    """Neighbours by similarity above what their two cameras give: the same person is found across cameras.

    Args:
        graph: kNN graph of N images with more than k neighbours, the candidates.
        cam_ids: Camera of every image (N,).
        levels: Level of every pair of cameras (K, K), see :func:`camera_levels`.
        k: Neighbours per image, itself included.
        strength: Share of the level to subtract; 0 keeps the plain neighbours.

    Returns:
        The k best of the candidates, the image itself first, with their similarities less the levels, on the device
        of these.
    """
    indices, similarities = graph.tensors(levels.device)
    camera = as_labels(cam_ids, len(indices), 'cam_ids').to(levels.device).unique(return_inverse=True)[1]
    scores = similarities - strength * levels[camera[:, None], camera[indices]]
    scores[:, 0] = torch.inf
    order = scores.sort(dim=1, descending=True, stable=True).indices[:, :k]
    return as_graph(indices.gather(1, order), scores.gather(1, order))


def camera_views(
    features: np.ndarray | Tensor, cam_ids: np.ndarray | Tensor | None, k: int, backend: str = 'auto'
) -> tuple[Tensor, list[KNNGraph]]:
    """Features and kNN graphs with what is known of the cameras taken out.

    Args:
        features: Features (N, D); rows are scaled to unit length first.
        cam_ids: Camera of every image (N,); None: unknown.
        k: Neighbours per image, itself included.
        backend: Search of the neighbours, see :func:`glc.core.graph.knn_graph`.

    Returns:
        The features, centred per camera, and two graphs, with plain and with camera-balanced neighbours. Without
        cameras, or with one only, the features as they are and their one graph.
    """
    x = as_unit_features(features)
    if cam_ids is None or len(torch.as_tensor(cam_ids).unique()) == 1:
        return x, [knn_graph(x, k, backend)]
    x = center_cameras(x, cam_ids)
    candidates = knn_graph(x, _CANDIDATES * k, backend)
    plain = KNNGraph(candidates.indices[:, :k], candidates.similarities[:, :k])
    return x, [plain, balance_cameras(candidates, cam_ids, camera_levels(x, cam_ids), k)]
