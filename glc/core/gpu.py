"""Whether kernels of our own run on a GPU."""

import logging
from functools import cache
from importlib.util import find_spec

import torch


@cache
def kernels_work(device: torch.device) -> bool:
    """Say whether triton, which comes with torch for GPUs, can compile kernels for a device, by compiling one.

    It needs a C compiler and the headers of Python. Where one is missing, a warning in the log of this module says so.
    """
    if find_spec('triton') is None:
        return False
    from glc.core.memories.triton_kernels import move_rows_

    rows = torch.ones(1, 1, device=device)
    try:
        move_rows_(rows, rows.clone(), torch.zeros(1, dtype=torch.int64, device=device), 0.5, 'mean')
    except Exception as error:  # of many kinds, by version and cause
        logging.getLogger(__name__).warning(
            'triton compiles no kernels for %s, so slower operations take their place (%s: %s). It needs a C compiler '
            'and the headers of Python: apt install gcc python3-dev',
            device,
            type(error).__name__,
            str(error).strip().partition('\n')[0],
        )
        return False
    return True
