"""Classifiers of cosines with a margin, in place of a linear one."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from glc.registry import MODELS

__all__ = ['ArcFace', 'CircleClassifier', 'CosFace', 'CosineClassifier']


class CosineClassifier(nn.Module):
    """Scaled cosines between features and one vector per class; a subclass makes those of the true class harder.

    Computed in float32 at least, also under autocast: half precision does not tell large cosines apart. The vectors
    start from Xavier's uniform distribution. The defaults are those of TransReID.

    Args:
        in_channels: Dimension D of the features.
        num_classes: Number C of classes.
        scale: Factor s of the logits.
        margin: Margin m.
    """

    def __init__(self, in_channels: int, num_classes: int, scale: float = 30.0, margin: float = 0.5) -> None:
        super().__init__()
        if scale <= 0 or margin < 0:
            raise ValueError(
                f'{type(self).__name__} needs scale > 0 and margin >= 0, got scale={scale} and margin={margin}'
            )
        self.scale = scale
        self.margin = margin
        self.weight = nn.Parameter(torch.empty(num_classes, in_channels))
        nn.init.xavier_uniform_(self.weight)

    def forward(self, features: Tensor, labels: Tensor) -> Tensor:
        """Compute logits (B, C) of features (B, D) of classes (B,), for a cross entropy."""
        with torch.autocast(features.device.type, enabled=False):
            x = features.to(torch.promote_types(features.dtype, torch.float32))
            cosines = F.linear(F.normalize(x), F.normalize(self.weight))
            true = F.one_hot(labels, len(self.weight)).bool()
            return self.scale * torch.where(true, self.of_true_class(cosines), self.of_other_classes(cosines))

    def of_true_class(self, cosines: Tensor) -> Tensor:
        """Turn cosines into unscaled logits of the true class."""
        raise NotImplementedError

    def of_other_classes(self, cosines: Tensor) -> Tensor:
        """Turn cosines into unscaled logits of the other classes."""
        return cosines

    def extra_repr(self) -> str:
        """Show scale and margin when the module is printed."""
        return f'scale={self.scale:g}, margin={self.margin:g}'


@MODELS.register_module()
class ArcFace(CosineClassifier):
    """Margin on the angle: s cos(t + m) for the true class, s cos(t) for the others (Deng et al., CVPR 2019).

    Where t + m exceeds pi, the logit is s (cos(t) - m sin(m)), which keeps it falling with t.

    Example:
        >>> ArcFace(8, 5)(torch.randn(2, 8), torch.tensor([0, 4])).shape
        torch.Size([2, 5])
    """

    def of_true_class(self, cosines: Tensor) -> Tensor:
        """Add the margin to the angle."""
        sines = (1 - cosines.square()).clamp(min=1e-12).sqrt()
        turned = cosines * math.cos(self.margin) - sines * math.sin(self.margin)
        falling = cosines - self.margin * math.sin(self.margin)
        return torch.where(cosines > -math.cos(self.margin), turned, falling)


@MODELS.register_module()
@MODELS.register_module(name='AMSoftmax')
class CosFace(CosineClassifier):
    """Margin on the cosine: s (cos(t) - m) for the true class (Wang et al., CVPR 2018).

    AM-softmax (Wang et al., 2018) is the same formula, and another name of this class.

    Example:
        >>> CosFace(8, 5)(torch.randn(2, 8), torch.tensor([0, 4])).shape
        torch.Size([2, 5])
    """

    def of_true_class(self, cosines: Tensor) -> Tensor:
        """Subtract the margin."""
        return cosines - self.margin


@MODELS.register_module()
class CircleClassifier(CosineClassifier):
    """Circle loss with labels of classes (Sun et al., CVPR 2020), where every cosine c has a pace of its own.

    The logits are s max(0, 1 + m - c) (c - 1 + m) for the true class and s max(0, c + m) (c - m) for the others. No
    gradient flows through the paces. The paper has a margin of 0.25.

    Example:
        >>> CircleClassifier(8, 5, scale=256, margin=0.25)(torch.randn(2, 8), torch.tensor([0, 4])).shape
        torch.Size([2, 5])
    """

    def of_true_class(self, cosines: Tensor) -> Tensor:
        """Weigh the distance to 1 - m."""
        return (1 + self.margin - cosines.detach()).relu() * (cosines - 1 + self.margin)

    def of_other_classes(self, cosines: Tensor) -> Tensor:
        """Weigh the distance to m."""
        return (cosines.detach() + self.margin).relu() * (cosines - self.margin)
