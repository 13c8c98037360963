"""Published checkpoints: recognize their layout, load them, and report what was loaded."""

from .conversion import backbone_state_dict, convert_state_dict, one_domain, resize_pos_embed
from .layouts import LAYOUTS, Layout, recognize_layout, rename_keys, unwrap_state_dict
from .loading import (
    check_same_tensors,
    link_predictor_for,
    load_backbone_checkpoint,
    load_link_predictor,
    load_model_checkpoint,
    non_finite,
)
from .mmengine_loader import replace_loaders
from .reading import load_checkpoint_file
from .report import LoadReport
from .writing import write_checkpoint_file

__all__ = [
    'LAYOUTS',
    'Layout',
    'LoadReport',
    'backbone_state_dict',
    'check_same_tensors',
    'convert_state_dict',
    'link_predictor_for',
    'load_backbone_checkpoint',
    'load_checkpoint_file',
    'load_link_predictor',
    'load_model_checkpoint',
    'non_finite',
    'one_domain',
    'recognize_layout',
    'rename_keys',
    'resize_pos_embed',
    'unwrap_state_dict',
    'write_checkpoint_file',
]

replace_loaders()
