"""Worker processes that loaders keep between epochs."""

from weakref import WeakSet

from torch.utils.data import DataLoader

_LOADERS: WeakSet[DataLoader] = WeakSet()


def ended_with_the_run(loader: DataLoader) -> DataLoader:
    """Have :func:`end_workers` end the workers of a loader; return the loader."""
    _LOADERS.add(loader)
    return loader


def end_workers() -> None:
    """End the workers that loaders keep. A loader that is used again starts new ones.

    Else they live as long as the loader. On a GPU, when the program ends, torch 2.11 waits 5 seconds for each one.
    """
    for loader in list(_LOADERS):
        loader._iterator = None  # torch has no method for it
