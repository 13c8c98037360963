"""One loader for every way into mmengine: its loaders of files and addresses run what a pickle says."""

from collections.abc import Callable
from typing import Any

from mmengine.model import PretrainedInit
from mmengine.registry import WEIGHT_INITIALIZERS
from mmengine.runner.checkpoint import CheckpointLoader
from torch import nn

from .conversion import compare
from .layouts import unwrap_state_dict
from .reading import load_checkpoint_file

# The beginnings, as regular expressions, for which mmengine has loaders; the empty one is any file.
_BEGINNINGS = (
    '',
    'http://',
    'https://',
    'pavi://',
    r'(\S+\:)?s3://',
    r'(\S+\:)?petrel://',
    'modelzoo://',
    'torchvision://',
    'open-mmlab://',
    'openmmlab://',
    'mmcls://',
)


def load_from_file(filename: str, map_location: str | Callable | None = None) -> Any:
    """Read a file as :func:`load_checkpoint_file` does, which refuses addresses; mmengine moves the tensors itself."""
    return load_checkpoint_file(filename)


class Pretrained(PretrainedInit):
    """mmengine's ``init_cfg=dict(type='Pretrained', checkpoint=...)`` of any module, which refuses what does not fit.

    mmengine only logs it, so a file of another model would leave the random weights. A backbone of ours has its own
    way (:func:`load_backbone_checkpoint`).
    """

    def __call__(self, module: nn.Module) -> None:
        """Load the file into a module.

        Raises:
            RuntimeError: If no tensor fits, or one has another shape.
        """
        prefix = f'{self.prefix.rstrip(".")}.' if self.prefix else ''
        raw = unwrap_state_dict(load_checkpoint_file(self.checkpoint))
        bare = {key.removeprefix('module.'): value for key, value in raw.items()}
        state = {key.removeprefix(prefix): value for key, value in bare.items() if key.startswith(prefix)}
        fitting, report = compare(module, state, state, self.checkpoint)
        if not fitting or report.mismatched:
            raise RuntimeError(f"{report}\nThe file is not one of this {type(module).__name__}'s weights")
        super().__call__(module)


def replace_loaders() -> None:
    """Make mmengine read every checkpoint with :func:`load_checkpoint_file`, wherever it is named.

    That is ``init_cfg`` of any module, ``load_from``, ``resume`` and ``CheckpointHook``'s publishing.
    """
    for beginning in _BEGINNINGS:
        CheckpointLoader.register_scheme(beginning, load_from_file, force=True)
    WEIGHT_INITIALIZERS.register_module(name='Pretrained', module=Pretrained, force=True)
