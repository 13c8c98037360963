"""Classification of identities, and triplets of them."""

from typing import Any

import torch.nn.functional as F
from mmengine.model import BaseModule
from torch import Tensor, nn

from glc.core.losses import CenterLoss, batch_hard_triplet_loss
from glc.registry import MODELS

from .cosine_classifiers import CosineClassifier


@MODELS.register_module()
class SupervisedHead(BaseModule):
    """Cross entropy of a classifier after the neck, and batch-hard triplets before it.

    The pairing of the two features is that of Luo et al., Bag of Tricks and a Strong Baseline for Deep Person
    Re-Identification, 2019, and so is the center loss, which is before the neck too.

    Args:
        in_channels: Dimension D of the features (the neck's ``out_channels``).
        num_classes: Identities C of the training set.
        id_weight: Factor of the cross entropy.
        triplet_weight: Factor of the triplet loss.
        label_smoothing: Share of the target that goes to all classes alike.
        margin: Margin of the triplet loss; None for the soft one.
        unit_triplets: Whether the triplet loss compares unit features.
        classifier: Config of a :class:`CosineClassifier` without ``in_channels`` and ``num_classes``:
            ``dict(type='ArcFace', scale=30.0, margin=0.5)``. None is a linear one without bias, which starts from a
            normal distribution of 0.001.
        center_weight: Factor of the center loss; 0 for none. Luo et al. have 5e-4.
        center_lr: Learning rate of the centers, see :class:`~glc.core.losses.CenterLoss`.

    Raises:
        ValueError: If there are fewer than two classes.

    Example:
        >>> import torch
        >>> head = SupervisedHead(in_channels=8, num_classes=4, center_weight=5e-4)
        >>> features = torch.randn(6, 8)
        >>> sorted(head.loss(features, features, torch.tensor([0, 0, 1, 1, 3, 3])))
        ['loss_center', 'loss_id', 'loss_triplet']
    """

    def __init__(
        self,
        in_channels: int,
        num_classes: int,
        id_weight: float = 1.0,
        triplet_weight: float = 1.0,
        label_smoothing: float = 0.0,
        margin: float | None = None,
        unit_triplets: bool = False,
        classifier: dict[str, Any] | None = None,
        center_weight: float = 0.0,
        center_lr: float = 0.5,
    ) -> None:
        super().__init__()
        if num_classes < 2:
            raise ValueError(f'num_classes must be at least 2, got {num_classes}')
        self.num_classes = num_classes
        self.id_weight = id_weight
        self.triplet_weight = triplet_weight
        self.label_smoothing = label_smoothing
        self.margin = margin
        self.unit_triplets = unit_triplets
        self.center_weight = center_weight
        self.classifier = _build_classifier(in_channels, num_classes, classifier)
        self.center = CenterLoss(num_classes, in_channels, center_lr) if center_weight else None

    def loss(self, before: Tensor, after: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """Compute the losses of a batch; the centers of the center loss learn from it.

        Args:
            before: Features (B, D) before the neck's batch normalization.
            after: Features (B, D) after it, not L2-normalized.
            labels: Identities (B,) in [0, C).
        """
        losses = self._losses(self.classifier, before, after, labels)
        if self.center is not None:
            losses['loss_center'] = self.center_weight * self.center(before, labels)
            if self.training:
                self.center.update(before, labels)
        return losses

    def _losses(
        self, classifier: nn.Module, before: Tensor, after: Tensor, labels: Tensor
    ) -> dict[str, Tensor]:
        with_margin = isinstance(classifier, CosineClassifier)
        logits = classifier(after, labels) if with_margin else classifier(after)
        identity = F.cross_entropy(logits, labels, label_smoothing=self.label_smoothing)
        if self.unit_triplets:
            before = F.normalize(before)
        return {
            'loss_id': self.id_weight * identity,
            'loss_triplet': self.triplet_weight * batch_hard_triplet_loss(before, labels, self.margin),
        }


@MODELS.register_module()
class BranchHead(SupervisedHead):
    """:class:`SupervisedHead` of a global branch and of P local ones, each with a classifier of its own.

    Every loss is half that of the global branch and half the mean of those of the local ones (TransReID, He et al.,
    ICCV 2021). A center loss is of the global branch alone. It needs a neck with ``fusion='branches'``.

    Args:
        in_channels: Dimension D of one branch.
        num_classes: Identities C of the training set.
        num_branches: Branches 1 + P (the backbone's ``num_tokens``).
        **kwargs: As in :class:`SupervisedHead`.

    Example:
        >>> import torch
        >>> head = BranchHead(in_channels=8, num_classes=4, num_branches=5)
        >>> features = torch.randn(6, 5, 8)
        >>> sorted(head.loss(features, features, torch.tensor([0, 0, 1, 1, 3, 3])))
        ['loss_id', 'loss_triplet']
    """

    def __init__(self, in_channels: int, num_classes: int, num_branches: int = 5, **kwargs: Any) -> None:
        super().__init__(in_channels, num_classes, **kwargs)
        if num_branches < 2:
            raise ValueError(f'num_branches must be at least 2, got {num_branches}')
        self.branch_classifiers = nn.ModuleList(
            _build_classifier(in_channels, num_classes, kwargs.get('classifier'))
            for _ in range(num_branches - 1)
        )

    def loss(self, before: Tensor, after: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """Compute the losses of a batch; the centers of the center loss learn from it.

        Args:
            before: Features (B, 1 + P, D) before the neck's batch normalization, the global branch first.
            after: Features (B, 1 + P, D) after it, not L2-normalized.
            labels: Identities (B,) in [0, C).

        Raises:
            ValueError: If the features are not those of 1 + P branches.
        """
        branches = 1 + len(self.branch_classifiers)
        if before.ndim != 3 or before.shape[1] != branches:
            raise ValueError(
                f'BranchHead has {branches} branches, and the neck gave features {tuple(before.shape)}: set '
                f"num_branches to the backbone's num_tokens, and the neck's fusion to 'branches'"
            )
        losses = super().loss(before[:, 0], after[:, 0], labels)
        parts = [
            self._losses(classifier, before[:, part], after[:, part], labels)
            for part, classifier in enumerate(self.branch_classifiers, 1)
        ]
        for name in parts[0]:
            losses[name] = losses[name] / 2 + sum(part[name] for part in parts) / (2 * len(parts))
        return losses


def _build_classifier(in_channels: int, num_classes: int, cfg: dict[str, Any] | None) -> nn.Module:
    if cfg is not None:
        return MODELS.build({'in_channels': in_channels, 'num_classes': num_classes, **cfg})
    classifier = nn.Linear(in_channels, num_classes, bias=False)
    nn.init.normal_(classifier.weight, std=0.001)
    return classifier
