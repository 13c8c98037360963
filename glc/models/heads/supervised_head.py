"""Classification of identities, and triplets of them."""

import torch.nn.functional as F
from mmengine.model import BaseModule
from torch import Tensor, nn

from glc.core.losses import batch_hard_triplet_loss
from glc.registry import MODELS


@MODELS.register_module()
class SupervisedHead(BaseModule):
    """Cross entropy of a linear classifier after the neck, and batch-hard triplets before it.

    The pairing of the two features is that of Luo et al., Bag of Tricks and a Strong Baseline for Deep Person
    Re-Identification, 2019. The classifier has no bias and starts from a normal distribution of 0.001.

    Args:
        in_channels: Dimension D of the features (the neck's ``out_channels``).
        num_classes: Identities C of the training set.
        id_weight: Factor of the cross entropy.
        triplet_weight: Factor of the triplet loss.
        label_smoothing: Share of the target that goes to all classes alike.
        margin: Margin of the triplet loss; None for the soft one.

    Raises:
        ValueError: If there are fewer than two classes.

    Example:
        >>> import torch
        >>> head = SupervisedHead(in_channels=8, num_classes=4)
        >>> features = torch.randn(6, 8)
        >>> sorted(head.loss(features, features, torch.tensor([0, 0, 1, 1, 3, 3])))
        ['loss_id', 'loss_triplet']
    """

    def __init__(
        self,
        in_channels: int,
        num_classes: int,
        id_weight: float = 1.0,
        triplet_weight: float = 1.0,
        label_smoothing: float = 0.0,
        margin: float | None = None,
    ) -> None:
        super().__init__()
        if num_classes < 2:
            raise ValueError(f'num_classes must be at least 2, got {num_classes}')
        self.num_classes = num_classes
        self.id_weight = id_weight
        self.triplet_weight = triplet_weight
        self.label_smoothing = label_smoothing
        self.margin = margin
        self.classifier = nn.Linear(in_channels, num_classes, bias=False)
        nn.init.normal_(self.classifier.weight, std=0.001)

    def loss(self, before: Tensor, after: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """Compute the losses of a batch.

        Args:
            before: Features (B, D) before the neck's batch normalization.
            after: Features (B, D) after it, not L2-normalized.
            labels: Identities (B,) in [0, C).
        """
        identity = F.cross_entropy(self.classifier(after), labels, label_smoothing=self.label_smoothing)
        return {
            'loss_id': self.id_weight * identity,
            'loss_triplet': self.triplet_weight * batch_hard_triplet_loss(before, labels, self.margin),
        }
