"""Heads: from features and labels to losses."""

from .contrast_head import ContrastHead
from .cosine_classifiers import ArcFace, CircleClassifier, CosFace, CosineClassifier
from .projection_head import ProjectionHead
from .supervised_head import BranchHead, SupervisedHead

__all__ = [
    'ArcFace',
    'BranchHead',
    'CircleClassifier',
    'ContrastHead',
    'CosFace',
    'CosineClassifier',
    'ProjectionHead',
    'SupervisedHead',
]
