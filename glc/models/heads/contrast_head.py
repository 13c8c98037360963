"""Contrast of features with a memory bank."""

from mmengine.model import BaseModule
from torch import Tensor

from glc.core.memories import BaseMemory
from glc.registry import MEMORY_BANKS, MODELS


@MODELS.register_module()
class ContrastHead(BaseModule):
    """Contrastive loss of a batch over a memory bank, which then learns from the batch.

    Args:
        memory: Memory bank, or its config in ``MEMORY_BANKS``.
        loss_weight: Factor of the loss.

    Example:
        >>> import torch
        >>> from glc import PseudoLabels
        >>> head = ContrastHead(memory=dict(type='ClusterMemory', momentum=0.2))
        >>> head.memory.reset(PseudoLabels.from_features(torch.eye(4), torch.arange(4)))
        >>> sorted(head.loss(torch.eye(4)[:2], torch.tensor([0, 1])))
        ['loss_contrast']
    """

    def __init__(self, memory: dict | BaseMemory, loss_weight: float = 1.0) -> None:
        super().__init__()
        self.memory: BaseMemory = MEMORY_BANKS.build(memory) if isinstance(memory, dict) else memory
        self.loss_weight = loss_weight

    def loss(self, features: Tensor, labels: Tensor, indices: Tensor | None = None) -> dict[str, Tensor]:
        """Compute the losses of a batch, and update the memory bank.

        Args:
            features: (B, D), unit norm.
            labels: (B,) pseudo labels.
            indices: (B,) index of each image in the training set, for memories that need it.

        Returns:
            The loss of the memory, ``loss_contrast``.
        """
        loss = self.memory(features, labels, indices) * self.loss_weight
        self.memory.update(features, labels, indices)
        return {'loss_contrast': loss}
