"""How much memory is left."""

from contextlib import suppress
from pathlib import Path

__all__ = ['available_memory']

_MEMINFO = Path('/proc/meminfo')
_CGROUPS = Path('/sys/fs/cgroup')


def available_memory() -> int:
    """Return the bytes that are available on this machine, at most the limit of the container; 0 if none can tell."""
    amounts = [_kilobytes(line) * 1024 for line in _lines(_MEMINFO) if line.startswith('MemAvailable:')]
    for line in _lines(Path('/proc/self/cgroup')):
        group = line.rsplit(':', 1)[-1].lstrip('/')
        for folder, name in ((_CGROUPS, 'memory.max'), (_CGROUPS / 'memory', 'memory.limit_in_bytes')):
            for place in (folder / group / name, folder / name):
                amounts += [int(limit) for limit in _lines(place) if limit.isdigit()]
    return min(amounts, default=0)


def _lines(path: Path) -> list[str]:
    with suppress(OSError):
        return path.read_text().splitlines()
    return []


def _kilobytes(line: str) -> int:
    return int(line.split()[1])
