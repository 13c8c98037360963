"""Networks and their parts, registered in ``MODELS`` and ``MEMORY_BANKS``."""

from glc.core.memories import CameraMemory, ClusterMemory, HybridMemory
from glc.registry import MEMORY_BANKS

from .backbones import *  # noqa: F403
from .data_preprocessor import MultiCropDataPreprocessor, ReIDDataPreprocessor
from .heads import (
    ArcFace,
    BranchHead,
    CircleClassifier,
    ContrastHead,
    CosFace,
    ProjectionHead,
    SupervisedHead,
)
from .necks import ReIDNeck
from .pass_pretraining import PASSPretraining
from .reid import UnsupervisedReID
from .supervised import SupervisedReID

for memory in (CameraMemory, ClusterMemory, HybridMemory):
    MEMORY_BANKS.register_module(module=memory)

__all__ = [
    'ArcFace',
    'BranchHead',
    'CameraMemory',
    'CircleClassifier',
    'ClusterMemory',
    'ContrastHead',
    'CosFace',
    'HybridMemory',
    'MultiCropDataPreprocessor',
    'PASSPretraining',
    'ProjectionHead',
    'ReIDDataPreprocessor',
    'ReIDNeck',
    'SupervisedHead',
    'SupervisedReID',
    'UnsupervisedReID',
]
