"""The schedule of pseudo labels, and their assignment to model and sampler."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from mmengine.runner import Runner

from glc.core.correctors import BaseCorrector
from glc.core.labelers import BaseLabeler
from glc.core.labels import PseudoLabels
from glc.core.memories import BaseMemory
from glc.engine.checks import check_cameras, check_train_dataloader
from glc.engine.clusters import labelings_in, write_clusters, write_labeling
from glc.engine.console import DETAIL
from glc.engine.feature_extractor import FeatureExtractor, deterministic_pipeline
from glc.engine.labeling import LabelEngine, TooFewClustersError
from glc.engine.loop import batches_done
from glc.engine.unwrap import unwrap
from glc.registry import HOOKS, LABEL_CORRECTORS, PSEUDO_LABELERS

from .mean_teacher_hook import feature_network


@HOOKS.register_module()
class PseudoLabelHook(Hook):
    """Hook that gives model and sampler new pseudo labels at the start of training epochs.

    In an epoch that is due: features of all images with the test pipeline, labels from the labeler, corrected labels
    from the corrector, centroids. In every epoch the model's memory bank is reset to the current labels. Labels and
    centroids, and the features where the memory needs them, go into the checkpoint, since epochs that do not label
    need them after a resume. The memory bank itself goes into a checkpoint within an epoch only. With a
    :class:`MeanTeacherHook` the features are those of the teacher.

    The work is done by :class:`glc.engine.labeling.LabelEngine`. Ground truth, where the data set has it, is scored in
    the log and used for nothing else.

    Args:
        labeler: Labeler or its config in ``PSEUDO_LABELERS``.
        corrector: Corrector or its config in ``LABEL_CORRECTORS``; None trains on the labeler's labels.
        pipeline: Deterministic pipeline of the extraction; None takes that of the config's ``test_dataloader``,
            else its ``test_pipeline``.
        interval: Label every this many epochs.
        correct_begin: First 0-based epoch whose labels are corrected.
        correct_interval: From then on, correct the labels of every epoch divisible by this.
        frozen_epochs: 0-based epochs that keep the labels and centroids of the epoch before them.
        fallback: What happens where the labeler finds fewer than two clusters: ``'previous'`` keeps the labels of the
            last labeling, if there was one; ``'error'`` stops.
        batch_size: Images per batch of the extraction.
        num_workers: Worker processes of the extraction.
        save_clusters: Write every labeling to ``clusters.csv`` in the work dir, over the last one: the columns ``file``
            and ``cluster``, which is -1 for an outlier. And its labels before and after the correction to
            ``labels/epoch_N.npz`` (:func:`glc.engine.clusters.write_labeling`), from which pictures are made.
        min_images: Train on clusters of at least so many images; the images of smaller ones count as outliers. A small
            cluster is often a piece of a person, which the loss pushes away from the person's other images.
        reach: Factor on the neighborhoods of :class:`glc.core.labelers.AdaptiveConsensus`, and of the correctors that
            take its neighborhoods (:class:`glc.core.neighbors.FeatureView`). Or pairs ``(share, factor)``: a factor
            holds once this share of the epochs is done; before the first one it is 1.
        leave_out_strangers: Whether :class:`glc.core.labelers.AdaptiveConsensus`, and the correctors, leave alone
            images that belong to nobody else (:class:`glc.core.neighbors.FeatureView`). What is left out is not
            trained on.
        history: Weight of earlier features: labels are made of ``f = unit(features + history * f_before)``, where
            ``f_before`` are those of the labeling before (:func:`glc.core.labels.with_earlier_features`). Centroids are
            those of the new features. Or pairs as for ``reach``; before the first one it is 0. Checkpoints carry
            ``f_before`` in float16.
        amp: Whether the network of the extraction computes in half precision: bfloat16 on a CPU, float16 on a GPU.
        flip: Whether labels are made of images and their mirror images: features are the normalized sum of both. It
            doubles the time of an extraction. None takes ``flip_test`` of the model, which holds in tests too.
        camera_norm: Whether labels are made of features whose BatchNorm layers normalize the images of every camera by
            their own statistics (:class:`glc.engine.FeatureExtractor`); training and tests do not change.

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
        pipeline: Sequence[dict | Callable] | None = None,
        interval: int = 1,
        correct_begin: int = 0,
        correct_interval: int = 1,
        frozen_epochs: Sequence[int] = (),
        fallback: str = 'previous',
        batch_size: int = 256,
        num_workers: int = 2,
        save_clusters: bool = True,
        amp: bool = False,
        min_images: int = 1,
        reach: float | Sequence[tuple[float, float]] = 1.0,
        history: float | Sequence[tuple[float, float]] = 0.0,
        flip: bool | None = None,
        camera_norm: bool = False,
        leave_out_strangers: bool = True,
    ) -> None:
        if interval < 1 or correct_interval < 1:
            raise ValueError(f'intervals must be at least 1, got {interval} and {correct_interval}')
        if fallback not in ('previous', 'error'):
            raise ValueError(f"fallback must be 'previous' or 'error', got {fallback!r}")
        if min_images < 1:
            raise ValueError(f'min_images must be at least 1, got {min_images}')
        self.reach = _schedule(reach)
        if any(factor <= 0 or not 0 <= share <= 1 for share, factor in self.reach):
            raise ValueError(
                f'reach must be above 0, or pairs of a share in [0, 1] and such a factor, got {reach}'
            )
        self.history = _schedule(history)
        if any(not 0 <= weight < torch.inf or not 0 <= share <= 1 for share, weight in self.history):
            raise ValueError(
                f'history must be finite and at least 0, or pairs of a share in [0, 1] and such a weight, got {history}'
            )
        self.labeler: BaseLabeler = PSEUDO_LABELERS.build(labeler) if isinstance(labeler, dict) else labeler
        self.corrector: BaseCorrector | None = (
            LABEL_CORRECTORS.build(corrector) if isinstance(corrector, dict) else corrector
        )
        self._engine = LabelEngine(self.labeler, self.corrector, min_images, leave_out_strangers)
        self.pipeline = pipeline
        self.interval = interval
        self.correct_begin = correct_begin
        self.correct_interval = correct_interval
        self.frozen_epochs = frozenset(frozen_epochs)
        self.fallback = fallback
        self.batch_size = batch_size
        self.num_workers = num_workers
        self.save_clusters = save_clusters
        self.amp = amp
        self.flip = flip
        self.camera_norm = camera_norm
        self.pseudo: PseudoLabels | None = None
        # What the log has of the labeling of this epoch; empty where the labels were kept.
        self.report: dict[str, float] = {}
        self._epoch_end: list[int] = []
        self._bank: dict[str, torch.Tensor] = {}

    def labels_anew(self, epoch: int) -> bool:
        """Return whether this 0-based epoch extracts features and labels."""
        return epoch % self.interval == 0 and epoch not in self.frozen_epochs

    def corrects(self, epoch: int) -> bool:
        """Return whether this 0-based epoch corrects its labels."""
        due = epoch >= self.correct_begin and epoch % self.correct_interval == 0
        return due and self.labels_anew(epoch)

    def reach_at(self, epoch: int, epochs: int) -> float:
        """Return the factor on the neighborhoods in this 0-based epoch of so many."""
        return _at(self.reach, epoch, epochs, 1.0)

    def history_at(self, epoch: int, epochs: int) -> float:
        """Return the weight of earlier features in this 0-based epoch of so many."""
        return _at(self.history, epoch, epochs, 0.0)

    def forget_features(self) -> None:
        """Make the next labels of new features alone: the network has started anew."""
        self._engine.earlier = None

    def before_train(self, runner: Runner) -> None:
        """Check sampler and data set before any long work."""
        begun = batches_done(runner) > 0
        if runner.epoch == 0 and not begun:
            # load_from brings the labels of another run.
            self.pseudo = None
            self.labeler.load_state_dict({})
            self.forget_features()
        loader = runner.train_dataloader
        check_train_dataloader(loader)
        check_cameras(unwrap(runner.model).memory, loader.dataset)
        pipeline = self.pipeline or deterministic_pipeline(runner.cfg)
        dataset = loader.dataset.with_pipeline(pipeline)
        self._extract = FeatureExtractor(
            dataset,
            self.batch_size,
            self.num_workers,
            amp=self.amp,
            flip=self.flip,
            camera_norm=self.camera_norm,
        )
        if self.pseudo is not None and len(self.pseudo.labels) != len(dataset):
            raise ValueError(
                f'the checkpoint holds pseudo labels of {len(self.pseudo.labels)} images, '
                f'the training set has {len(dataset)}: resume with the data set of the run'
            )
        if self.save_clusters and is_main_process():
            for epoch, path in labelings_in(runner.work_dir).items():
                if epoch > runner.epoch + begun:  # of another run, or made again
                    path.unlink(missing_ok=True)

    def before_train_epoch(self, runner: Runner) -> None:
        """Label if this epoch is due; assign the labels to model and sampler."""
        self.report = {}
        begun = batches_done(runner)
        if self.pseudo is None or (self.labels_anew(runner.epoch) and not begun):
            self.pseudo = self._label(runner)
        cam_ids = torch.from_numpy(runner.train_dataloader.dataset.cam_ids)
        for receiver in (unwrap(runner.model), runner.train_dataloader.sampler):
            receiver.assign_pseudo_labels(replace(self.pseudo, cam_ids=cam_ids))
        if begun:
            self._fill(unwrap(runner.model).memory)
        self._epoch_end = [runner.epoch + 1, runner.iter - begun + len(runner.train_dataloader)]

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Carry labels, centroids, features if the memory needs them, the labeler's state, and where the epoch ends."""
        if self.pseudo is not None:
            checkpoint['meta']['epoch_end'] = self._epoch_end  # those done at its end
            parts = {name: getattr(self.pseudo, name) for name in ('labels', 'centroids', 'features')}
            checkpoint['pseudo_labels'] = {name: part for name, part in parts.items() if part is not None}
            checkpoint['labeler'] = self.labeler.state_dict()
            if self._engine.earlier is not None:
                checkpoint['earlier_features'] = self._engine.earlier
            if 'within_epoch' in checkpoint['meta']:
                bank = unwrap(runner.model).memory.named_buffers()
                checkpoint['memory'] = {name: value.cpu() for name, value in bank}

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Take what a run that is being resumed carried."""
        self.labeler.load_state_dict(checkpoint.get('labeler', {}))
        self._engine.earlier = checkpoint.get('earlier_features')
        self._bank = checkpoint.get('memory', {})
        if 'pseudo_labels' in checkpoint:
            self.pseudo = PseudoLabels(
                **{name: value.cpu() for name, value in checkpoint['pseudo_labels'].items()}
            )

    def _fill(self, memory: BaseMemory) -> None:
        """Put the memory bank back to where it was within the epoch."""
        bank = dict(memory.named_buffers())
        found, stored = (
            {name: tuple(value.shape) for name, value in part.items()} for part in (bank, self._bank)
        )
        if found != stored:
            raise RuntimeError(
                f'the checkpoint was written within an epoch, with another memory bank: {stored} in the checkpoint, '
                f'{found} in this run. Take the memory of the checkpoint (model.head.memory)'
            )
        for name, value in bank.items():
            value.copy_(self._bank[name])
        self._bank = {}

    def _label(self, runner: Runner) -> PseudoLabels:
        """Make new pseudo labels, the same on every process, or keep those of the last labeling."""
        reach, history = (at(runner.epoch, runner.max_epochs) for at in (self.reach_at, self.history_at))
        try:
            labeling = self._engine(
                self._extract,
                feature_network(runner),
                self.corrects(runner.epoch),
                'features' in _needs(runner),
                reach,
                history,
            )
        except TooFewClustersError as error:
            if self.fallback == 'error' or self.pseudo is None:
                raise TooFewClustersError(f'epoch {runner.epoch + 1}: {error}') from error
            runner.logger.warning(
                f'Epoch {runner.epoch + 1}: {error}. Keeping the labels of the last labeling'
            )
            return self.pseudo
        if labeling.problem:
            runner.logger.warning(f'Epoch {runner.epoch + 1}: labels not corrected: {labeling.problem}')
        lines, scalars = labeling.report(self.pseudo, runner.train_dataloader.dataset.pids)
        self.report = scalars = {**scalars, 'reach': reach}
        for line in lines:
            runner.logger.info(f'Epoch {runner.epoch + 1} {line}', extra=DETAIL)
        runner.visualizer.add_scalars(
            {f'pseudo_labels/{name}': value for name, value in scalars.items()}, step=runner.epoch
        )
        if self.save_clusters and is_main_process():
            write_labeling(
                runner.work_dir,
                runner.epoch + 1,
                labeling.labels.numpy(),
                labeling.pseudo.labels.numpy() if labeling.corrected else None,
                labeling.certainty.numpy(),
            )
            dataset = self._extract.dataset
            files = (dataset.get_data_info(index)['img_path'] for index in range(len(dataset)))
            write_clusters(Path(runner.work_dir, 'clusters.csv'), files, labeling.pseudo.labels.tolist())
        return labeling.pseudo


def _schedule(value: float | Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Return the pairs of a share of the epochs and the number that holds from then on, by rising share."""
    return sorted([(0.0, value)] if isinstance(value, int | float) else [(a, b) for a, b in value])


def _at(schedule: list[tuple[float, float]], epoch: int, epochs: int, before: float) -> float:
    """Return what holds in this 0-based epoch of so many; ``before`` the first pair."""
    return next((value for share, value in reversed(schedule) if share * epochs <= epoch + 1e-9), before)


def _needs(runner: Runner) -> tuple[str, ...]:
    """Return what the memory bank needs at a labeling."""
    return unwrap(runner.model).memory.needs
