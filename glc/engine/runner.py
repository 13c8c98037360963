"""mmengine's runner, starting from published checkpoints too."""

from collections.abc import Callable
from pathlib import Path

from mmengine.runner import Runner
from torch.utils.data import DataLoader

from glc.checkpoints import load_checkpoint_file, load_model_checkpoint
from glc.engine.unwrap import unwrap

__all__ = ['ReIDRunner']

_WORKER_OPTIONS = ('multiprocessing_context', 'persistent_workers', 'prefetch_factor', 'timeout')


class ReIDRunner(Runner):
    """Runner whose ``load_from`` takes published models too, and never loads a part of one silently.

    A checkpoint that a run has written, with the state of its training, is left to mmengine.
    """

    @staticmethod
    def build_dataloader(
        dataloader: DataLoader | dict, seed: int | None = None, diff_rank_seed: bool = False
    ) -> DataLoader:
        """Build a data loader as mmengine does; without workers (``num_workers=0``), their options do not count."""
        if isinstance(dataloader, dict) and not dataloader.get('num_workers'):
            dataloader = {key: value for key, value in dataloader.items() if key not in _WORKER_OPTIONS}
        return Runner.build_dataloader(dataloader, seed, diff_rank_seed)

    def load_checkpoint(
        self,
        filename: str,
        map_location: str | Callable = 'cpu',
        strict: bool = False,
        revise_keys: list | None = None,
    ) -> dict:
        """Load the checkpoint of a run as mmengine does, any other file with :func:`load_model_checkpoint`.

        Args:
            filename: File, or address that mmengine knows.
            map_location: Device of the tensors, for checkpoints of a run.
            strict: Whether every tensor must match, for checkpoints of a run.
            revise_keys: Patterns and replacements of keys, for checkpoints of a run; ``module.`` is always left out.

        Returns:
            The content of the file.

        Raises:
            RuntimeError: If a run is to be resumed from a file that holds weights only, or if the file does not fit.
        """
        content = load_checkpoint_file(filename) if Path(filename).is_file() else None
        if content is None or (isinstance(content, dict) and 'message_hub' in content):
            return super().load_checkpoint(
                filename, map_location, strict, revise_keys or [(r'^module\.', '')]
            )
        if self._resume:
            raise RuntimeError(
                f"'{filename}' holds weights, but no state of a training that could be resumed: start a new one from "
                f'them with --cfg-options load_from={filename}'
            )
        load_model_checkpoint(unwrap(self.model), filename)
        self._has_loaded = True
        return content
