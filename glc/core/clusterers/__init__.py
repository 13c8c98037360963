"""Clusterers: from sparse distances to labels."""

from glc.core.clusterers.agglomerative import ComponentClusterer, LinkageClusterer
from glc.core.clusterers.base import Clusterer
from glc.core.clusterers.communities import (
    LeidenClusterer,
    MapEquationClusterer,
    leiden_communities,
    map_equation_communities,
)
from glc.core.clusterers.dbscan import DBSCANClusterer, knee_distance
from glc.core.clusterers.hdbscan import HDBSCANClusterer
from glc.core.clusterers.relative import RelativeMapEquationClusterer

__all__ = [
    'Clusterer',
    'ComponentClusterer',
    'DBSCANClusterer',
    'HDBSCANClusterer',
    'LeidenClusterer',
    'LinkageClusterer',
    'MapEquationClusterer',
    'RelativeMapEquationClusterer',
    'knee_distance',
    'leiden_communities',
    'map_equation_communities',
]
