"""Read checkpoint files without running their code."""

import argparse
import re
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file

from .sources import source_of

__all__ = ['load_checkpoint_file']

# What training scripts leave beside the weights: the command line and a best score. None can run code.
_HARMLESS_GLOBALS: list[Any] = [
    argparse.Namespace,
    np.dtype,
    *(type(np.dtype(kind)) for kind in ('float64', 'float32', 'int64', 'int32', 'bool')),
    *((np.float64(0).__reduce__()[0], f'numpy.{core}.multiarray.scalar') for core in ('core', '_core')),
]


# torch.save does not compress, so its files hold about as many bytes as they unpack to.
_MOST_UNPACKED = 10


def load_checkpoint_file(path: str | Path) -> Any:
    """Read a checkpoint file to the CPU, without running any code in the file.

    Besides tensors and Python containers, a file may hold an ``argparse.Namespace`` and NumPy numbers. The checksums of
    its parts are compared, which torch writes and does not read. Files that end in ``.safetensors`` are read, too; they
    hold tensors alone, and no checksums.

    Args:
        path: The file; addresses are refused.

    Raises:
        FileNotFoundError: If there is no such file.
        RuntimeError: If the file is damaged, holds other Python objects, unpacks to more than ten times its size, is no
            checkpoint, or if ``path`` is an address.
    """
    if '://' in str(path):
        raise RuntimeError(f"'{path}' is an address, not a file: download it, and give the path of the file")
    path = Path(path).expanduser()
    if not path.is_file():
        source = source_of(path)
        raise FileNotFoundError(
            f"checkpoint '{path.absolute()}' does not exist. {f'It is {source}. ' if source else ''}"
            'Starting weights at another place: --cfg-options model.backbone.init_cfg.checkpoint=PATH; '
            'random ones: model.backbone.init_cfg=None'
        )
    try:
        if path.suffix == '.safetensors':
            return load_file(path)
        _check_archive(path)
        with torch.serialization.safe_globals(_HARMLESS_GLOBALS):
            return torch.load(path, map_location='cpu', weights_only=True)
    except Exception as error:
        named = re.search('.*unsupported.*', str(error), re.IGNORECASE)
        reason = named[0] if named else str(error).partition('\n')[0]
        raise RuntimeError(
            f"checkpoint '{path}' cannot be read safely: {reason}\n"
            'Either the file is damaged (download it again), or it holds Python objects beside its weights. Loading '
            'those could run any code, so they are not loaded: ask its author for a file of the weights alone, as '
            'torch.save(model.state_dict(), FILE) writes it'
        ) from error


def _check_archive(path: Path) -> None:
    """Refuse an archive that unpacks to much more than its size, before that, or has changed since it was written."""
    with path.open('rb') as file:
        if file.read(4) != b'PK\x03\x04':
            return
    with zipfile.ZipFile(path) as archive:
        unpacked = sum(entry.file_size for entry in archive.infolist())
        size = path.stat().st_size
        if unpacked > _MOST_UNPACKED * size:
            raise ValueError(
                f'its {size:,} bytes unpack to {unpacked:,}, and PyTorch does not compress its files'
            )
        if damaged := archive.testzip():
            raise ValueError(f'the checksum of {damaged} is another one')
