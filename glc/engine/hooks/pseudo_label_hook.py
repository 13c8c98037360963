"""The schedule of pseudo labels: extract, label, correct, assign."""

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

import numpy as np
import torch
from mmengine.dist import broadcast_object_list, get_rank, get_world_size
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner
from torch import Tensor, nn
from torch.utils.data import DataLoader
from tqdm import tqdm

from glc.core.clustering import BaseLabeler
from glc.core.correction import BaseCorrector
from glc.core.evaluation import label_change, label_quality
from glc.core.labels import PseudoLabels
from glc.core.sharding import shared_work
from glc.engine.feature_extractor import FeatureExtractor
from glc.registry import HOOKS, LABEL_CORRECTORS, PSEUDO_LABELERS

from .mean_teacher_hook import feature_network


def check_train_dataloader(loader: DataLoader) -> None:
    """Whether a training loader batches by labels, in batches of the sampler's size.

    Raises:
        TypeError: If the sampler takes no labels.
        ValueError: If the batch size is not the sampler's.
    """
    if not hasattr(loader.sampler, 'assign_pseudo_labels'):
        raise TypeError(f'{type(loader.sampler).__name__} takes no pseudo labels: use PseudoIdentitySampler')
    if loader.batch_size != loader.sampler.batch_size:
        raise ValueError(
            f'train_dataloader.batch_size is {loader.batch_size}, the sampler gives batches of '
            f'{loader.sampler.batch_size} to each of {get_world_size()} processes: set batch_size to '
            'num_ids x num_instances (divided by the number of processes where the Runner is built by hand)'
        )


