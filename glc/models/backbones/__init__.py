"""Backbones: images to tokens, maps or vectors."""

from .base import BaseBackbone
from .jpm_vit import JPMViT
from .osnet import OSNet
from .pass_vit import PASSViT
from .resnet import ResNet
from .timm_backbone import TimmBackbone

__all__ = ['BaseBackbone', 'JPMViT', 'OSNet', 'PASSViT', 'ResNet', 'TimmBackbone']
