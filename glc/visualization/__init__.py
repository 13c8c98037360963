"""Pictures of results."""

from .cluster_page import cluster_page
from .contact_sheet import contact_sheet
from .ranked_results import draw_ranked_results

__all__ = ['cluster_page', 'contact_sheet', 'draw_ranked_results']
