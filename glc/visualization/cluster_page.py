"""Clusters as a page for a browser."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .contact_sheet import spread, thumbnail

if TYPE_CHECKING:
    from glc.apis.clustering import ImageClusters

__all__ = ['cluster_page']

_TEMPLATE = Path(__file__).with_name('cluster_page.html')


def cluster_page(
    clusters: ImageClusters, about: str = '', size: tuple[int, int] = (48, 96), most: int = 24
) -> str:
    """Write a page that shows every cluster, and the outliers at the end. It needs no other file and no network.

    Args:
        clusters: The clusters; the names are image files.
        about: A line below the title.
        size: ``(width, height)`` of a thumbnail in pixels.
        most: Thumbnails of a cluster; of more images, as many that are evenly spread in the order of their confidence.
            Of outliers ten times as many.

    Returns:
        The HTML text. Its clusters can be sorted by number, size and confidence.
    """
    import jinja2

    def section(number: int) -> dict[str, Any]:
        rows = clusters.rows(number)
        shown = rows[spread(len(rows), most if number >= 0 else 10 * most)]
        cameras = {int(camera) for camera in clusters.cam_ids[rows]} - {-1}
        return {
            'number': number,
            'folder': f'{number:04d}' if number >= 0 else 'outliers',
            'size': len(rows),
            'cameras': len(cameras),
            'joined': int(clusters.was_outlier[rows].sum()),
            'confidence': float(clusters.confidence[rows].mean()),
            'images': [
                {
                    'name': clusters.names[row],
                    'confidence': float(clusters.confidence[row]),
                    'joined': bool(clusters.was_outlier[row]),
                    'data': _encoded(clusters.names[row], size),
                }
                for row in shown
            ],
        }

    outliers = int(np.sum(clusters.labels < 0))
    template = jinja2.Template(
        _TEMPLATE.read_text(encoding='utf-8'), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    return template.render(
        about=about,
        images=len(clusters.labels),
        clusters=[section(number) for number in range(clusters.num_clusters)],
        outliers=section(-1) if outliers else None,
        size=size,
    )


def _encoded(name: str, size: tuple[int, int]) -> str:
    buffer = io.BytesIO()
    thumbnail(name, size).save(buffer, 'JPEG', quality=75)
    return base64.b64encode(buffer.getvalue()).decode('ascii')
