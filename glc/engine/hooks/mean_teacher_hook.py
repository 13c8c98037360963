"""Labels, evaluation and checkpoints from a moving average of the network."""

from typing import Any

from mmengine.hooks import EMAHook
from mmengine.runner import Runner
from torch import nn

from glc.engine.unwrap import unwrap
from glc.registry import HOOKS

from .average_batchnorm_hook import average_batchnorm


@HOOKS.register_module()
class MeanTeacherHook(EMAHook):
    """Hook that keeps a mean teacher: a moving average of the network's weights after every iteration.

    Tarvainen and Valpola, Mean teachers are better role models, NeurIPS 2017. The student is trained. The teacher

    - extracts the features of the training images for :class:`PseudoLabelHook` (labels, centroids, memory),
    - is evaluated,
    - is the ``state_dict`` of the checkpoints. The student's weights are their ``ema_state_dict``, so a resumed run
      goes on as an uninterrupted one does.

    The averaging is mmengine's. BatchNorm's running statistics are averaged like weights, and over processes. Buffers
    that are not saved, labels and memory, stay with the student. mmengine's own hook would exchange them too, and fail
    because their sizes change.

    Args:
        momentum: Share of the student in an update, in (0, 1): 0.001 averages over some 1000 iterations.
        **kwargs: Other arguments of mmengine's ``EMAHook``.

    Example:
        >>> hook = MeanTeacherHook(momentum=0.01)
    """

    def __init__(self, momentum: float = 0.001, **kwargs: Any) -> None:
        if not 0 < momentum < 1:
            raise ValueError(f'momentum must lie in (0, 1), got {momentum}')
        super().__init__(momentum=momentum, update_buffers=True, **kwargs)

    @property
    def teacher(self) -> nn.Module:
        """The averaged network; it exists once a run has begun."""
        return self.ema_model.module

    def before_train(self, runner: Runner) -> None:
        """Start from the student, whose weights came after the copy was made."""
        super().before_train(runner)
        if self.ema_model.steps == 0:
            self.teacher.load_state_dict(self.src_model.state_dict())

    def after_train_epoch(self, runner: Runner) -> None:
        """Average the teacher's running statistics over the processes."""
        average_batchnorm(self.teacher)

    def _swap_ema_parameters(self) -> None:
        """Exchange what both networks save."""
        student = self.src_model.state_dict()
        for name, value in self.teacher.state_dict().items():
            kept = value.clone()
            value.copy_(student[name])
            student[name].copy_(kept)


def feature_network(runner: Runner) -> nn.Module:
    """Return the network whose features are used: the mean teacher's, or the one in training where there is none."""
    for hook in runner.hooks:
        if isinstance(hook, MeanTeacherHook):
            return hook.teacher
    return unwrap(runner.model)
