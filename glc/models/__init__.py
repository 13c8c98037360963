"""Networks and their parts, registered in ``MODELS`` and ``MEMORY_BANKS``."""

from glc.core.memory import ClusterMemory
from glc.registry import MEMORY_BANKS

from .backbones import *  # noqa: F403
from .data_preprocessor import MultiCropDataPreprocessor, ReIDDataPreprocessor
from .heads import ContrastHead, ProjectionHead
from .necks import ReIDNeck
from .pass_pretraining import PASSPretraining
from .reid import UnsupervisedReID

MEMORY_BANKS.register_module(module=ClusterMemory)

__all__ = [
    'ClusterMemory',
    'ContrastHead',
    'MultiCropDataPreprocessor',
    'PASSPretraining',
    'ProjectionHead',
    'ReIDDataPreprocessor',
    'ReIDNeck',
    'UnsupervisedReID',
]
