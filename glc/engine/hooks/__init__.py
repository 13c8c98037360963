"""Hooks: when things happen in a run. The algorithms are in ``glc.core``."""

from .average_batchnorm_hook import AverageBatchNormHook
from .camera_norm_hook import CameraNormHook
from .checkpoint_hook import CheckpointHook
from .epoch_seed_hook import EpochSeedHook
from .finite_check_hook import FiniteCheckHook
from .identity_label_hook import IdentityLabelHook
from .mean_teacher_hook import MeanTeacherHook
from .plain_checkpoint_hook import PlainCheckpointHook
from .pseudo_label_hook import PseudoLabelHook
from .restart_hook import RestartHook
from .run_record_hook import RunRecordHook
from .self_distillation_hook import SelfDistillationHook
from .signal_hook import SignalHook
from .summary_hook import SummaryHook
from .time_budget_hook import TimeBudgetHook

__all__ = [
    'AverageBatchNormHook',
    'CameraNormHook',
    'CheckpointHook',
    'EpochSeedHook',
    'FiniteCheckHook',
    'IdentityLabelHook',
    'MeanTeacherHook',
    'PlainCheckpointHook',
    'PseudoLabelHook',
    'RestartHook',
    'RunRecordHook',
    'SelfDistillationHook',
    'SignalHook',
    'SummaryHook',
    'TimeBudgetHook',
]