@HOOKS.register_module()
class PseudoLabelHook(Hook):
    """Gives model and sampler new pseudo labels at the start of training epochs.

    In an epoch that is due: features of all images with the test pipeline, labels from the labeler, corrected labels
    from the corrector, centroids. In every epoch the model's memory bank is reset to the current labels. Labels and
    centroids, and the features where the memory needs them, go into the checkpoint, since epochs that do not label
    need them after a resume. With a :class:`MeanTeacherHook` the features are those of the teacher.

    All processes share the work of the labeler (:func:`glc.core.sharding.shared_work`); one corrects, and the others
    take its result or its error. Ground truth, where the data set has it, is
    scored in the log and used for nothing else.

    Args:
        labeler: Labeler or its config in ``PSEUDO_LABELERS``.
        corrector: Corrector or its config in ``LABEL_CORRECTORS``; None trains on the labeler's labels.
        pipeline: Deterministic pipeline of the extraction; None takes that of the config's ``test_dataloader``.
        interval: Label every this many epochs.
        correct_begin: First 0-based epoch whose labels are corrected.
        correct_interval: From then on, correct the labels of every epoch divisible by this.
        frozen_epochs: 0-based epochs that keep the labels and centroids of the epoch before them.
        fallback: What happens where the labeler finds fewer than two clusters: ``'previous'`` keeps the labels of the
            last labelling, if there was one; ``'error'`` stops.
        batch_size: Images per batch of the extraction.
        num_workers: Worker processes of the extraction.

    Example:
        >>> hook = PseudoLabelHook(labeler=dict(type='JaccardDBSCAN', eps=0.6), correct_begin=10, correct_interval=5)
        >>> [epoch for epoch in range(30) if hook.corrects(epoch)]
        [10, 15, 20, 25]
    """

    priority = 'ABOVE_NORMAL'

    def __init__(
        self,
        labeler: dict | BaseLabeler,
        corrector: dict | BaseCorrector | None = None,
        pipeline: list | None = None,
        interval: int = 1,
        correct_begin: int = 0,
        correct_interval: int = 1,
        frozen_epochs: Sequence[int] = (),
        fallback: str = 'previous',
        batch_size: int = 256,
        num_workers: int = 2,
    ) -> None:
        if interval < 1 or correct_interval < 1:
            raise ValueError(f'intervals must be at least 1, got {interval} and {correct_interval}')
        if fallback not in ('previous', 'error'):
            raise ValueError(f"fallback must be 'previous' or 'error', got {fallback!r}")
        self.labeler: BaseLabeler = PSEUDO_LABELERS.build(labeler) if isinstance(labeler, dict) else labeler
        self.corrector: BaseCorrector | None = (
            LABEL_CORRECTORS.build(corrector) if isinstance(corrector, dict) else corrector
        )
        if getattr(self.corrector, 'progress', ...) is None:
            self.corrector.progress = partial(tqdm, desc='correct labels', disable=None, leave=False)
        self.pipeline = pipeline
        self.interval = interval
        self.correct_begin = correct_begin
        self.correct_interval = correct_interval
        self.frozen_epochs = frozenset(frozen_epochs)
        self.fallback = fallback
        self.batch_size = batch_size
        self.num_workers = num_workers
        self.pseudo: PseudoLabels | None = None

    def labels_anew(self, epoch: int) -> bool:
        """Whether this 0-based epoch extracts features and labels."""
        return epoch % self.interval == 0 and epoch not in self.frozen_epochs

    def corrects(self, epoch: int) -> bool:
        """Whether this 0-based epoch corrects its labels."""
        due = epoch >= self.correct_begin and epoch % self.correct_interval == 0
        return due and self.labels_anew(epoch)

    def before_train(self, runner: Runner) -> None:
        """Check sampler and data set before any long work."""
        if runner.epoch == 0:
            # load_from brings the labels of another run.
            self.pseudo = None
            self.labeler.load_state_dict({})
        loader = runner.train_dataloader
        check_train_dataloader(loader)
        self._check_cameras(runner)
        pipeline = self.pipeline
        if pipeline is None:
            test_loader = runner.cfg.get('test_dataloader') or runner.cfg.get('val_dataloader')
            if test_loader is None:
                raise ValueError('PseudoLabelHook needs a pipeline where the config has no test_dataloader')
            pipeline = test_loader.dataset.pipeline
        dataset = loader.dataset.with_pipeline(pipeline)
        self._extract = FeatureExtractor(dataset, self.batch_size, self.num_workers)
        if self.pseudo is not None and len(self.pseudo.labels) != len(dataset):
            raise ValueError(
                f'the checkpoint holds pseudo labels of {len(self.pseudo.labels)} images, '
                f'the training set has {len(dataset)}: resume with the data set of the run'
            )

    def before_train_epoch(self, runner: Runner) -> None:
        """Label if this epoch is due; assign the labels to model and sampler."""
        if self.labels_anew(runner.epoch) or self.pseudo is None:
            self.pseudo = self._label(runner)
        cam_ids = torch.from_numpy(runner.train_dataloader.dataset.cam_ids)
        for receiver in (_unwrap(runner), runner.train_dataloader.sampler):
            receiver.assign_pseudo_labels(replace(self.pseudo, cam_ids=cam_ids))

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Carry labels, centroids, features if the memory needs them, and the state of the labeler."""
        if self.pseudo is not None:
            parts = {name: getattr(self.pseudo, name) for name in ('labels', 'centroids', 'features')}
            checkpoint['pseudo_labels'] = {name: part for name, part in parts.items() if part is not None}
            checkpoint['labeler'] = self.labeler.state_dict()

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Take what a run that is being resumed carried."""
        self.labeler.load_state_dict(checkpoint.get('labeler', {}))
        if 'pseudo_labels' in checkpoint:
            self.pseudo = PseudoLabels(
                **{name: value.cpu() for name, value in checkpoint['pseudo_labels'].items()}
            )

    def _label(self, runner: Runner) -> PseudoLabels:
        """New pseudo labels, the same on every process."""
        start = time.perf_counter()
        features = self._extract(feature_network(runner))
        seconds = {'extract': time.perf_counter() - start}
        try:
            self._check_features(runner, features)
            with shared_work():
                labels = self._timed(
                    seconds, 'label', self.labeler, features, cam_ids=runner.train_dataloader.dataset.cam_ids
                )
        except Exception as error:
            labels = error
        result: list[PseudoLabels | Exception | None] = [None]
        if get_rank() == 0:
            try:
                result[0] = self._make_labels(runner, features, labels, seconds)
            except Exception as error:
                result[0] = error
        broadcast_object_list(result)
        for outcome in (labels, result[0]):
            if isinstance(outcome, Exception):
                raise outcome
        if result[0] is None:
            assert self.pseudo is not None
            return self.pseudo
        assert isinstance(result[0], PseudoLabels)
        return replace(result[0], features=features) if 'features' in _needs(runner) else result[0]

    @staticmethod
    def _check_cameras(runner: Runner) -> None:
        unknown = int((runner.train_dataloader.dataset.cam_ids < 0).sum())
        if unknown and 'cam_ids' in _needs(runner):
            raise ValueError(
                f'{type(_unwrap(runner).memory).__name__} needs the camera of every image, {unknown} of '
                f'{len(runner.train_dataloader.dataset)} training images have none: set '
                "train_dataloader.dataset.pattern of ImageFolderReID, with a group 'cam', or take a memory without "
                'cameras (model.head.memory.type=ClusterMemory)'
            )

    @staticmethod
    def _check_features(runner: Runner, features: Tensor) -> None:
        dataset = runner.train_dataloader.dataset
        bad = torch.nonzero(~torch.isfinite(features).all(1)).flatten()
        if len(bad):
            names = ', '.join(dataset.get_data_info(int(index))['img_path'] for index in bad[:3])
            raise RuntimeError(
                f'epoch {runner.epoch}: the features of {len(bad)} images are not finite ({names}): training diverged, '
                'lower the learning rate and resume from an earlier checkpoint'
            )

    def _make_labels(
        self, runner: Runner, features: Tensor, labels: Tensor | Exception, seconds: dict[str, float]
    ) -> PseudoLabels | None:
        """Pseudo labels; None keeps those of the last labelling."""
        if isinstance(labels, Exception):
            raise labels
        count = int(labels.max()) + 1
        if count < 2:
            problem = (
                f'epoch {runner.epoch}: {self.labeler} found {count} cluster{"s" * (count != 1)} and '
                f'{int((labels < 0).sum())} outliers among {len(labels)} images; at least 2 clusters are needed. '
                + ('Raise eps or lower min_samples' if count == 0 else 'Lower eps')
            )
            if self.fallback == 'error' or self.pseudo is None:
                raise RuntimeError(problem)
            runner.logger.warning(f'{problem}. Keeping the labels of the last labelling')
            return None
        corrected = (
            self._correct(runner, features, labels, seconds) if self.corrects(runner.epoch) else labels
        )
        pseudo = PseudoLabels.from_features(features, corrected)
        pseudo = PseudoLabels(
            pseudo.labels.cpu(), pseudo.centroids.cpu()
        )  # other processes have other devices
        self._log(runner, labels.cpu(), pseudo, seconds)
        return pseudo

    def _correct(self, runner: Runner, features: Tensor, labels: Tensor, seconds: dict[str, float]) -> Tensor:
        """Corrected labels, or the labels themselves where the corrector cannot help."""
        if self.corrector is None:
            return labels
        cam_ids = runner.train_dataloader.dataset.cam_ids
        try:
            corrected = self._timed(seconds, 'correct', self.corrector, features, labels, cam_ids=cam_ids)
        except ValueError as error:
            runner.logger.warning(f'Epoch {runner.epoch}: labels not corrected: {error}')
            return labels
        if int(corrected.max()) < 1:
            runner.logger.warning(
                f'Epoch {runner.epoch}: labels not corrected: {self.corrector} left fewer than two clusters'
            )
            return labels
        return corrected

    @staticmethod
    def _timed(
        seconds: dict[str, float], stage: str, step: Callable[..., Tensor], *args: Tensor, **kwargs
    ) -> Tensor:
        start = time.perf_counter()
        result = step(*args, **kwargs)
        seconds[stage] = time.perf_counter() - start
        seconds.update({f'{stage}/{name}': value for name, value in getattr(step, 'timings_', {}).items()})
        return result

    def _log(self, runner: Runner, labels: Tensor, pseudo: PseudoLabels, seconds: dict[str, float]) -> None:
        """Log statistics of the labels and, where there is ground truth, their scores."""
        kept = pseudo.labels[pseudo.labels >= 0]
        sizes = torch.bincount(kept)
        quantiles = torch.quantile(sizes.double(), torch.tensor([0, 0.25, 0.5, 0.75, 1], dtype=torch.double))
        outliers = len(pseudo.labels) - len(kept)
        scalars = {'clusters': pseudo.num_clusters, 'outliers': outliers, 'median_size': float(quantiles[2])}
        line = (
            f'Epoch {runner.epoch} pseudo labels: {pseudo.num_clusters} clusters, {outliers} outliers '
            f'({outliers / len(pseudo.labels):.1%}), sizes min/25%/50%/75%/max '
            + '/'.join(f'{value:.0f}' for value in quantiles.tolist())
        )
        if self.pseudo is not None:
            scalars['change'] = label_change(self.pseudo.labels, pseudo.labels)
            line += f', change {scalars["change"]:.3f}'
        runner.logger.info(
            f'{line} | seconds: ' + ', '.join(f'{name} {value:.1f}' for name, value in seconds.items())
        )
        scalars.update({f'seconds/{name}': value for name, value in seconds.items()})

        truth = runner.train_dataloader.dataset.pids
        known = truth >= 0
        if known.any():
            parts = []
            stages = (
                {'labels': labels, 'corrected': pseudo.labels} if 'correct' in seconds else {'labels': labels}
            )
            for stage, stage_labels in stages.items():
                scores = label_quality(np.asarray(stage_labels)[known], truth[known])
                scalars.update({f'{stage}/{name}': value for name, value in scores.items()})
                parts.append(
                    f'{stage}: '
                    + ', '.join(
                        f'{name} P/R/F '
                        + '/'.join(f'{scores[f"{name}_{part}"]:.3f}' for part in ('precision', 'recall', 'f'))
                        for name in ('pairwise', 'bcubed')
                    )
                )
            runner.logger.info(
                f'Epoch {runner.epoch} scores against ground truth (log only) {" | ".join(parts)}'
            )
        runner.visualizer.add_scalars(
            {f'pseudo_labels/{name}': value for name, value in scalars.items()}, step=runner.epoch
        )


def _unwrap(runner: Runner) -> nn.Module:
    return runner.model.module if is_model_wrapper(runner.model) else runner.model


def _needs(runner: Runner) -> tuple[str, ...]:
    """What the memory bank needs at a labelling."""
    return _unwrap(runner).memory.needs
