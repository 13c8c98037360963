"""Write checkpoint files."""

import io
from pathlib import Path
from typing import Any

import safetensors.torch
import torch

from glc.utils.files import atomic_file

from .layouts import unwrap_state_dict

__all__ = ['write_checkpoint_file']


def write_checkpoint_file(content: Any, path: str | Path) -> None:
    """Write a checkpoint; an earlier file of that name stays until the new one is complete.

    Args:
        content: Tensors and Python containers.
        path: The file. One that ends in ``.safetensors`` gets the weights alone, by their keys.

    Raises:
        OSError: If it cannot be written, with the file's name. ``torch.save`` hides a full disk behind another error.
    """
    buffer = io.BytesIO()
    if Path(path).suffix == '.safetensors':
        weights = unwrap_state_dict(content)
        # Which may share no memory.
        buffer.write(
            safetensors.torch.save({key: value.contiguous().clone() for key, value in weights.items()})
        )
    else:
        torch.save(content, buffer)
    with atomic_file(path) as part:
        part.write_bytes(buffer.getbuffer())
