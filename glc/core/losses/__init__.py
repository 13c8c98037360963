"""Losses other than those of the memory banks."""

from glc.core.losses.center import CenterLoss
from glc.core.losses.distillation import PartDistillationLoss, clip_each_, cosine_between, move_towards_
from glc.core.losses.triplet import batch_hard_triplet_loss

__all__ = [
    'CenterLoss',
    'PartDistillationLoss',
    'batch_hard_triplet_loss',
    'clip_each_',
    'cosine_between',
    'move_towards_',
]
