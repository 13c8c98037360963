"""What a run was made of, in its work dir and its checkpoints."""

import json
import shlex
import sys
from pathlib import Path
from typing import Any

import torch
from mmengine.dist import get_world_size, is_main_process
from mmengine.hooks import Hook
from mmengine.runner import Runner

from glc.engine.resume import training_set_of
from glc.registry import HOOKS
from glc.utils.files import atomic_file
from glc.utils.versions import versions

RECORD = 'run.json'


@HOOKS.register_module()
class RunRecordHook(Hook):
    """Hook that keeps command, seed, number of processes, device, versions with the git revision, and training set.

    Every start of a training writes them to ``TIMESTAMP/run.json`` in the work dir, beside its log. Checkpoints have
    them in ``meta``, where mmengine has put the config. The training set is that of
    :func:`~glc.engine.resume.training_set_of`, with a digest of it.
    """

    def __init__(self) -> None:
        self._record: dict[str, Any] = {}

    def before_train(self, runner: Runner) -> None:
        """Write the file."""
        self._record = {
            'command': shlex.join(sys.argv),
            'seed': runner.seed,
            'processes': get_world_size(),
            'device': torch.cuda.get_device_name() if torch.cuda.is_available() else 'cpu',
            'versions': versions(),
            'training_set': training_set_of(runner.train_dataloader.dataset),
        }
        if is_main_process():
            with atomic_file(Path(runner.log_dir, RECORD)) as path:
                path.write_text(json.dumps(self._record, indent=1))

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Put them into ``checkpoint['meta']``."""
        checkpoint['meta'].update(self._record)
