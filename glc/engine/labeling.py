"""One labeling of the training images: extract, label, correct, report."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np
import torch
from mmengine.dist import broadcast_object_list, get_rank
from torch import Tensor, nn
from tqdm import tqdm

from glc.core.correctors import BaseCorrector, UnusableLabelsError
from glc.core.distributed import Workers
from glc.core.evaluation import label_change, label_quality
from glc.core.labelers import BaseLabeler
from glc.core.labels import (
    PseudoLabels,
    center_similarity,
    compact_labels,
    unit_centroids,
    with_earlier_features,
)
from glc.core.neighbors import FeatureView
from glc.core.timing import Timings
from glc.datasets import BaseReIDDataset
from glc.engine.feature_extractor import FeatureExtractor


class TooFewClustersError(RuntimeError):
    """The labeler found fewer than two clusters."""


@dataclass(frozen=True)
class Labeling:
    """The outcome of a labeling.

    Args:
        labels: Labels (N,) of the labeler, on the CPU.
        pseudo: Labels after the correction, and their centroids, on the CPU.
        certainty: Cosine similarity (N,) of every image and the center of its cluster, NaN for outliers, on the CPU.
        corrected: Whether the corrector's labels were taken.
        problem: Why they were not, although they were asked for.
        seconds: Seconds by stage.
    """

    labels: Tensor
    pseudo: PseudoLabels
    certainty: Tensor
    corrected: bool = False
    problem: str | None = None
    seconds: dict[str, float] = field(default_factory=dict)

    def report(
        self, previous: PseudoLabels | None, identities: np.ndarray
    ) -> tuple[list[str], dict[str, float]]:
        """Describe the labels, and score them where identities are known.

        Args:
            previous: Labels of the last labeling, for the change since then.
            identities: Identity of every image (N,), negative where it is unknown.

        Returns:
            Lines and scalars for the log.
        """
        labels = self.pseudo.labels
        kept = labels[labels >= 0]
        quantiles = torch.quantile(
            torch.bincount(kept).double(), torch.tensor([0, 0.25, 0.5, 0.75, 1], dtype=torch.double)
        )
        outliers = len(labels) - len(kept)
        scalars = {
            'clusters': self.pseudo.num_clusters,
            'outliers': outliers,
            'median_size': float(quantiles[2]),
        }
        line = (
            f'pseudo labels: {self.pseudo.num_clusters} clusters, {outliers} outliers '
            f'({outliers / len(labels):.1%}), sizes min/25%/50%/75%/max '
            + '/'.join(f'{value:.0f}' for value in quantiles.tolist())
        )
        if previous is not None:
            scalars['change'] = label_change(previous.labels, labels)
            line += f', change {scalars["change"]:.3f}'
        seconds = ', '.join(f'{name} {value:.1f}' for name, value in self.seconds.items())
        lines = [f'{line} | seconds: {seconds}']
        scalars.update({f'seconds/{name}': value for name, value in self.seconds.items()})

        known = identities >= 0
        if known.any():
            parts = []
            stages = (
                {'labels': self.labels, 'corrected': labels} if self.corrected else {'labels': self.labels}
            )
            for stage, stage_labels in stages.items():
                scores = label_quality(np.asarray(stage_labels)[known], identities[known])
                scalars.update({f'{stage}/{name}': value for name, value in scores.items()})
                parts.append(
                    f'{stage}: '
                    + ', '.join(
                        f'{name} P/R/F '
                        + '/'.join(f'{scores[f"{name}_{part}"]:.3f}' for part in ('precision', 'recall', 'f'))
                        for name in ('pairwise', 'bcubed')
                    )
                )
            lines.append(f'scores against ground truth (log only) {" | ".join(parts)}')
        return lines, scalars


class LabelEngine:
    """Engine that extracts features, labels them and corrects the labels, the same on every process.

    All processes share extraction, neighbors and distances. One corrects; the others take its result, or its finding
    that there are too few clusters. Another error is raised on the process where it happens, which is to end the run.
    Labeler and corrector get the same :class:`glc.core.neighbors.FeatureView`, so the neighbors are searched once.

    Args:
        labeler: The labeler.
        corrector: The corrector; None leaves the labels as they are.
        min_images: Clusters of fewer images become outliers, after the correction.
        leave_out_strangers: See :class:`glc.core.neighbors.FeatureView`.

    Attributes:
        earlier: What the labels of the last call were made of, float16 (N, D) with unit rows on the CPU; None where
            that call had no ``history``. A resumed run puts it back; a network that starts anew sets it to None.

    Raises:
        ValueError: A parameter of one of them is out of range.
    """

    def __init__(
        self,
        labeler: BaseLabeler,
        corrector: BaseCorrector | None = None,
        min_images: int = 1,
        leave_out_strangers: bool = True,
    ) -> None:
        for part in filter(None, (labeler, corrector)):
            part.check()
        self.labeler = labeler
        self.corrector = corrector
        self.min_images = min_images
        self.leave_out_strangers = leave_out_strangers
        self.earlier: Tensor | None = None
        if corrector is not None and hasattr(corrector, 'progress') and corrector.progress is None:
            corrector.progress = partial(tqdm, desc='correct labels', disable=None, leave=False)

    def __call__(
        self,
        extract: FeatureExtractor,
        network: nn.Module,
        correct: bool,
        keep_features: bool = False,
        reach: float = 1.0,
        history: float = 0.0,
    ) -> Labeling:
        """Label the images of an extractor.

        Args:
            extract: Extracts the features.
            network: The network that makes them.
            correct: Whether the labels are corrected.
            keep_features: Whether the pseudo labels carry the features (N, D).
            reach: See :class:`glc.core.neighbors.FeatureView`.
            history: Weight of what the labels of the last call were made of, see
                :func:`glc.core.labels.with_earlier_features`. Centroids are those of the new features.

        Raises:
            TooFewClustersError: The labeler found fewer than two clusters; the message says what to change.
            RuntimeError: Features are not finite.
            Exception: What labeler or corrector raise, except UnusableLabelsError.
        """
        timings = Timings()
        corrector = self.corrector if correct else None
        with timings.stage('extract'):
            features = extract(network)
        _check_finite(features, extract.dataset)
        view = recent = self._view(features, extract.dataset.cam_ids, corrector, reach)
        if history:
            if self.earlier is not None:
                view = recent.with_features(with_earlier_features(recent.features, self.earlier, history))
            self.earlier = view.features.half().cpu()
        else:
            self.earlier = None
        labels = self._timed(timings, 'label', self.labeler, lambda: self.labeler(view))
        result: list[Labeling | TooFewClustersError | None] = [None]
        if get_rank() == 0:
            try:
                result[0] = self._complete(view, recent, labels, corrector, timings)
            except TooFewClustersError as error:
                result[0] = error
        broadcast_object_list(result)
        if isinstance(result[0], TooFewClustersError):
            raise result[0]
        labeling = result[0]
        assert labeling is not None
        if not keep_features:
            return labeling
        return replace(labeling, pseudo=replace(labeling.pseudo, features=features))

    def _view(
        self, features: Tensor, cam_ids: np.ndarray, corrector: BaseCorrector | None, reach: float
    ) -> FeatureView[Tensor]:
        parts = [part for part in (self.labeler, corrector) if part is not None]
        return FeatureView(
            features,
            cam_ids,
            backend=self.labeler.backend,
            expected_k=max(part.expected_k for part in parts),
            workers=Workers.of_group(),
            reach=reach,
            leave_out_strangers=self.leave_out_strangers,
        )

    def _complete(
        self,
        view: FeatureView[Tensor],
        recent: FeatureView[Tensor],
        labels: Tensor,
        corrector: BaseCorrector | None,
        timings: Timings,
    ) -> Labeling:
        """Correct the labels; compute centroids of recent features. On the CPU: other processes have other devices."""
        final, problem = self._large(labels), None
        self._check_number(labels, final)
        if corrector is not None:
            try:
                final = self._corrected(view.alone(), labels, corrector, timings)
            except UnusableLabelsError as error:
                problem = str(error)
        centroids = unit_centroids(self.labeler.seen(recent).features, final)
        return Labeling(
            labels.cpu(),
            PseudoLabels(final.cpu(), centroids.cpu()),
            center_similarity(recent.features, final, centroids).cpu(),
            corrector is not None and problem is None,
            problem,
            dict(timings),
        )

    def _corrected(
        self, view: FeatureView[Tensor], labels: Tensor, corrector: BaseCorrector, timings: Timings
    ) -> Tensor:
        """Return corrected labels without small clusters; UnusableLabelsError says why the labels stay as they are."""
        corrected = self._timed(timings, 'correct', corrector, lambda: corrector.correct(view, labels))
        large = self._large(corrected)
        if int(large.max()) < 1:
            raise UnusableLabelsError(f'{corrector} left fewer than two clusters{self._of_enough_images}')
        return large

    def _large(self, labels: Tensor) -> Tensor:
        return compact_labels(labels, self.min_images)

    @property
    def _of_enough_images(self) -> str:
        return f' of {self.min_images} images and more' if self.min_images > 1 else ''

    def _check_number(self, labels: Tensor, large: Tensor) -> None:
        count = int(large.max()) + 1
        if count < 2:
            advice = 'lower min_images' if labels.max() >= 1 else self.labeler.advice(count)
            raise TooFewClustersError(
                f'{self.labeler} found {count} cluster{"s" * (count != 1)}{self._of_enough_images} and '
                f'{int((large < 0).sum())} outliers among {len(labels)} images; at least 2 clusters are needed'
                + (f': {advice}' if advice else '')
            )

    @staticmethod
    def _timed(
        timings: Timings, stage: str, part: BaseLabeler | BaseCorrector, step: Callable[[], Tensor]
    ) -> Tensor:
        """Run a step of a part, and take the seconds of its stages as well."""
        with timings.stage(stage):
            result = step()
        timings.update({f'{stage}/{name}': value for name, value in getattr(part, 'timings_', {}).items()})
        return result


def _check_finite(features: Tensor, dataset: BaseReIDDataset) -> None:
    bad = torch.nonzero(~torch.isfinite(features).all(1)).flatten()
    if len(bad):
        names = ', '.join(dataset.get_data_info(int(index))['img_path'] for index in bad[:3])
        raise RuntimeError(
            f'the features of {len(bad)} images are not finite ({names}): training diverged, lower the learning rate '
            'and resume from an earlier checkpoint'
        )
