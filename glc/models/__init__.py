"""Networks and their parts, registered in ``MODELS`` and ``MEMORY_BANKS``."""

from glc.core.camera_memory import CameraMemory
from glc.core.hybrid_memory import HybridMemory
from glc.core.memory import ClusterMemory
from glc.registry import MEMORY_BANKS

from .backbones import *  # noqa: F403
from .data_preprocessor import ReIDDataPreprocessor
from .heads import ContrastHead, SupervisedHead
from .necks import ReIDNeck
from .reid import UnsupervisedReID
from .supervised import SupervisedReID

for memory in (CameraMemory, ClusterMemory, HybridMemory):
    MEMORY_BANKS.register_module(module=memory)

__all__ = [
    'CameraMemory',
    'ClusterMemory',
    'ContrastHead',
    'HybridMemory',
    'ReIDDataPreprocessor',
    'ReIDNeck',
    'SupervisedHead',
    'SupervisedReID',
    'UnsupervisedReID',
]
