"""Batch normalization over groups of a fixed number of images, whatever the batch of the process."""

import math
from typing import Any

import torch
import torch.nn.functional as F
from timm.layers.norm_act import BatchNormAct2d
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

__all__ = ['GhostBatchNorm1d', 'GhostBatchNorm2d', 'GhostBatchNormAct2d', 'convert_batchnorm']


class _GhostBatchNorm(_BatchNorm):
    group_size: int

    def __init__(self, num_features: int, group_size: int, **kwargs: Any) -> None:
        super().__init__(num_features, **kwargs)
        self.group_size = _checked(group_size)

    def forward(self, input: Tensor) -> Tensor:
        """Normalize (B, C, ...): per group while training, by the running statistics in evaluation."""
        if not self.training:
            return super().forward(input)
        self._check_input_dim(input)
        groups = input.tensor_split(max(1, math.ceil(len(input) / self.group_size)))
        if self.running_mean is None or self.running_var is None or self.num_batches_tracked is None:
            return torch.cat([self._normalize(group, None, None) for group in groups])
        means = torch.zeros(
            len(groups), self.num_features, dtype=self.running_mean.dtype, device=input.device
        )
        variances = torch.zeros_like(means)
        # Momentum 1 turns running buffers into the statistics of the group: no second pass over the input.
        output = torch.cat([self._normalize(*item) for item in zip(groups, means, variances, strict=True)])
        with torch.no_grad():
            self.num_batches_tracked.add_(1)
            momentum = 1 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
            self.running_mean.lerp_(means.mean(0), momentum)
            self.running_var.lerp_(variances.mean(0), momentum)
        return output

    def _normalize(self, group: Tensor, mean: Tensor | None, variance: Tensor | None) -> Tensor:
        return F.batch_norm(group, mean, variance, self.weight, self.bias, True, 1.0, self.eps)

    def extra_repr(self) -> str:
        """Show the group size beside the usual settings when the module is printed."""
        return f'{super().extra_repr()}, group_size={self.group_size}'


class GhostBatchNorm1d(_GhostBatchNorm, nn.BatchNorm1d):
    """``nn.BatchNorm1d`` whose batch statistics are those of groups of ``group_size`` images.

    A batch of B images is split along its first axis into ceil(B / group_size) consecutive groups of near-equal size.
    Each group is normalized by its own mean and variance (ghost batches, Hoffer et al., 2017). The running statistics
    move towards the mean over the groups of their means and unbiased variances. That is linear: the mean of the buffers
    of several processes equals the buffers of one process that sees all groups. So the recipe's group size gives the
    recipe's result on any number of processes. Evaluation and ``state_dict`` are those of ``nn.BatchNorm1d``.

    Args:
        num_features: Number of channels C.
        group_size: Images per group, at least 2.
        **kwargs: ``eps``, ``momentum``, ``affine``, ``track_running_stats`` as in ``nn.BatchNorm1d``.

    Raises:
        ValueError: If ``group_size`` is smaller than 2.

    Example:
        >>> layer = GhostBatchNorm1d(4, group_size=8)
        >>> x = torch.randn(16, 4) + torch.arange(16).ge(8).float()[:, None]
        >>> y = layer(x)
        >>> bool(y[:8].mean().abs() < 1e-5) and bool(y[8:].mean().abs() < 1e-5)
        True
    """


class GhostBatchNorm2d(_GhostBatchNorm, nn.BatchNorm2d):
    """``nn.BatchNorm2d`` whose batch statistics are those of groups of images; see :class:`GhostBatchNorm1d`.

    Args:
        num_features: Number of channels C.
        group_size: Images per group, at least 2.
        **kwargs: ``eps``, ``momentum``, ``affine``, ``track_running_stats`` as in ``nn.BatchNorm2d``.

    Example:
        >>> GhostBatchNorm2d(4, group_size=8)(torch.randn(20, 4, 6, 3)).shape
        torch.Size([20, 4, 6, 3])
    """


class GhostBatchNormAct2d(GhostBatchNorm2d):
    """:class:`GhostBatchNorm2d` followed by the dropout and activation of timm's ``BatchNormAct2d``.

    Args:
        num_features: Number of channels C.
        group_size: Images per group, at least 2.
        drop: Dropout layer.
        act: Activation.
        **kwargs: As in ``nn.BatchNorm2d``.

    Example:
        >>> layer = GhostBatchNormAct2d(4, group_size=8, drop=nn.Identity(), act=nn.ReLU())
        >>> bool((layer(torch.randn(16, 4, 6, 3)) >= 0).all())
        True
    """

    def __init__(
        self, num_features: int, group_size: int, drop: nn.Module, act: nn.Module, **kwargs: Any
    ) -> None:
        super().__init__(num_features, group_size, **kwargs)
        self.drop = drop
        self.act = act

    def forward(self, input: Tensor) -> Tensor:
        """Normalize and activate (B, C, H, W)."""
        return self.act(self.drop(super().forward(input)))


def convert_batchnorm(module: nn.Module, group_size: int) -> nn.Module:
    """Replace every batch normalization inside a module by one over groups of images.

    Parameters and buffers are the same objects as before and keep their names. Instance normalization, and
    thus the instance half of IBN, is left alone; a layer that was converted before only gets the new group
    size.

    Args:
        module: Any module; changed in place.
        group_size: Images per group, at least 2.

    Returns:
        The module; if it is itself a batch normalization, its replacement.

    Raises:
        ValueError: If ``group_size`` is smaller than 2, or for a batch normalization of an unknown kind.

    Example:
        >>> convert_batchnorm(nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)), 64)[1].group_size
        64
    """
    if isinstance(module, _GhostBatchNorm):
        module.group_size = _checked(group_size)
    elif isinstance(module, _BatchNorm):
        return _as_ghost(module, group_size)
    else:
        for name, child in module.named_children():
            converted = convert_batchnorm(child, group_size)
            if converted is not child:
                setattr(module, name, converted)
    return module


def _as_ghost(norm: _BatchNorm, group_size: int) -> _GhostBatchNorm:
    settings = {key: getattr(norm, key) for key in ('eps', 'momentum', 'affine', 'track_running_stats')}
    if type(norm) is nn.BatchNorm1d:
        ghost: _GhostBatchNorm = GhostBatchNorm1d(norm.num_features, group_size, **settings)
    elif type(norm) is nn.BatchNorm2d:
        ghost = GhostBatchNorm2d(norm.num_features, group_size, **settings)
    elif type(norm) is BatchNormAct2d:
        ghost = GhostBatchNormAct2d(norm.num_features, group_size, norm.drop, norm.act, **settings)
    else:
        raise ValueError(
            f'cannot give a group size to {type(norm).__name__}: only BatchNorm1d, BatchNorm2d and timm '
            'BatchNormAct2d are known; leave bn_group_size unset for this backbone'
        )
    ghost._parameters.update(norm._parameters)
    ghost._buffers.update(norm._buffers)
    return ghost.train(norm.training)


def _checked(group_size: int) -> int:
    if group_size < 2:
        raise ValueError(f'a batch normalization group needs at least 2 images, got group_size={group_size}')
    return group_size
