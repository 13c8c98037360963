"""Pseudo-labelers: from the features of all images to labels."""

from glc.core.labelers.adaptive import AdaptiveConsensus
from glc.core.labelers.base import BaseLabeler
from glc.core.labelers.cosine import CosineMapEquation
from glc.core.labelers.jaccard import (
    JaccardAgglomerative,
    JaccardDBSCAN,
    JaccardHDBSCAN,
    JaccardLabeler,
    JaccardLeiden,
    JaccardMapEquation,
    MultiScaleConsensus,
)
from glc.core.labelers.kmeans import KMeansLabeler
from glc.core.labelers.reliability import SelfPacedReliability

__all__ = [
    'AdaptiveConsensus',
    'BaseLabeler',
    'CosineMapEquation',
    'JaccardAgglomerative',
    'JaccardDBSCAN',
    'JaccardHDBSCAN',
    'JaccardLabeler',
    'JaccardLeiden',
    'JaccardMapEquation',
    'KMeansLabeler',
    'MultiScaleConsensus',
    'SelfPacedReliability',
]
