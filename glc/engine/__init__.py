"""What runs around the networks: feature extraction, hooks, and the registration of the label engine."""

from typing import Any

from glc.core.correctors import GLC, LabelPropagation, MetricConsensus, NeighborVoting, NoCorrection
from glc.core.labelers import (
    AdaptiveConsensus,
    CosineMapEquation,
    JaccardAgglomerative,
    JaccardDBSCAN,
    JaccardHDBSCAN,
    JaccardLabeler,
    JaccardLeiden,
    JaccardMapEquation,
    KMeansLabeler,
    MultiScaleConsensus,
    SelfPacedReliability,
)
from glc.registry import LABEL_CORRECTORS, PSEUDO_LABELERS

from .feature_extractor import FeatureExtractor
from .hooks import (
    AverageBatchNormHook,
    CameraNormHook,
    CheckpointHook,
    EpochSeedHook,
    FiniteCheckHook,
    IdentityLabelHook,
    MeanTeacherHook,
    PlainCheckpointHook,
    PseudoLabelHook,
    RestartHook,
    RunRecordHook,
    SelfDistillationHook,
    SignalHook,
    SummaryHook,
    TimeBudgetHook,
)
from .loop import EpochLoop
from .optim import BFloat16OptimWrapper, CPUAmpOptimWrapper, DecayMatricesConstructor
from .runner import ReIDRunner
from .schedulers import WarmupCosineLR

for labeler in (
    AdaptiveConsensus,
    CosineMapEquation,
    JaccardAgglomerative,
    JaccardDBSCAN,
    JaccardHDBSCAN,
    JaccardLeiden,
    JaccardMapEquation,
    KMeansLabeler,
    MultiScaleConsensus,
):
    PSEUDO_LABELERS.register_module(module=labeler)
for corrector in (GLC, LabelPropagation, MetricConsensus, NeighborVoting, NoCorrection):
    LABEL_CORRECTORS.register_module(module=corrector)
LABEL_CORRECTORS.register_module(name='PublishedGLC', module=GLC.published)
LABEL_CORRECTORS.register_module(name='NeighbourVoting', module=NeighborVoting)  # its name until version 0.1


def build_self_paced_reliability(
    labeler: dict | JaccardLabeler | None = None, **kwargs: Any
) -> SelfPacedReliability:
    """Build :class:`~glc.core.labelers.SelfPacedReliability` of a labeler, its config, or ``MultiScaleConsensus``."""
    if isinstance(labeler, JaccardLabeler):
        return SelfPacedReliability(labeler, **kwargs)
    built = PSEUDO_LABELERS.build(labeler or {'type': 'MultiScaleConsensus'})
    return SelfPacedReliability(built, **kwargs)


PSEUDO_LABELERS.register_module(name='SelfPacedReliability', module=build_self_paced_reliability)


__all__ = [
    'AverageBatchNormHook',
    'BFloat16OptimWrapper',
    'CPUAmpOptimWrapper',
    'CameraNormHook',
    'CheckpointHook',
    'DecayMatricesConstructor',
    'EpochLoop',
    'EpochSeedHook',
    'FeatureExtractor',
    'FiniteCheckHook',
    'IdentityLabelHook',
    'MeanTeacherHook',
    'PlainCheckpointHook',
    'PseudoLabelHook',
    'ReIDRunner',
    'RestartHook',
    'RunRecordHook',
    'SelfDistillationHook',
    'SignalHook',
    'SummaryHook',
    'TimeBudgetHook',
    'WarmupCosineLR',
]
