"""Pictures of results, drawn from arrays and image files: no config, no network, no run."""

from .attention import draw_attention_maps
from .cluster_page import cluster_page
from .contact_sheet import contact_sheet
from .curves import draw_curves
from .feature_map import draw_feature_map, embed_features
from .image_rows import Row, Tile, draw_image_rows
from .label_changes import Change, compare_labels, draw_label_changes
from .ranked_results import draw_ranked_results
from .schedule import Schedule, draw_schedule

__all__ = [
    'Change',
    'Row',
    'Schedule',
    'Tile',
    'cluster_page',
    'compare_labels',
    'contact_sheet',
    'draw_attention_maps',
    'draw_curves',
    'draw_feature_map',
    'draw_image_rows',
    'draw_label_changes',
    'draw_ranked_results',
    'draw_schedule',
    'embed_features',
]
