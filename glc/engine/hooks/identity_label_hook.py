"""True identities as labels, for source-supervised training."""

import numpy as np
import torch
from mmengine.hooks import Hook
from mmengine.runner import Runner

from glc.engine.checks import check_train_dataloader
from glc.engine.unwrap import unwrap
from glc.registry import HOOKS


@HOOKS.register_module()
class IdentityLabelHook(Hook):
    """Hook that gives model and sampler the true identities, numbered 0..C-1 in the order of their pids.

    Only here does ground truth become labels of a training. Configs without this hook train without it. Nothing goes
    into the checkpoints, since the data set tells the labels again.

    Example:
        >>> hook = IdentityLabelHook()
    """

    priority = 'ABOVE_NORMAL'

    def before_train(self, runner: Runner) -> None:
        """Assign the labels, after a check of sampler, model and data set.

        Raises:
            TypeError: If the sampler takes no labels, or the model no identities.
            ValueError: If the batch size is not the sampler's, an identity is unknown, or their number is not that of
                the head's classes.
        """
        loader = runner.train_dataloader
        check_train_dataloader(loader)
        model = unwrap(runner.model)
        if not hasattr(model, 'assign_identities'):
            raise TypeError(f'{type(model).__name__} takes no identities: use SupervisedReID')
        pids = loader.dataset.pids
        if (pids < 0).any():
            raise ValueError(
                f'{np.count_nonzero(pids < 0):,} of {len(pids):,} training images have no known identity: supervised '
                'training needs a data set with identities'
            )
        classes, labels = np.unique(pids, return_inverse=True)
        if len(classes) != model.head.num_classes:
            raise ValueError(
                f'the training set has {len(classes):,} identities, the head {model.head.num_classes:,} classes: set '
                f'model.head.num_classes={len(classes)}'
            )
        identities = torch.from_numpy(labels)
        model.assign_identities(identities)
        loader.sampler.assign_labels(identities)
