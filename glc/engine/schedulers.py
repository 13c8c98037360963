"""Parameter schedulers that mmengine lacks."""

import math
from typing import Any

from mmengine.optim import _ParamScheduler
from torch.optim import Optimizer

from glc.registry import PARAM_SCHEDULERS


@PARAM_SCHEDULERS.register_module()
class WarmupCosineLR(_ParamScheduler):
    """Learning rate that rises linearly, then follows a cosine which began at step 0.

    With T steps, a warm-up of W and the rate of the optimizer as 1, step t has

    - ``start + (1 - start) t / W`` before step W,
    - ``end + (1 - end) (1 + cos(pi t / T)) / 2`` from step W on.

    So the cosine is entered below its top, as in the published source training (TransReID, He et al., ICCV 2021).

    Args:
        optimizer: Optimizer, or optimizer wrapper.
        total: The T.
        warm_up: The W.
        start_factor: The ``start``.
        end_factor: The ``end``.
        **kwargs: ``by_epoch``, ``last_step`` and ``verbose`` of mmengine's schedulers.

    Raises:
        ValueError: Not ``0 <= warm_up < total``.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        total: int,
        warm_up: int = 0,
        start_factor: float = 0.01,
        end_factor: float = 0.0,
        **kwargs: Any,
    ) -> None:
        if not 0 <= warm_up < total:
            raise ValueError(f'WarmupCosineLR needs 0 <= warm_up < total, got {warm_up} and {total}')
        self.total = total
        self.warm_up = warm_up
        self.start_factor = start_factor
        self.end_factor = end_factor
        super().__init__(optimizer, 'lr', **kwargs)

    def _get_value(self) -> list[float]:
        step = min(self.last_step, self.total)
        if step < self.warm_up:
            factor = self.start_factor + (1 - self.start_factor) * step / self.warm_up
        else:
            cosine = (1 + math.cos(math.pi * step / self.total)) / 2
            factor = self.end_factor + (1 - self.end_factor) * cosine
        return [base * factor for base in self.base_values]
