"""Batch normalization of each data set by itself, where several are trained together."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from glc.core.memories.base import gather_batch

__all__ = ['DomainBatchNorm', 'Domains', 'separate_domains']


class Domains:
    """The domain of every image of the current batch, for all layers of a network.

    Args:
        num: Number of domains, at least 2.
        test: Domain of images that do not say theirs, in evaluation; negative ones count from the end.

    Raises:
        ValueError: If an argument is out of its range.
    """

    def __init__(self, num: int, test: int = -1) -> None:
        if num < 2 or not -num <= test < num:
            raise ValueError(f'domains need num >= 2, and test among them, got num={num} and test={test}')
        self.num = num
        self.test = test % num
        self.of_images = torch.empty(0, dtype=torch.int64)

    def set(self, data_samples: Sequence[Any], inputs: Tensor, training: bool) -> None:
        """Take the domains of a batch from the field ``part`` of its data samples.

        Args:
            data_samples: What is known of each image; in evaluation it may be empty.
            inputs: The images (B, ...).
            training: Whether the network is in training.

        Raises:
            ValueError: If an image has a domain that does not exist, or, in training, none.
        """
        parts = [sample.get('part') for sample in data_samples] or [None] * len(inputs)
        if training and None in parts:
            raise ValueError(
                f'model.num_domains={self.num}, but the training images do not say which data set they are of: '
                'train_dataloader.dataset must be a ConcatDataset'
            )
        domains = [self.test if part is None else part for part in parts]
        if max(domains, default=0) >= self.num:
            raise ValueError(
                f'an image is of data set {max(domains)} (part, from 0) and model.num_domains={self.num}: set it to '
                'the number of data sets of the ConcatDataset'
            )
        self.of_images = torch.tensor(domains, device=inputs.device)

    def gather(self) -> None:
        """Go over from the batch of this process to the global one."""
        self.of_images = gather_batch(self.of_images)


class DomainBatchNorm(nn.Module):
    """One batch normalization per domain (Chang et al., Domain-Specific Batch Normalization, CVPR 2019).

    Every image is normalized with the statistics, weight and bias of its domain, in training by those of the images of
    its domain in the batch. A vector that is alone there takes the running statistics.

    Args:
        norm: Layer of which each domain gets a copy.
        domains: What tells the domains of the images, shared by all layers of a network.

    Example:
        >>> domains = Domains(2)
        >>> layer = DomainBatchNorm(nn.BatchNorm1d(4), domains)
        >>> domains.of_images = torch.tensor([0, 1, 0, 1])
        >>> y = layer(torch.randn(4, 4) + 9 * domains.of_images[:, None])
        >>> bool((y[::2].mean(0).abs() < 1e-2).all() and (y[1::2].mean(0).abs() < 1e-2).all())
        True
    """

    def __init__(self, norm: _BatchNorm, domains: Domains) -> None:
        super().__init__()
        self.norms = nn.ModuleList(copy.deepcopy(norm) for _ in range(domains.num))
        self.domains = domains

    def forward(self, x: Tensor) -> Tensor:
        """Normalize (B, C, ...)."""
        order = self.domains.of_images.argsort(stable=True)
        counts = self.domains.of_images.bincount(minlength=len(self.norms)).tolist()
        parts = [
            # One value per channel has no variance: running statistics take its place.
            norm.train(self.training and part.numel() > part.shape[1])(part)
            for norm, part in zip(self.norms, x[order].split(counts), strict=True)
            if len(part)
        ]
        y = torch.cat(parts)[order.argsort()]
        # Distributed training waits for a gradient of every parameter.
        absent = [norm for norm, count in zip(self.norms, counts, strict=True) if self.training and not count]
        return y + sum(0 * parameter.sum() for norm in absent for parameter in norm.parameters())


def separate_domains(module: nn.Module, domains: Domains) -> nn.Module:
    """Replace every batch normalization inside a module by a :class:`DomainBatchNorm` of copies of it.

    Args:
        module: Any module; changed in place.
        domains: As in :class:`DomainBatchNorm`.

    Returns:
        The module; if it is itself a batch normalization, its replacement.
    """
    if isinstance(module, _BatchNorm):
        return DomainBatchNorm(module, domains)
    for name, child in module.named_children():
        converted = separate_domains(child, domains)
        if converted is not child:
            setattr(module, name, converted)
    return module
