"""What the cameras put into features, and how to take it out."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from glc.core.labels import as_labels, as_unit_features, empty_rows, group_sums, row_blocks
from glc.core.neighbors.knn import KNNGraph
from glc.core.parameters import AT_LEAST_ONE, NUMBER, POSITIVE, checked

_SAMPLE = (1024, 4096)
_SAMPLE_SIMILARITIES = 2**26
_NEAREST = 10
_BLOCK_SIMILARITIES = 2**22  # 16 MiB


def known_cameras(cam_ids: np.ndarray | Tensor | None, num_images: int) -> Tensor | None:
    """Say whether cameras are known: whether two of them, at least, can be told apart.

    Args:
        cam_ids: Camera of every image (N,), negative where it is unknown; None: all are unknown.
        num_images: N.

    Returns:
        int64 tensor (N,), -1 = unknown; None without two different known cameras.

    Raises:
        ValueError: ``cam_ids`` are not N integers.
    """
    if cam_ids is None:
        return None
    cameras = as_labels(cam_ids, num_images, 'cam_ids').clip(min=-1)
    return cameras if len(cameras[cameras >= 0].unique()) > 1 else None


@checked(prior=POSITIVE)
def center_cameras(
    features: np.ndarray | Tensor, cam_ids: np.ndarray | Tensor, prior: float = 20.0
) -> Tensor:
    """Move the mean feature of every camera to the origin, which takes light, angle and background out.

    The mean of a camera is drawn towards the mean of all images, with the weight of ``prior`` images. So a camera of
    few images keeps what tells these apart. An image of an unknown camera is moved by the mean of all images. Where a
    camera sees other people than the rest, that goes too.

    Args:
        features: Features (N, D); rows are scaled to unit length first.
        cam_ids: Camera of every image (N,), negative where it is unknown.
        prior: Weight of the mean of all images, in images.

    Returns:
        float32 tensor (N, D) with unit rows on the device of the features.

    Raises:
        ValueError: Shapes do not match, or features are not finite.
    """
    x = as_unit_features(features)
    cameras, camera = as_labels(cam_ids, len(x), 'cam_ids').to(x.device).unique(return_inverse=True)
    sums = group_sums(x, camera, len(cameras))
    known = (cameras >= 0)[:, None]
    counts = known * camera.bincount(minlength=len(cameras))[:, None]
    means = ((known * sums + prior * sums.sum(0) / len(x)) / (counts + prior)).float()
    centered = empty_rows(x, *x.shape)
    for rows, numbers, result in row_blocks(x, camera, centered):
        result.copy_(as_unit_features(rows - means[numbers]))
    return centered


def camera_levels(features: np.ndarray | Tensor, cam_ids: np.ndarray | Tensor) -> Tensor:
    """Measure how similar the nearest images of each camera are to those of each other one.

    Args:
        features: Features (N, D); rows are scaled to unit length first.
        cam_ids: Camera of every image (N,), negative where it is unknown; K different numbers.

    Returns:
        Symmetric float32 tensor (K, K), cameras in rising order: mean similarity of an image of one camera and its
        nearest ten images of the other, without itself. It is estimated from evenly spaced images: about 4,096, or for
        more than 16,384 images fewer, down to 1,024. An unknown camera gets the mean level of all pairs of known ones,
        0 where none is known.
    """
    x = as_unit_features(features)
    cameras, camera = as_labels(cam_ids, len(x), 'cam_ids').to(x.device).unique(return_inverse=True)
    by_camera = camera.argsort(stable=True).split(camera.bincount().tolist())
    # Sums in float64, so that their order (which CUDA does not fix) leaves no trace in the float32 result.
    sums = torch.zeros(len(cameras), len(cameras), dtype=torch.float64, device=x.device)
    size = np.clip(_SAMPLE_SIMILARITIES // len(x), *_SAMPLE)
    sample = torch.arange(0, len(x), max(1, round(len(x) / int(size))), device=x.device)
    for rows in sample.split(_SAMPLE[0]):
        nearest = [_nearest_mean(x, rows, images) for images in by_camera]
        sums.index_add_(0, camera[rows], torch.stack(nearest, dim=1).double())
    counts = camera[sample].bincount(minlength=len(cameras))[:, None]
    levels = (sums / counts.clip(min=1)).float()
    unseen = (counts == 0) | (counts == 0).T
    levels = torch.where(unseen, levels + levels.T, (levels + levels.T) / 2)
    unknown = (cameras < 0)[:, None] | (cameras < 0)
    if unknown.all():
        return torch.zeros_like(levels)
    return torch.where(unknown, levels[~unknown].mean(), levels) if unknown.any() else levels


def _nearest_mean(x: Tensor, rows: Tensor, images: Tensor) -> Tensor:
    """Compute the mean similarity (B,) of each of the ``rows`` and its nearest images of one camera, without itself.

    Args:
        x: Unit features (N, D).
        rows: Some images (B,).
        images: The images of the camera (M,), rising.
    """
    some = x[rows]
    best = x.new_empty(len(rows), 0)
    for block in images.split(_BLOCK_SIMILARITIES // _SAMPLE[0]):
        similarities = some @ x[block].T
        place = torch.searchsorted(block, rows).clamp(max=len(block) - 1)
        itself = block[place] == rows
        similarities[itself, place[itself]] = -1.0
        best = torch.cat([best, similarities.topk(min(_NEAREST, len(block)), dim=1).values], dim=1)
    return best.topk(min(_NEAREST, len(images)), dim=1).values.mean(1)


@checked(graph=[KNNGraph], k=AT_LEAST_ONE, strength=NUMBER)
def balance_cameras(
    graph: KNNGraph, cam_ids: np.ndarray | Tensor, levels: Tensor, k: int, strength: float = 0.5
) -> KNNGraph:
    """Choose neighbors by similarity above the level of their two cameras, so that a person is found across cameras.

    Args:
        graph: kNN graph of N images with more than k neighbors, the candidates.
        cam_ids: Camera of every image (N,), the numbers that ``levels`` was made from.
        levels: Level of every pair of cameras (K, K), see :func:`camera_levels`.
        k: Neighbors per image, itself included.
        strength: Share of the level to subtract; 0 keeps the plain neighbors.

    Returns:
        The k best of the candidates, the image itself first, with their similarities less the levels, on the device
        of these.

    Raises:
        ValueError: A parameter is out of range, or the levels are not those of the cameras.
    """
    graph = graph.to(levels.device)
    cameras, camera = (
        as_labels(cam_ids, graph.num_nodes, 'cam_ids').to(levels.device).unique(return_inverse=True)
    )
    if levels.shape != (len(cameras), len(cameras)):
        raise ValueError(f'levels must be (K, K) for {len(cameras)} cameras, got {tuple(levels.shape)}')
    shape = graph.num_nodes, min(k, graph.k)
    indices, similarities = graph.indices.new_empty(shape), graph.similarities.new_empty(shape)
    for own, known, known_similarities, chosen, chosen_scores in row_blocks(
        camera, graph.indices, graph.similarities, indices, similarities
    ):
        scores = known_similarities - strength * levels[own[:, None], camera[known]]
        scores[:, 0] = torch.inf
        order = scores.sort(dim=1, descending=True, stable=True).indices[:, :k]
        torch.gather(known, 1, order, out=chosen)
        torch.gather(scores, 1, order, out=chosen_scores)
    return KNNGraph(indices, similarities)
