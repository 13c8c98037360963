"""Read checkpoint files without running their code."""

import argparse
import re
from pathlib import Path
from typing import Any

import numpy as np
import torch

from .layouts import CONTAINERS

__all__ = ['load_checkpoint_file']

# What training scripts leave beside the weights: the command line and a best score. None can run code.
_HARMLESS_GLOBALS: list[Any] = [
    argparse.Namespace,
    np.dtype,
    *(type(np.dtype(kind)) for kind in ('float64', 'float32', 'int64', 'int32', 'bool')),
    *((np.float64(0).__reduce__()[0], f'numpy.{core}.multiarray.scalar') for core in ('core', '_core')),
]


def load_checkpoint_file(path: str | Path) -> Any:
    """Read a checkpoint file to the CPU, without running any code in the file.

    Besides tensors and Python containers, a file may hold an ``argparse.Namespace`` and NumPy numbers.

    Args:
        path: The file.

    Raises:
        FileNotFoundError: If there is no such file.
        RuntimeError: If the file holds other Python objects, or is no PyTorch checkpoint.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(
            f"checkpoint '{path}' does not exist (current directory: '{Path.cwd()}'). Download the file that "
            "the configuration's README names and put it there, or pass its place with "
            '--cfg-options model.backbone.init_cfg.checkpoint=PATH; '
            'model.backbone.init_cfg=None starts from random weights'
        )
    try:
        with torch.serialization.safe_globals(_HARMLESS_GLOBALS):
            return torch.load(path, map_location='cpu', weights_only=True)
    except Exception as error:
        named = re.search('.*unsupported.*', str(error), re.IGNORECASE)
        reason = named[0] if named else str(error).partition('\n')[0]
        raise RuntimeError(
            f"checkpoint '{path}' cannot be read safely: {reason}\n"
            'Either the file is damaged (download it again), or it holds Python objects beside its weights, '
            'and unpickling those can run any code. If you trust its origin, keep only the weights, once:\n'
            f"  python -c \"import torch; d = torch.load('{path}', map_location='cpu', weights_only=False); "
            f"torch.save({{k: d[k] for k in {CONTAINERS} if k in d}} or d, 'weights.pth')\""
        ) from error
