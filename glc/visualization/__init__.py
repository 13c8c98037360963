"""Pictures of results."""

from .attention import draw_attention_maps
from .ranked_results import draw_ranked_results

__all__ = ['draw_attention_maps', 'draw_ranked_results']
