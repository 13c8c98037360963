"""Training with identities, which gives the starting network of a domain adaptation."""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from glc.core.memories.base import gather_batch
from glc.models.layers import global_batch
from glc.models.reid import BaseReID
from glc.registry import MODELS
from glc.utils.transfer import to_device


@MODELS.register_module()
class SupervisedReID(BaseReID):
    """A network with a supervised head; trained on the identities of its training set.

    - The head classifies the feature after the neck's batch normalization, which is not L2-normalized.
    - The triplet loss compares the feature before it.
    - Tests compare the feature before it, L2-normalized.

    Neck and head see the global batch: its batch statistics, classification and triplets are the same for any number of
    processes. In the backbone, batch statistics are of ``bn_group_size`` images, or of one process where that is None.

    Args:
        *args: As in :class:`BaseReID`.
        **kwargs: As in :class:`BaseReID`.
    """

    identities: Tensor

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.register_buffer('identities', torch.empty(0, dtype=torch.int64), persistent=False)

    def assign_identities(self, identities: Tensor) -> None:
        """Train on these identities (N,), numbered 0..C-1, in the order of the data set."""
        self.identities = identities.to(self.identities.device, torch.int64)

    def extract_feat(self, inputs: Tensor, data_samples: Sequence = ()) -> Tensor:
        """Extract unit features (B, D) from before batch normalization; arguments as in the base class."""
        return F.normalize(self.neck.fuse(self.encode(inputs, data_samples)))

    def loss(self, inputs: Tensor, data_samples: list) -> dict[str, Tensor]:
        """Compute the losses of the global batch, on every process; identities are looked up by ``sample_idx``."""
        if not len(self.identities):
            raise RuntimeError('no identities yet: is IdentityLabelHook among the hooks?')
        indices = to_device(torch.tensor([sample.sample_idx for sample in data_samples]), inputs.device)
        tokens = global_batch(self.neck.tokens(self.encode(inputs, data_samples)))
        if self.domains is not None:
            self.domains.gather()
        labels = gather_batch(self.identities[indices])
        return self.head.loss(*self.neck.for_losses(tokens), labels)
