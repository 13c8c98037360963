"""What runs around the networks: feature extraction, hooks, and the registration of the label engine."""

from glc.core.alternatives import (
    JaccardAgglomerative,
    JaccardHDBSCAN,
    JaccardLeiden,
    KMeansLabeler,
    LabelPropagation,
    NeighbourVoting,
    NoCorrection,
)
from glc.core.clustering import JaccardDBSCAN, JaccardMapEquation, MultiScaleConsensus
from glc.core.correction import GLC
from glc.core.metric import MetricConsensus
from glc.registry import LABEL_CORRECTORS, PSEUDO_LABELERS

from .feature_extractor import FeatureExtractor
from .hooks import (
    AverageBatchNormHook,
    EpochSeedHook,
    PlainCheckpointHook,
    PseudoLabelHook,
    RestartHook,
    SelfDistillationHook,
)
from .optim import CPUAmpOptimWrapper, DecayMatricesConstructor

for labeler in (
    JaccardAgglomerative,
    JaccardDBSCAN,
    JaccardHDBSCAN,
    JaccardLeiden,
    JaccardMapEquation,
    KMeansLabeler,
    MultiScaleConsensus,
):
    PSEUDO_LABELERS.register_module(module=labeler)
for corrector in (GLC, LabelPropagation, MetricConsensus, NeighbourVoting, NoCorrection):
    LABEL_CORRECTORS.register_module(module=corrector)

__all__ = [
    'AverageBatchNormHook',
    'CPUAmpOptimWrapper',
    'DecayMatricesConstructor',
    'EpochSeedHook',
    'FeatureExtractor',
    'PlainCheckpointHook',
    'PseudoLabelHook',
    'RestartHook',
    'SelfDistillationHook',
]
