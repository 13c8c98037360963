"""Networks and their parts, registered in ``MODELS`` and ``MEMORY_BANKS``."""

from glc.core.memory import ClusterMemory
from glc.registry import MEMORY_BANKS

from .backbones import *  # noqa: F403
from .data_preprocessor import ReIDDataPreprocessor
from .heads import ContrastHead, SupervisedHead
from .necks import ReIDNeck
from .reid import UnsupervisedReID
from .supervised import SupervisedReID

MEMORY_BANKS.register_module(module=ClusterMemory)

__all__ = [
    'ClusterMemory',
    'ContrastHead',
    'ReIDDataPreprocessor',
    'ReIDNeck',
    'SupervisedHead',
    'SupervisedReID',
    'UnsupervisedReID',
]
