"""A page for a browser that needs no other file and no network."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL.Image import Image

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ['Code', 'Note', 'Picture', 'Section', 'Table', 'Text', 'report_page']

_TEMPLATE = Path(__file__).with_name('report_page.html')


@dataclass(frozen=True)
class Text:
    """Sentences."""

    text: str


@dataclass(frozen=True)
class Note:
    """What is not shown, and why."""

    text: str


@dataclass(frozen=True)
class Code:
    """Text as it is, folded under a title."""

    title: str
    text: str


@dataclass(frozen=True)
class Table:
    """A table that is sorted by a click on the title of a column.

    Args:
        columns: Titles of the columns.
        rows: Numbers and texts; None is an empty cell.
    """

    columns: Sequence[str]
    rows: Sequence[Sequence[Any]]

    def cells(self) -> list[list[tuple[str, str, bool]]]:
        """Return for every cell what is shown, what it is sorted by, and whether it is a number."""

        def cell(value: Any) -> tuple[str, str, bool]:
            if value is None:
                return '', '', True
            if isinstance(value, float):
                return f'{value:.3f}', repr(value), True
            return (
                (f'{value:,}' if isinstance(value, int) else str(value)),
                str(value),
                isinstance(value, int),
            )

        return [[cell(value) for value in row] for row in self.rows]


@dataclass(frozen=True)
class Picture:
    """A picture and the text below it.

    Args:
        source: The image, as a ``data:`` address.
        caption: The text.
    """

    source: str
    caption: str

    @classmethod
    def of(cls, picture: Figure | Image, caption: str, points: bool = False) -> Picture:
        """Make one of a figure of matplotlib, or of an image.

        Args:
            picture: The figure or image.
            caption: The text below it.
            points: Whether a figure has very many points, and is better an image.
        """
        buffer = io.BytesIO()
        if isinstance(picture, Image):
            kind = 'jpeg'
            picture.save(buffer, 'JPEG', quality=82)
        else:
            kind = 'png' if points else 'svg+xml'
            picture.savefig(buffer, format='png' if points else 'svg', dpi=110)
        return cls(f'data:image/{kind};base64,{base64.b64encode(buffer.getvalue()).decode("ascii")}', caption)


Block = Text | Note | Code | Table | Picture


@dataclass(frozen=True)
class Section:
    """A part of the page.

    Args:
        title: Its title.
        blocks: What it shows.
    """

    title: str
    blocks: Sequence[Block]


def report_page(title: str, about: str, sections: Sequence[Section]) -> str:
    """Write a page with a list of its sections. It needs no other file and no network.

    Args:
        title: Title of the page.
        about: A line below it.
        sections: The sections.

    Returns:
        The HTML text.

    Example:
        >>> page = report_page('a <run>', '', [Section('Scores', [Table(['mAP'], [[41.5]])])])
        >>> 'a &lt;run&gt;' in page, '>41.500<' in page
        (True, True)
    """
    import jinja2

    template = jinja2.Template(
        _TEMPLATE.read_text(encoding='utf-8'), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    parts = [(part, [(type(block).__name__, block) for block in part.blocks]) for part in sections]
    return template.render(title=title, about=about, sections=parts)
