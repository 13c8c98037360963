"""Scores of labels and of rankings, and better rankings from the same features."""

from glc.core.evaluation.label_quality import knn_purity, label_change, label_quality
from glc.core.evaluation.ranking import evaluate_ranking, rank_gallery
from glc.core.evaluation.reranking import KReciprocalReranking, QueryExpansion

__all__ = [
    'KReciprocalReranking',
    'QueryExpansion',
    'evaluate_ranking',
    'knn_purity',
    'label_change',
    'label_quality',
    'rank_gallery',
]
