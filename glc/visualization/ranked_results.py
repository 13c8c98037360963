"""Queries beside the gallery images that were ranked first."""

from collections.abc import Sequence
from os import PathLike

import numpy as np
from PIL import Image, ImageDraw

from glc.utils.images import as_rgb

from .image_rows import GRAY, GREEN, RED

__all__ = ['draw_ranked_results']

_BACKGROUND = (255, 255, 255)


def draw_ranked_results(
    query_paths: Sequence[str | PathLike],
    gallery_paths: Sequence[str | PathLike],
    ranking: np.ndarray,
    matches: np.ndarray | None = None,
    size: tuple[int, int] = (64, 128),
) -> Image.Image:
    """Draw one row per query: the query, then the gallery images in the order of their ranks.

    The frame of a gallery image is green if it shows the person of the query, red if it does not, and gray if that is
    unknown.

    Args:
        query_paths: Q image files.
        gallery_paths: G image files.
        ranking: (Q, K) integers, positions in ``gallery_paths``, best first; -1 leaves a place empty.
        matches: (Q, K) bools or integers, whether an image shows the person of the query, negative where that is
            unknown; None: it is unknown of all.
        size: ``(width, height)`` of one image in pixels.

    Returns:
        An RGB image.

    Raises:
        ValueError: If the shapes do not agree.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     path = f'{folder}/person.png'
        ...     Image.new('RGB', (64, 128)).save(path)
        ...     picture = draw_ranked_results([path], [path], np.array([[0, -1]]), np.array([[True, False]]))
        >>> picture.mode
        'RGB'
    """
    ranking = np.asarray(ranking)
    if ranking.ndim != 2 or len(ranking) != len(query_paths):
        raise ValueError(f'ranking must be (Q, K) for {len(query_paths)} queries, got {ranking.shape}')
    if matches is not None and np.shape(matches) != ranking.shape:
        raise ValueError(f'matches must have the shape of ranking, {ranking.shape}, got {np.shape(matches)}')
    matches = None if matches is None else np.asarray(matches, int)
    width, height = size
    frame = max(2, width // 20)
    step_x, step_y = width + 3 * frame, height + 3 * frame
    gap = 4 * frame  # between the query and its results
    header = max(12, width // 4)
    picture = Image.new(
        'RGB',
        (step_x * (1 + ranking.shape[1]) + gap + frame, header + step_y * len(ranking) + frame),
        _BACKGROUND,
    )
    draw = ImageDraw.Draw(picture)

    def place(path: str | PathLike, x: int, y: int, color: tuple[int, int, int] | None) -> None:
        if color is not None:
            draw.rectangle((x - frame, y - frame, x + width + frame - 1, y + height + frame - 1), fill=color)
        with Image.open(path) as image:
            picture.paste(as_rgb(image).resize(size, Image.Resampling.BICUBIC), (x, y))

    left, top = 2 * frame, header + frame
    draw.text((left, header // 2), 'query', fill='black', anchor='lm')
    columns = [left + gap + step_x * (1 + column) for column in range(ranking.shape[1])]
    for rank, x in enumerate(columns, 1):
        draw.text((x + width // 2, header // 2), str(rank), fill='black', anchor='mm')
    for row, query_path in enumerate(query_paths):
        y = top + step_y * row
        place(query_path, left, y, None)
        for column, x in enumerate(columns):
            index = ranking[row, column]
            if index < 0:
                continue
            match = -1 if matches is None else matches[row, column]
            color = GRAY if match < 0 else GREEN if match else RED
            place(gallery_paths[index], x, y, color)
    return picture
