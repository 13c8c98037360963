"""Seconds of the stages of a labeling or a correction."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from time import perf_counter


class Timings(dict[str, float]):
    """Seconds by stage.

    Labelers and correctors use the same words: 'fit' (training), 'knn' (neighbors, cameras taken out of them),
    'jaccard' (distances), 'links' (probabilities of links) and 'cluster'.

    Example:
        >>> timings = Timings()
        >>> with timings.stage('knn'):
        ...     pass
        >>> list(timings)
        ['knn']
    """

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Add the seconds of the ``with`` block to a stage."""
        started = perf_counter()
        yield
        self[name] = self.get(name, 0.0) + perf_counter() - started
