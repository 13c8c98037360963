"""The report of what was loaded."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from .layouts import first_names

__all__ = ['LoadReport']


@dataclass(frozen=True)
class LoadReport:
    """What happened to every tensor when a checkpoint was loaded into a backbone or a model.

    The ``num_batches_tracked`` counters of batch normalization, which older files lack and which
    have no effect, are left out everywhere.

    Attributes:
        checkpoint: Path of the file.
        matched: Tensors of the model that were loaded.
        resized: Those of ``matched`` that had another shape in the file, as ``'name (old) -> (new)'``.
        missing: Tensors of the model that the file does not have; they keep their values.
        mismatched: Tensors that have another shape in the file, as ``'name (file) != (model)'``.
        unexpected: Tensors of the file that the model does not have, by their keys in the file.
        dropped: Tensors of the file that belong to a head or classifier and, where only a backbone is loaded, to a
            neck; by their keys in the file.
        sources: Key in the file of every tensor of ``matched`` and ``mismatched``.
        layout: Layout of the file, one of :data:`~glc.checkpoints.layouts.LAYOUTS`, where a whole model was loaded.

    Example:
        >>> LoadReport('a.pth', matched=('conv.weight',), missing=('conv.bias',)).fraction
        0.5
    """

    checkpoint: str
    matched: tuple[str, ...] = ()
    resized: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    mismatched: tuple[str, ...] = ()
    unexpected: tuple[str, ...] = ()
    dropped: tuple[str, ...] = ()
    sources: Mapping[str, str] = field(default_factory=dict)
    layout: str = ''

    @property
    def total(self) -> int:
        """Number of tensors of the model."""
        return len(self.matched) + len(self.missing) + len(self.mismatched)

    @property
    def fraction(self) -> float:
        """Share of the model's tensors that were loaded.

        It counts tensors, not elements: without the small normalization statistics, features are as useless as without
        a large matrix.
        """
        return len(self.matched) / self.total if self.total else 1.0

    @property
    def renamed(self) -> tuple[str, ...]:
        """Those of ``matched`` that have another name in the file."""
        return tuple(name for name in self.matched if self.sources.get(name, name) != name)

    def table(self) -> str:
        """Write one row per tensor: what happened to it, its key in the file, its name in the model, changed shapes."""
        rows = [('status', 'key in the file', 'name in the model', 'shape'), *self._rows()]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        return '\n'.join(
            '  '.join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
            for row in rows
        )

    def _rows(self) -> Iterator[tuple[str, str, str, str]]:
        shapes = dict(entry.split(' ', 1) for entry in (*self.resized, *self.mismatched))
        renamed = set(self.renamed)
        for name in self.matched:
            status = 'renamed' if name in renamed else 'matched'
            yield status, self.sources.get(name, name), name, shapes.get(name, '')
        for name in (entry.split(' ', 1)[0] for entry in self.mismatched):
            yield 'other shape', self.sources.get(name, name), name, shapes[name]
        yield from (('missing', '', name, '') for name in self.missing)
        yield from (('skipped', key, '', '') for key in self.dropped)
        yield from (('unexpected', key, '', '') for key in self.unexpected)

    def __str__(self) -> str:
        what = f'tensors (layout {self.layout})' if self.layout else 'backbone tensors'
        lines = [f'{self.checkpoint}: loaded {len(self.matched)} of {self.total} {what}']
        for what in ('resized', 'missing', 'mismatched', 'unexpected', 'dropped'):
            if names := getattr(self, what):
                lines.append(f'  {what} ({len(names)}): {first_names(names)}')
        return '\n'.join(lines)
