"""What benchmarks on a CPU or a GPU share: time, speed of matrix products, and what makes the CPU wait."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable

import torch

_ROUNDS = 2


def seconds(step: Callable[[], object], device: str, repeats: int) -> float:
    """Measure a step: of two rounds of repeats, the mean of the fastest.

    On a CPU it is processor time of all threads, since other programs run beside; on a GPU it is time on the clock, and
    the CPU waits for the GPU at the end of a round only. The step runs once before.
    """
    clock = time.process_time if device == 'cpu' else time.perf_counter
    step()
    means = []
    for _ in range(_ROUNDS):
        finish(device)
        start = clock()
        for _ in range(repeats):
            step()
        finish(device)
        means.append((clock() - start) / repeats)
    return min(means)


def finish(device: str) -> None:
    """Wait for a GPU."""
    if device != 'cpu':
        torch.cuda.synchronize()


def synchronizations(step: Callable[[], object], device: str) -> int | None:
    """Count the operations of a step that make the CPU wait for a GPU; None on a CPU."""
    if device == 'cpu':
        return None
    mode = torch.cuda.get_sync_debug_mode()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter('always')
        torch.cuda.set_sync_debug_mode('warn')
        step()
        torch.cuda.set_sync_debug_mode(mode)
    return sum('called a synchronizing' in str(warning.message) for warning in caught)


def matrix_rate(device: str, dtype: torch.dtype, size: int | None = None) -> float:
    """Measure the floating-point operations per second of a product of two square matrices."""
    size = size or (1024 if device == 'cpu' else 8192)
    left, right = torch.randn(2, size, size, device=device).to(dtype)
    result = torch.empty_like(left)
    return (
        2 * size**3 / seconds(lambda: torch.mm(left, right, out=result), device, 3 if device == 'cpu' else 20)
    )


def device_name(device: str) -> str:
    """Name the device, and the number of threads of a CPU."""
    if device != 'cpu':
        return torch.cuda.get_device_name()
    threads = torch.get_num_threads()
    return f'CPU, {threads} thread{"s" * (threads > 1)}'


def ratio(before: float, after: float) -> str:
    """Write how many times faster a step has become."""
    return f'{before / after:.1f}'
