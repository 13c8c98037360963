"""Layers without any framework, usable alone."""

from .camera_batchnorm import CameraStatistics
from .domain_batchnorm import DomainBatchNorm, Domains, separate_domains
from .gem import GeM
from .ghost_batchnorm import GhostBatchNorm1d, GhostBatchNorm2d, GhostBatchNormAct2d, convert_batchnorm
from .global_batch import global_batch
from .ibn import IBN

__all__ = [
    'IBN',
    'CameraStatistics',
    'DomainBatchNorm',
    'Domains',
    'GeM',
    'GhostBatchNorm1d',
    'GhostBatchNorm2d',
    'GhostBatchNormAct2d',
    'convert_batchnorm',
    'global_batch',
    'separate_domains',
]
