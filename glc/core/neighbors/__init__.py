"""Who is near whom: nearest neighbors, cameras taken out of them, and the k-reciprocal Jaccard distance."""

from glc.core.neighbors.cameras import balance_cameras, camera_levels, center_cameras
from glc.core.neighbors.jaccard import jaccard_distance, mean_jaccard_distance
from glc.core.neighbors.knn import EXACT_LIMIT, KNNGraph, knn_graph
from glc.core.neighbors.view import FeatureView

__all__ = [
    'EXACT_LIMIT',
    'FeatureView',
    'KNNGraph',
    'balance_cameras',
    'camera_levels',
    'center_cameras',
    'jaccard_distance',
    'knn_graph',
    'mean_jaccard_distance',
]
