"""One loader for every way into mmengine: its loaders of files and addresses run what a pickle says."""

from collections.abc import Callable
from typing import Any

from mmengine.runner.checkpoint import CheckpointLoader

from .reading import load_checkpoint_file

# The beginnings, as regular expressions, for which mmengine has loaders; the empty one is any file.
_BEGINNINGS = (
    '',
    'http://',
    'https://',
    'pavi://',
    r'(\S+\:)?s3://',
    r'(\S+\:)?petrel://',
    'modelzoo://',
    'torchvision://',
    'open-mmlab://',
    'openmmlab://',
    'mmcls://',
)


def load_from_file(filename: str, map_location: str | Callable | None = None) -> Any:
    """Read a file as :func:`load_checkpoint_file` does, which refuses addresses; mmengine moves the tensors itself."""
    return load_checkpoint_file(filename)


def replace_loaders() -> None:
    """Make mmengine read every checkpoint with :func:`load_checkpoint_file`, wherever it is named.

    That is ``init_cfg`` of any module, ``load_from``, ``resume`` and ``CheckpointHook``'s publishing.
    """
    for beginning in _BEGINNINGS:
        CheckpointLoader.register_scheme(beginning, load_from_file, force=True)
