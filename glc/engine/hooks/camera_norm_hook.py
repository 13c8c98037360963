"""Tests of a network whose BatchNorm layers normalize the images of every camera by their own statistics."""

from contextlib import ExitStack
from typing import Any

import torch
from mmengine.hooks import Hook
from mmengine.runner import Runner

from glc.engine.feature_extractor import measure_cameras
from glc.engine.unwrap import unwrap
from glc.registry import HOOKS


@HOOKS.register_module()
class CameraNormHook(Hook):
    """Hook that normalizes the test images of every camera by their own statistics, in BatchNorm layers.

    It is for a network that has not been trained on the cameras of the test. Before an evaluation, the statistics are
    measured on the test images: queries and gallery of a camera, without their identities
    (:func:`glc.engine.feature_extractor.measure_cameras`). The weights stay as they are, and after the evaluation the
    network has its own statistics again. So a training is not changed, only its scores are.

    Args:
        num_workers: Processes that load the images to be measured.

    Raises:
        ValueError: Before the evaluation: the network has no BatchNorm layer, or no camera has 64 images.
    """

    priority = 'LOW'  # after a mean teacher has taken the place of the network

    def __init__(self, num_workers: int = 2) -> None:
        self.num_workers = num_workers
        self._stack = ExitStack()

    def before_test_epoch(self, runner: Runner) -> None:
        """Measure the cameras of the test set."""
        self._begin(runner, runner.test_dataloader.dataset)

    def before_val_epoch(self, runner: Runner) -> None:
        """Measure the cameras of the validation set."""
        self._begin(runner, runner.val_dataloader.dataset)

    def before_test_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None) -> None:
        """Tell the layers the cameras of a batch."""
        numbers = [self._numbers.get(sample.cam_id, -1) for sample in data_batch['data_samples']]
        self._set_cameras(torch.tensor(numbers))

    before_val_iter = before_test_iter

    def after_test_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        """Give the network its own statistics."""
        self._stack.close()

    after_val_epoch = after_test_epoch

    def _begin(self, runner: Runner, dataset: Any) -> None:
        self._stack.close()  # of an evaluation that failed
        network = unwrap(runner.model)
        statistics, self._numbers = measure_cameras(network, dataset, self.num_workers)
        runner.logger.info(
            f'camera_norm: the images of {int((statistics.counts[:, 0] > 0).sum())} cameras are normalized by their '
            'own statistics'
        )
        self._stack.enter_context(torch.compiler.set_stance('force_eager'))  # compiled code may know no hooks
        self._set_cameras = self._stack.enter_context(statistics.applied())
