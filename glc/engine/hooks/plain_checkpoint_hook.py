"""Checkpoints that load without running code."""

import numpy as np
from mmengine.hooks import Hook
from mmengine.runner import Runner

from glc.registry import HOOKS


@HOOKS.register_module()
class PlainCheckpointHook(Hook):
    """Hook that reduces mmengine's message hub in a checkpoint to plain values.

    The hub's log buffers pickle classes that ``torch.load(weights_only=True)``, the default of today's torch, refuses;
    without this hook a run cannot be resumed. Smoothed log values start again after a resume; counters and the best
    score so far are kept.
    """

    priority = 'VERY_LOW'

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Replace ``checkpoint['message_hub']`` by its plain part."""
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
