"""Vision transformer with the jigsaw patch module of TransReID."""

import copy
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from glc.registry import MODELS

from .pass_vit import PASSViT

__all__ = ['JPMViT']


@MODELS.register_module()
class JPMViT(PASSViT):
    """Plain ViT with a global branch and local ones of shifted and shuffled patches (TransReID, He et al., ICCV 2021).

    All blocks but the last run as usual. Two copies of the last block and of the final normalization follow:

    - ``b1`` on all tokens: its class token is the global feature;
    - ``b2`` on the class token and one group of patches at a time: its class tokens are the local features. The
      patches are put in another order first. They turn by ``shift - 1``, which is what the published code does with a
      shift of 5. Then they go in turns into ``groups`` rows, column by column. They are cut into ``num_branches`` runs
      of equal length; patches beyond are left out.

    The weights of a plain ViT load: both copies start as its last block. So do those of TransReID.

    Args:
        arch: As in :class:`PASSViT`.
        num_part_tokens: 0, since the local branches take the place of part tokens.
        num_branches: Number P of local branches.
        shift: Shift of the patches.
        groups: Rows of the shuffling. Patches that are one short of a multiple of it are completed by a copy of one,
            which comes last and is left out.
        rearrange: Whether patches are shifted and shuffled; otherwise each branch has a horizontal stripe.
        **kwargs: As in :class:`PASSViT`.

    Raises:
        ValueError: If an argument is out of its range.

    Example:
        >>> model = JPMViT(dict(dim=48, depth=2, heads=3), img_size=(64, 32)).eval()
        >>> model(torch.zeros(2, 3, 64, 32)).shape
        torch.Size([2, 5, 48])
    """

    def __init__(
        self,
        arch: str | Mapping[str, int] = 'small',
        *,
        num_part_tokens: int = 0,
        num_branches: int = 4,
        shift: int = 5,
        groups: int = 2,
        rearrange: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(arch, num_part_tokens=num_part_tokens, **kwargs)
        patches = self.pos_embed.shape[1]
        if num_part_tokens or self.gem is not None:
            raise ValueError(
                'JPMViT has neither part tokens nor gem_pool: set num_part_tokens=0, gem_pool=False'
            )
        if not 1 <= num_branches <= patches:
            raise ValueError(
                f'num_branches must be 1 to {patches}, the number of patches, got {num_branches}'
            )
        if rearrange and (not 1 <= shift <= patches or -patches % groups > 1):
            raise ValueError(
                f'shift must be 1 to {patches}, the number of patches, and groups must divide it or the number after '
                f'it, got shift={shift} and groups={groups}'
            )
        self.num_tokens = 1 + num_branches
        self.num_branches = num_branches
        self.shift = shift
        self.groups = groups
        self.rearrange = rearrange
        self.blocks, last = self.blocks[:-1], self.blocks[-1]
        self.b1 = nn.Sequential(last, self.norm)
        self.b2 = copy.deepcopy(self.b1)
        del self.norm

    def adapt_state_dict(
        self, state_dict: dict[str, Tensor], hw_ratio: int | None = None
    ) -> dict[str, Tensor]:
        """Give the last block and the normalization of a plain ViT to both copies; leave them out where these are."""
        state_dict = super().adapt_state_dict(state_dict, hw_ratio)
        names = {f'blocks.{len(self.blocks)}.': '0.', 'norm.': '1.'}
        ended = [(key, old) for key in state_dict for old in names if key.startswith(old)]
        trained = any(key.startswith(('b1.', 'b2.')) for key in state_dict)
        for key, old in ended:
            value = state_dict.pop(key)
            if not trained:
                for copy_ in ('b1', 'b2'):
                    state_dict[f'{copy_}.{names[old]}{key.removeprefix(old)}'] = value
        return state_dict

    def _blocks_of_cls(self) -> list[Any]:
        return [*self.blocks, self.b1[0]]

    def _encode(self, x: Tensor) -> Tensor:
        """Turn embedded tokens (B, 1 + N, D) into the global and the local features (B, 1 + P, D)."""
        x = self.blocks(x)
        cls, patches = x[:, :1], x[:, 1:]
        length = patches.shape[1] // self.num_branches
        if self.rearrange:
            patches = self._rearranged(patches)
        runs = patches[:, : length * self.num_branches].unflatten(1, (self.num_branches, length))
        local = torch.cat([cls[:, None].expand(-1, self.num_branches, -1, -1), runs], 2)
        local = self.b2(local.flatten(0, 1))[:, 0].unflatten(0, (-1, self.num_branches))
        return torch.cat([self.b1(x)[:, :1], local], 1)

    def _rearranged(self, patches: Tensor) -> Tensor:
        """Shift and shuffle patches (B, N, D)."""
        patches = patches.roll(1 - self.shift, 1)
        if patches.shape[1] % self.groups:
            patches = torch.cat([patches, patches[:, -2:-1]], 1)
        return patches.unflatten(1, (self.groups, -1)).transpose(1, 2).flatten(1, 2)
