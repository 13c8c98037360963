"""Functions compiled by numba, whatever state its cache is in."""

from __future__ import annotations

import hashlib
import inspect
import logging
from collections.abc import Callable
from contextlib import suppress
from functools import cache, wraps
from pathlib import Path
from threading import Lock
from typing import Any, ParamSpec, TypeVar

import numba

from glc.utils.files import atomic_file

Arguments = ParamSpec('Arguments')
Result = TypeVar('Result')


def compiled(
    fastmath: bool = False,
) -> Callable[[Callable[Arguments, Result]], Callable[Arguments, Result]]:
    """Return a decorator that compiles a function on its first call; it releases the interpreter lock.

    The machine code is kept in numba's cache, which is a convenience and no requirement:

    - Where no folder can be written, every process compiles the function.
    - Numba loads a file that is damaged inside, and the process dies of it. So the checksums of the files are written
      beside them. Files that do not match are deleted, and the function is compiled anew.
    - Where the cache fails otherwise, as on a full disk, the function is compiled without.

    A warning in the log of this module says when functions are compiled, since that takes seconds.

    Args:
        fastmath: Whether sums may be reordered.

    Example:
        >>> @compiled()
        ... def total(values):
        ...     return values.sum()
        >>> import numpy as np
        >>> float(total(np.ones(3)))
        3.0
    """

    def decorate(function: Callable[Arguments, Result]) -> Callable[Arguments, Result]:
        plain = numba.njit(nogil=True, fastmath=fastmath)(function)
        try:
            cached = numba.njit(nogil=True, fastmath=fastmath, cache=True)(function)
        except RuntimeError:  # no folder can be written
            return _announced(plain)
        return (
            plain if cached is function else _guarded(function, cached, plain)
        )  # with NUMBA_DISABLE_JIT it is

    return decorate


@cache  # said once
def _announce() -> None:
    logging.getLogger(__name__).warning(
        'compiling the loops of labelers and scores, which takes some seconds; numba keeps the result where it can '
        'write a folder (NUMBA_CACHE_DIR names one)'
    )


def _announced(plain: Callable[Arguments, Result]) -> Callable[Arguments, Result]:
    """Say before the first call that the function is compiled in every process."""

    @wraps(plain)
    def call(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Result:
        _announce()
        return plain(*args, **kwargs)

    return call


def _guarded(
    function: Callable[Arguments, Result], cached: Any, plain: Callable[Arguments, Result]
) -> Callable[Arguments, Result]:
    """Call the cached function where its files are whole, else the plain one."""
    files = _CacheFiles(
        Path(cached.stats.cache_path), f'{Path(inspect.getfile(function)).stem}.{function.__qualname__}'
    )
    lock = Lock()
    usable: bool | None = None  # None: not known yet
    announced = _announced(plain)
    signatures = 0

    @wraps(function)
    def call(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Result:
        nonlocal usable, signatures
        with lock:
            if usable is None:
                usable = files.whole()
                if usable and not files.exist():
                    _announce()
        if not usable:
            return announced(*args, **kwargs)
        try:
            result = cached(*args, **kwargs)
        except Exception:  # an error of the function itself comes again
            return plain(*args, **kwargs)
        if len(cached.signatures) > signatures:
            with lock:
                signatures = len(cached.signatures)
                files.sign()
        return result

    return call


class _CacheFiles:
    """The files that numba keeps of one function.

    Args:
        folder: Their folder.
        name: What their names begin with.
    """

    def __init__(self, folder: Path, name: str) -> None:
        self.folder = folder
        self.name = name
        self.signature = folder / f'{name}.sha256'

    def exist(self) -> bool:
        """Say whether there are files."""
        return bool(self._files())

    def whole(self) -> bool:
        """Delete the files if they are not those that were signed; say whether what is left can be used."""
        try:
            if self._files() and self._digest() != self._signed():
                for path in self._files():
                    path.unlink(missing_ok=True)
        except OSError:
            return False
        return True

    def sign(self) -> None:
        """Write the checksum of the files."""
        with suppress(OSError), atomic_file(self.signature) as part:
            part.write_text(self._digest())

    def _files(self) -> list[Path]:
        return sorted(self.folder.glob(f'{self.name}-*.nb[ci]'))

    def _digest(self) -> str:
        digests = (hashlib.sha256(path.read_bytes()).hexdigest() for path in self._files())
        return '\n'.join(digests)

    def _signed(self) -> str:
        return self.signature.read_text(errors='replace') if self.signature.is_file() else ''
