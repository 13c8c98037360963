"""What software runs."""

import platform
import subprocess
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

import glc

__all__ = ['versions']

_PACKAGES = ('mmengine', 'mmcv', 'mmcv-lite', 'numpy', 'scipy', 'scikit-learn', 'numba', 'networkit')


def versions() -> str:
    """Describe in one line the versions of this package, with its git revision, of Python and of what results hang on.

    Example:
        >>> versions().startswith('glc ')
        True
    """
    parts = [
        f'glc {glc.__version__}{_revision()}',
        f'Python {platform.python_version()}',
        f'torch {torch.__version__}',
    ]
    for package in _PACKAGES:
        with suppress(PackageNotFoundError):
            parts.append(f'{package} {version(package)}')
    return ', '.join(parts)


def _revision() -> str:
    """Return the revision of the checkout that this package lies in; nothing where there is none."""
    root = Path(glc.__file__).parent.parent
    if not (root / '.git').exists():
        return ''
    # Not `describe --dirty`, of which a kill may leave a lock in the checkout.
    git = ['git', '--no-optional-locks', '-C', str(root)]
    commands = (
        [*git, 'describe', '--always', '--abbrev=10'],
        [*git, 'status', '--porcelain', '--untracked-files=no'],
    )
    try:
        revision, changes = (
            subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()
            for command in commands
        )
    except (OSError, subprocess.SubprocessError):
        return ''
    return f' (git {revision}{"-dirty" if changes else ""})'
