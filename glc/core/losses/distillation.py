"""Self-distillation: a student predicts what its averaged copy, the teacher, says about other views of an image.

Sources: Caron et al., Emerging Properties in Self-Supervised Vision Transformers (DINO), ICCV 2021; Zhu et al., PASS:
Part-Aware Self-Supervised Pre-Training for Person Re-Identification, ECCV 2022.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn

from glc.core.parameters import AT_LEAST_ONE, NUMBER, POSITIVE, SHARE, checked

__all__ = ['PartDistillationLoss', 'clip_each_', 'cosine_between', 'move_towards_']


class PartDistillationLoss(nn.Module):
    r"""Cross entropy between the views of student and teacher, for several heads; it holds the teacher's centers.

    Head h has V_h student views and T teacher views of the same B images, each a vector of K outputs. The target of a
    teacher view t is ``q_t = softmax((t - center_h) / teacher_temperature)``, the prediction of a student view v is
    ``p_v = softmax(v / student_temperature)``. The loss is the mean of ``-sum_k q_t log p_v`` over the images and over
    the pairs (t, v) of different views, of all heads. Every pair counts the same.

    Args:
        num_outputs: Outputs K of a head.
        num_heads: Number H of heads: one for the class token, one per part token.
        student_temperature: Divisor of the student's outputs.
        teacher_temperature: Divisor of the teacher's outputs; smaller than the student's, which sharpens the target.
        centre_momentum: Share of the old center that stays in an update, in [0, 1].

    Raises:
        ValueError: If an argument is out of its range, or views and heads do not fit each other.

    Example:
        >>> loss = PartDistillationLoss(num_outputs=8, num_heads=1)
        >>> student, teacher = torch.zeros(3, 5, 8), torch.randn(2, 5, 8)
        >>> round(loss([student], [teacher]).item(), 4) == round(math.log(8), 4)
        True
        >>> loss.update([teacher])
        >>> bool(torch.allclose(loss.centre[0], 0.1 * teacher.mean((0, 1))))
        True
    """

    centre: Tensor

    @checked(
        num_outputs=AT_LEAST_ONE,
        num_heads=AT_LEAST_ONE,
        student_temperature=POSITIVE,
        teacher_temperature=POSITIVE,
        centre_momentum=SHARE,
    )
    def __init__(
        self,
        num_outputs: int,
        num_heads: int = 4,
        student_temperature: float = 0.1,
        teacher_temperature: float = 0.04,
        centre_momentum: float = 0.9,
    ) -> None:
        super().__init__()
        self.student_temperature = student_temperature
        self.teacher_temperature = teacher_temperature
        self.centre_momentum = centre_momentum
        self.register_buffer('centre', torch.zeros(num_heads, num_outputs))

    def forward(self, student: Sequence[Tensor], teacher: Sequence[Tensor]) -> Tensor:
        """Compute the loss of a batch, without side effect.

        Args:
            student: Per head the outputs (V_h, B, K); the first T views are the teacher's, in its order.
            teacher: Per head the outputs (T, B, K).

        Returns:
            Scalar loss, in nats.
        """
        if not len(student) == len(teacher) == len(self.centre):
            raise ValueError(
                f'the loss has {len(self.centre)} heads, got outputs of {len(student)} of the student and of '
                f'{len(teacher)} of the teacher'
            )
        with torch.autocast(self.centre.device.type, enabled=False):
            sums = [
                self._sum_of_pairs(views, targets)
                for views, targets in zip(student, self._targets(teacher), strict=True)
            ]
        return torch.stack(sums).sum() / sum(
            len(targets) * (len(views) - 1) for views, targets in zip(student, teacher, strict=True)
        )

    @torch.no_grad()
    def teacher_entropy(self, teacher: Sequence[Tensor]) -> Tensor:
        """Compute the mean entropy of the targets, in nats; near 0 or near log K, the teacher has collapsed."""
        rows = [torch.special.entr(targets).sum(-1).mean() for targets in self._targets(teacher)]
        return torch.stack(rows).mean()

    @torch.no_grad()
    def update(self, teacher: Sequence[Tensor]) -> None:
        """Move the centers towards the mean output of the teacher over the views and images of all processes.

        Args:
            teacher: Per head the outputs (T, B, K), of the same shape on every process.
        """
        means = torch.stack([outputs.float().mean((0, 1)) for outputs in teacher])
        if dist.is_available() and dist.is_initialized():
            dist.all_reduce(means)
            means /= dist.get_world_size()
        self.centre.lerp_(means, 1 - self.centre_momentum)

    def _targets(self, teacher: Sequence[Tensor]) -> list[Tensor]:
        return [
            F.softmax((outputs.detach().float() - center) / self.teacher_temperature, -1)
            for outputs, center in zip(teacher, self.centre, strict=True)
        ]

    def _sum_of_pairs(self, student: Tensor, targets: Tensor) -> Tensor:
        """Compute the sum of the cross entropies of all T * (V - 1) pairs of different views."""
        if student.shape[1:] != targets.shape[1:] or len(student) < len(targets):
            raise ValueError(
                f'student views {tuple(student.shape)} do not begin with teacher views {tuple(targets.shape)}'
            )
        log_p = F.log_softmax(student.float() / self.student_temperature, -1)
        # The sum over images and outputs of a pair is one entry of a matrix product.
        entropies = -(targets.flatten(1) @ log_p.flatten(1).T) / targets.shape[1]
        return entropies.sum() - entropies.diagonal().sum()


@checked(start=NUMBER, end=NUMBER, progress=SHARE)
def cosine_between(start: float, end: float, progress: float) -> float:
    """Compute the value on the half cosine from ``start`` to ``end``.

    Args:
        start: Value at progress 0.
        end: Value at progress 1.
        progress: Share of the training that is done, in [0, 1].

    Example:
        >>> [round(cosine_between(0.04, 0.4, progress), 2) for progress in (0, 0.5, 1)]
        [0.04, 0.22, 0.4]
    """
    return end + 0.5 * (start - end) * (1 + math.cos(math.pi * progress))


@checked(average=[nn.Module], module=[nn.Module], momentum=SHARE)
@torch.no_grad()
def move_towards_(average: nn.Module, module: nn.Module, momentum: float) -> None:
    """Move the parameters of an averaged copy towards a module's; buffers stay.

    Args:
        average: Copy of ``module``, changed in place.
        module: The module that is trained.
        momentum: Share of the old average that stays, in [0, 1].
    """
    torch._foreach_lerp_(list(average.parameters()), list(module.parameters()), 1 - momentum)


@checked(max_norm=POSITIVE)
@torch.no_grad()
def clip_each_(parameters: Iterable[nn.Parameter], max_norm: float) -> None:
    """Limit the norm of the gradient of every parameter by itself, as DINO and PASS do.

    Args:
        parameters: Parameters; those without a gradient are skipped.
        max_norm: Largest Euclidean norm of one gradient.
    """
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    if gradients:
        norms = torch.stack(torch._foreach_norm(gradients))
        factors = (max_norm / (norms + 1e-6)).clamp(max=1)
        torch._foreach_mul_(gradients, list(factors.unbind()))
