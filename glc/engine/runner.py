"""mmengine's runner, starting from published checkpoints too."""

import re
from collections.abc import Callable

from mmengine.optim import OptimWrapper
from mmengine.runner import Runner

from glc.checkpoints import load_checkpoint_file, load_model_checkpoint
from glc.engine.resume import check_resumable
from glc.engine.schedule import resume_schedulers
from glc.engine.unwrap import unwrap

__all__ = ['ReIDRunner']


class ReIDRunner(Runner):
    """Runner whose ``load_from`` takes published models too, and never loads a part of one silently.

    No code in a file is run. A resumed training goes on as if it had not been interrupted, or is refused.
    """

    def load_checkpoint(
        self,
        filename: str,
        map_location: str | Callable = 'cpu',
        strict: bool = False,
        revise_keys: list | None = None,
    ) -> dict:
        """Load the weights of a file into the model with :func:`load_model_checkpoint`.

        Args:
            filename: Path of the file.
            map_location: Not used; the content is read to the CPU.
            strict: Not used; only a classifier may be missing.
            revise_keys: Patterns and replacements of keys, for checkpoints of a run; ``module.`` is always left out.

        Returns:
            The content of the file.

        Raises:
            FileNotFoundError: If the file does not exist.
            RuntimeError: If the file cannot be read safely or does not fit the model.
        """
        content = load_checkpoint_file(filename)
        layout = 'auto'
        if isinstance(content, dict) and 'message_hub' in content:
            layout = 'glc'
            for pattern, replacement in revise_keys or []:
                content['state_dict'] = {
                    re.sub(pattern, replacement, key): value for key, value in content['state_dict'].items()
                }
            self.call_hook('after_load_checkpoint', checkpoint=content)
        load_model_checkpoint(unwrap(self.model), filename, layout, content=content)
        self._has_loaded = True
        return content

    def resume(
        self,
        filename: str,
        resume_optimizer: bool = True,
        resume_param_scheduler: bool = True,
        map_location: str | Callable = 'default',
    ) -> None:
        """Go on from a checkpoint of this training.

        Args:
            filename: Path of the checkpoint.
            resume_optimizer: Whether to take the state of the optimizer.
            resume_param_scheduler: Whether to go on in the schedule.
            map_location: Not used; the content is read to the CPU.

        Raises:
            FileNotFoundError: If the file does not exist.
            RuntimeError: If the file cannot be read safely, or another training has written it.
        """
        content = load_checkpoint_file(filename)
        loop = self.train_loop
        self.optim_wrapper: OptimWrapper = self.build_optim_wrapper(self.optim_wrapper)
        for note in check_resumable(self, content, filename):
            self.logger.warning(note)
        self.call_hook('after_load_checkpoint', checkpoint=content)
        unwrap(self.model).load_state_dict(content['state_dict'], strict=False)  # all are there, as checked
        loop._epoch, loop._iter = content['meta']['epoch'], content['meta']['iter']
        self.message_hub.load_state_dict(content['message_hub'])
        if resume_optimizer:
            self.optim_wrapper.load_state_dict(content['optimizer'])
        if resume_param_scheduler:
            if self.param_schedulers is not None:
                self.param_schedulers: list | None = self.build_param_scheduler(self.param_schedulers)
            changed = resume_schedulers(
                self.param_schedulers or [],
                content.get('param_schedulers', []),
                self.optim_wrapper.param_groups,
                loop.epoch,
                len(self.train_dataloader),
            )
            if changed:
                self.logger.warning(changed)
        self._has_loaded = True
        self.logger.info(f'resumed epoch: {self.epoch}, iter: {self.iter}, from {filename}')
