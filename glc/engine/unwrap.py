"""The model of a runner, inside or outside the wrapper of distributed training."""

from typing import Any

from mmengine.model import is_model_wrapper
from torch import nn


def unwrap(model: nn.Module) -> Any:
    """Return the model inside a wrapper of distributed training, or the model itself if it has no wrapper.

    Its methods depend on the config, so its type is open.
    """
    return model.module if is_model_wrapper(model) else model
