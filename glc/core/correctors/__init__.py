"""Label correctors: from noisy pseudo labels to better ones."""

from glc.core.correctors.base import BaseCorrector
from glc.core.correctors.glc import GLC
from glc.core.correctors.link_network import LinkPredictor
from glc.core.correctors.link_training import LinkTraining
from glc.core.correctors.linking import CommunityLinking, ComponentLinking, ConsensusLinking, cluster_links
from glc.core.correctors.metric_consensus import MetricConsensus
from glc.core.correctors.propagation import LabelPropagation, NeighborVoting, NoCorrection
from glc.core.labels import UnusableLabelsError

__all__ = [
    'GLC',
    'BaseCorrector',
    'CommunityLinking',
    'ComponentLinking',
    'ConsensusLinking',
    'LabelPropagation',
    'LinkPredictor',
    'LinkTraining',
    'MetricConsensus',
    'NeighborVoting',
    'NoCorrection',
    'UnusableLabelsError',
    'cluster_links',
]
