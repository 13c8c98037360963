"""Checkpoints that load without running code."""

from typing import Any

import numpy as np
from mmengine.hooks import Hook
from mmengine.runner import Runner

from glc.engine.resume import training_set_of
from glc.registry import HOOKS


@HOOKS.register_module()
class PlainCheckpointHook(Hook):
    """Hook that reduces mmengine's message hub in a checkpoint to plain values.

    The hub's log buffers pickle classes that torch's ``weights_only=True``, the default of today, refuses;
    without this hook a run cannot be resumed. Smoothed log values start again after a resume; counters and the best
    score so far are kept. A description of the training set (:func:`~glc.engine.resume.training_set_of`) is added,
    since a training goes on with the same images only.
    """

    priority = 'VERY_LOW'

    def __init__(self) -> None:
        self._training_set: dict[str, Any] | None = None

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Replace ``checkpoint['message_hub']`` by its plain part, and add ``checkpoint['meta']['training_set']``."""
        if self._training_set is None:
            self._training_set = training_set_of(runner.train_dataloader.dataset)
        checkpoint['meta']['training_set'] = self._training_set
        hub = checkpoint['message_hub']
        info = {}
        for name, value in hub['runtime_info'].items():
            if isinstance(value, np.generic):
                value = value.item()
            if isinstance(value, (bool, int, float, str)):
                info[name] = value
        checkpoint['message_hub'] = {
            'log_scalars': {},
            'runtime_info': info,
            'resumed_keys': dict.fromkeys(info, True),
        }
