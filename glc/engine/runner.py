"""mmengine's runner, starting from published checkpoints too, whose log says what it runs on."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from mmengine.dist import is_main_process
from mmengine.logging import MMLogger, print_log
from mmengine.runner import Runner
from torch.utils.data import DataLoader

from glc.checkpoints import load_checkpoint_file, load_model_checkpoint
from glc.datasets import BaseReIDDataset
from glc.engine.unwrap import unwrap
from glc.utils.versions import versions

__all__ = ['ReIDRunner']


class ReIDRunner(Runner):
    """Runner whose ``load_from`` takes published models too, and never loads a part of one silently.

    A checkpoint that a run has written, with the state of its training, is left to mmengine.

    The log begins with the versions of the software. What was found of a data set is logged when its loader is built.
    """

    def build_logger(self, *args: Any, **kwargs: Any) -> MMLogger:
        """Build the logger as mmengine does, and log the versions of the software."""
        logger = super().build_logger(*args, **kwargs)
        if is_main_process():
            logger.info(versions())
        return logger

    @staticmethod
    def build_dataloader(*args: Any, **kwargs: Any) -> DataLoader:
        """Build a loader as mmengine does, and log what was found of its data set."""
        loader = Runner.build_dataloader(*args, **kwargs)
        if isinstance(loader.dataset, BaseReIDDataset):
            for line in loader.dataset.summary():
                print_log(line, logger='current')
        return loader

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
