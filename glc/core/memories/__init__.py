"""Memory banks: the interface, and one vector per cluster, per cluster and camera, or per image."""

from glc.core.memories.base import BaseMemory, momentum_rows
from glc.core.memories.camera import CameraMemory
from glc.core.memories.cluster import ClusterMemory
from glc.core.memories.hybrid import HybridMemory

__all__ = ['BaseMemory', 'CameraMemory', 'ClusterMemory', 'HybridMemory', 'momentum_rows']
