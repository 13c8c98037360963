"""From backbone output to one unit-norm feature per image."""

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from mmengine.model import BaseModule
from timm.layers.adaptive_avgmax_pool import SelectAdaptivePool2d
from torch import Tensor, nn

from glc.models.layers import GeM
from glc.registry import MODELS

__all__ = ['ReIDNeck']


@MODELS.register_module()
class ReIDNeck(BaseModule):
    """Pooling, fusion of class and part tokens, batch normalization and L2 normalization.

    With the tokens cls, pt1 .. ptn of a PASS ViT and P = (pt1 + .. + ptn) / n (PASS, Zhu et al., ECCV 2022):

    - single neck: z = [cls, P] (``'cat'``) or (cls + P) / 2 (``'mean'``), then one batch normalization;
    - multi neck: one batch normalization per token, each output L2-normalized, then the same fusion;
    - branches (TransReID, He et al., ICCV 2021): one batch normalization per token, then [cls, pt1 / n, .., ptn / n].

    The result is L2-normalized; the published code leaves that out in a multi neck (``unit=False``). With a single
    token, a pooled map or a vector, z is that token, and ``multi`` and ``fusion`` make no difference. The biases of the
    batch normalizations stay 0. Parameters are named ``bottleneck`` and, with one normalization per token,
    ``bottleneck_pt1`` to ``bottleneck_ptn``.

    Args:
        in_channels: Dimension D of a token (the backbone's ``out_channels``).
        num_tokens: Number of tokens T (the backbone's ``num_tokens``).
        multi: Normalize each token by itself.
        fusion: ``'cat'``, ``'mean'`` or ``'branches'``.
        pool: Pooling of maps: ``dict(type='avg')``, ``'max'``, ``'avgmax'`` (the mean of both), or, which is the
            default, ``dict(type='GeM', p=3.0, learnable=False)``.
        unit: Scale the fused feature of a multi neck to unit length. False, as published, gives norms of up to 1.4
            (``'cat'``) or 1 (``'mean'``).
        embed_channels: Dimension of a linear embedding of z before its batch normalization; None for no embedding.
            Not for a neck with one normalization per token.
        embed_bias: Whether the embedding has a bias, and starts, as in Cluster Contrast, from a normal distribution of
            variance 2 / ``embed_channels``. Without one it starts, as in TransReID-SSL, from Xavier's uniform one.
        dropout: Share of the channels that are set to 0 after batch normalization, in training.

    Attributes:
        out_channels: Dimension of the output: that of the embedding, else TD for ``'branches'``, 2D for ``'cat'`` of
            several tokens, else D.

    Raises:
        ValueError: If an argument is out of its range.

    Example:
        >>> neck = ReIDNeck(384, num_tokens=4, multi=True, fusion='cat')
        >>> features = neck(torch.randn(8, 4, 384))
        >>> features.shape, bool(torch.allclose(features.norm(dim=1), torch.ones(8)))
        (torch.Size([8, 768]), True)
    """

    def __init__(
        self,
        in_channels: int,
        num_tokens: int = 1,
        multi: bool = False,
        fusion: str = 'cat',
        pool: Mapping[str, Any] | None = None,
        unit: bool = True,
        embed_channels: int | None = None,
        embed_bias: bool = True,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        if fusion not in ('cat', 'mean', 'branches'):
            raise ValueError(f"fusion must be 'cat', 'mean' or 'branches', got {fusion!r}")
        if num_tokens < 1:
            raise ValueError(f'num_tokens must be at least 1, got {num_tokens}')
        self.in_channels = in_channels
        self.num_tokens = num_tokens
        self.branches = fusion == 'branches' and num_tokens > 1
        self.multi = multi and num_tokens > 1 and not self.branches
        self.unit = unit or not self.multi
        self.fusion = fusion
        widths = {'cat': min(num_tokens, 2), 'mean': 1, 'branches': num_tokens}
        self.out_channels = widths[fusion] * in_channels
        self.pool = _build_pool(**(pool or {'type': 'GeM'}))
        self.embedding: nn.Module = nn.Identity()
        if embed_channels is not None:
            if embed_channels < 1 or self.multi or self.branches:
                raise ValueError(
                    f'embed_channels must be at least 1, and is for a neck with one normalization only, got '
                    f'embed_channels={embed_channels}, multi={multi}, fusion={fusion!r}'
                )
            self.embedding = _embedding(self.out_channels, embed_channels, embed_bias)
            self.out_channels = embed_channels
        self.dropout = nn.Dropout(dropout)
        per_token = self.multi or self.branches
        self.bottleneck = _frozen_bias_norm(in_channels if per_token else self.out_channels)
        if per_token:
            for part in range(1, num_tokens):
                self.add_module(f'bottleneck_pt{part}', _frozen_bias_norm(in_channels))

    def forward(self, inputs: Tensor) -> Tensor:
        """Turn the output of the backbone into unit features.

        Args:
            inputs: Tokens (B, T, D), a map (B, D, H, W) or vectors (B, D).

        Returns:
            Features (B, out_channels) of unit norm, except those of a multi neck with ``unit=False``.

        Raises:
            ValueError: If the shape is not what ``num_tokens`` and ``in_channels`` announced.
        """
        if not self.multi:
            return F.normalize(self.batch_norm(inputs))
        fused = self.dropout(self._fused(F.normalize(self._batch_normed(self.tokens(inputs)), dim=2)))
        return F.normalize(fused) if self.unit else fused

    def batch_norm(self, inputs: Tensor) -> Tensor:
        """Compute the fused feature after batch normalization, without L2 norm, as a classifier wants it.

        Args:
            inputs: As in :meth:`forward`.

        Returns:
            Features (B, out_channels).
        """
        if self.multi or self.branches:
            normed = self._fused(self._batch_normed(self.tokens(inputs)))
        else:
            normed = self.bottleneck(self.fuse(inputs))
        return self.dropout(normed)

    def for_losses(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Compute the features before and after batch normalization, as a supervised head wants them.

        Args:
            inputs: As in :meth:`forward`.

        Returns:
            Those of :meth:`fuse` and :meth:`batch_norm`, (B, out_channels) each; with branches those of every token,
            (B, T, D) each.
        """
        tokens = self.tokens(inputs)
        if self.branches:
            return tokens, self.dropout(self._batch_normed(tokens))
        return self.fuse(tokens), self.batch_norm(tokens)

    def fuse(self, inputs: Tensor) -> Tensor:
        """Compute the fused feature before any normalization, as the triplet loss wants it.

        Args:
            inputs: As in :meth:`forward`.

        Returns:
            Features (B, out_channels).
        """
        return self.embedding(self._fused(self.tokens(inputs)))

    def tokens(self, inputs: Tensor) -> Tensor:
        """Turn the output of the backbone into tokens; the other methods take tokens as well.

        Args:
            inputs: As in :meth:`forward`.

        Returns:
            Tokens (B, T, D).
        """
        if inputs.dim() == 4:
            tokens = self.pool(inputs)[:, None]
        elif inputs.dim() == 2:
            tokens = inputs[:, None]
        else:
            tokens = inputs
        if tokens.dim() != 3 or tokens.shape[1:] != (self.num_tokens, self.in_channels):
            raise ValueError(
                f'the neck has num_tokens={self.num_tokens} and in_channels={self.in_channels}, but the '
                f'backbone gave a tensor of shape {tuple(inputs.shape)}: set both to its num_tokens and '
                'out_channels'
            )
        return tokens

    def _batch_normed(self, tokens: Tensor) -> Tensor:
        norms = [
            self.bottleneck,
            *(getattr(self, f'bottleneck_pt{part}') for part in range(1, self.num_tokens)),
        ]
        return torch.stack([norm(token) for norm, token in zip(norms, tokens.unbind(1), strict=True)], 1)

    def _fused(self, tokens: Tensor) -> Tensor:
        cls = tokens[:, 0]
        if self.num_tokens == 1:
            return cls
        if self.branches:
            return torch.cat([cls, tokens[:, 1:].flatten(1) / (self.num_tokens - 1)], 1)
        parts = tokens[:, 1:].mean(1)
        return torch.cat([cls, parts], 1) if self.fusion == 'cat' else (cls + parts) / 2


def _embedding(in_channels: int, channels: int, bias: bool) -> nn.Linear:
    embedding = nn.Linear(in_channels, channels, bias=bias)
    if bias:
        nn.init.kaiming_normal_(embedding.weight, mode='fan_out')
        nn.init.zeros_(embedding.bias)
    else:
        nn.init.xavier_uniform_(embedding.weight)
    return embedding


def _frozen_bias_norm(channels: int) -> nn.BatchNorm1d:
    norm = nn.BatchNorm1d(channels)
    norm.bias.requires_grad_(False)
    return norm


def _build_pool(type: str, **kwargs: Any) -> nn.Module:
    if type == 'GeM':
        return GeM(**kwargs)
    if type in ('avg', 'max', 'avgmax'):
        return SelectAdaptivePool2d(1, type, flatten=True)
    raise ValueError(f"pool type must be 'GeM', 'avg', 'max' or 'avgmax', got {type!r}")
