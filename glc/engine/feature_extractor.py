"""Features of a whole data set, in the order of its samples."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from itertools import islice
from typing import Any

import torch
from mmengine.config import Config
from mmengine.dist import all_reduce, get_dist_info
from torch import Tensor, nn
from torch.utils.data import DataLoader
from tqdm import tqdm

from glc.datasets import BaseReIDDataset, pipeline_of
from glc.datasets.collate import stack_images
from glc.engine.unwrap import unwrap
from glc.engine.workers import ended_with_the_run
from glc.models.layers import CameraStatistics
from glc.models.reid import features_for_test

_MEASURED_IMAGES = 1024  # of a camera
_MEASURED_BATCH = 64


class FeatureExtractor:
    """Extractor of the unit features of all images of a data set.

    Every process takes whole batches, and the batches are the same for any number of processes. So the features are the
    same, too. They are written by ``sample_idx``, never by order of arrival.

    Args:
        dataset: Data set with a deterministic (test) pipeline.
        batch_size: Images per batch.
        num_workers: Worker processes that load images, per training process.
        progress: Whether a terminal shows a bar.
        amp: Whether the network computes in half precision: bfloat16 on a CPU, float16 on a GPU.
        flip: Whether features are the normalized sum of those of an image and of its mirror image; None takes
            ``flip_test`` of the model.
        camera_norm: Whether BatchNorm layers normalize the images of every camera by their own statistics
            (:class:`glc.models.layers.CameraStatistics`). They are measured first, on up to 1,024 images of each camera
            drawn at random, in batches of 64. A camera of fewer than 64 images, or an unknown one, takes the statistics
            of the network.

    Raises:
        ValueError: With ``camera_norm``, no camera has 64 images.
    """

    def __init__(
        self,
        dataset: BaseReIDDataset,
        batch_size: int = 256,
        num_workers: int = 2,
        progress: bool = True,
        amp: bool = False,
        flip: bool | None = None,
        camera_norm: bool = False,
    ) -> None:
        self.dataset = dataset
        self.progress = progress
        self.amp = amp
        self.flip = flip
        rank, world_size = get_dist_info()
        measured: list[Tensor] = []
        batches: Sequence[Tensor] = torch.arange(len(dataset)).split(batch_size)
        self._cameras = None
        if camera_norm:
            self._cameras, by_camera = _by_camera(dataset)
            measured = _drawn(by_camera)
            batches = [batch for images in by_camera if len(images) for batch in images.split(batch_size)]
        measured = measured[rank::world_size]
        self._num_measured = len(measured)
        self._loader = ended_with_the_run(
            DataLoader(
                dataset,
                batch_sampler=[batch.tolist() for batch in (*measured, *batches[rank::world_size])],
                num_workers=num_workers,
                collate_fn=stack_images,
                persistent_workers=num_workers > 0,  # an extraction in every epoch
                pin_memory=torch.cuda.is_available(),
                generator=torch.Generator(),  # a start of workers takes a number: not from the training's
            )
        )

    @torch.no_grad()
    def __call__(self, model: nn.Module) -> Tensor:
        """Extract unit features (N, D) float32 on the device of the model, complete on every process.

        The random state stays as it is, whether or not workers have to be started.

        Args:
            model: Algorithm with ``data_preprocessor`` and ``extract_feat``, wrapped for distributed training or not;
                it is put into evaluation mode and back.
        """
        network = unwrap(model)
        was_training = network.training
        network.eval()
        device = network.data_preprocessor.device
        indices, features = [], []
        quiet = True if get_dist_info()[0] or not self.progress else None  # None: a bar on a terminal only
        batches = iter(tqdm(self._loader, desc='extract features', disable=quiet, leave=False))
        try:
            with self._normalized(network, batches) as normalize:
                for batch in batches:
                    normalize(batch)
                    features.append(self._features(network, batch))
                    indices += [sample.sample_idx for sample in batch['data_samples']]
        finally:
            network.train(was_training)
        dim = torch.tensor(features[0].shape[1] if features else 0)
        all_reduce(dim, op='max')  # a process without a batch does not know D
        table = torch.zeros(len(self.dataset), int(dim), device=device)
        if features:
            table[torch.tensor(indices)] = torch.cat(features)
        all_reduce(table, op='sum')
        return table

    def _features(self, network: Any, batch: dict) -> Tensor:
        batch = network.data_preprocessor(batch, False)
        device = batch['inputs'].device.type
        half = torch.bfloat16 if device == 'cpu' else torch.float16
        with torch.autocast(device, half) if self.amp else nullcontext():
            return features_for_test(network, batch['inputs'], batch['data_samples'], self.flip).float()

    @contextmanager
    def _normalized(self, network: Any, batches: Iterator[dict]) -> Iterator[Callable[[dict], None]]:
        """Measure the cameras with the first batches; yield what has a batch normalized as its camera."""
        if self._cameras is None:
            yield lambda batch: None
            return
        cameras = self._cameras
        statistics = CameraStatistics(network, int(cameras.max()) + 1)

        def camera_of(batch: dict) -> int:
            return int(cameras[batch['data_samples'][0].sample_idx])

        with statistics.restored():
            for batch in islice(batches, self._num_measured):
                with statistics.measuring(camera_of(batch)):
                    self._features(network, batch)
            _share(statistics)
            yield lambda batch: statistics.take(camera_of(batch))


@torch.no_grad()
def measure_cameras(
    network: Any, dataset: BaseReIDDataset, num_workers: int = 0
) -> tuple[CameraStatistics, dict[int, int]]:
    """Measure the statistics of the cameras of a data set, on up to 1,024 images of each that are drawn at random.

    Args:
        network: Algorithm with ``data_preprocessor`` and ``extract_feat``; it is put into evaluation mode and back.
        dataset: Images with a deterministic pipeline.
        num_workers: Processes that load images.

    Returns:
        The statistics, complete on every process, and the number of each ``cam_id`` in them.

    Raises:
        ValueError: No camera has 64 images, or no layer has running statistics.
    """
    numbers, by_camera = _by_camera(dataset)
    drawn = _drawn(by_camera)
    statistics = CameraStatistics(network, len(by_camera) - 1)
    rank, world_size = get_dist_info()
    batches = [batch.tolist() for batch in drawn[rank::world_size]]
    loader: DataLoader = DataLoader(
        dataset,
        batch_sampler=batches,
        num_workers=num_workers,
        collate_fn=stack_images,
        generator=torch.Generator(),
    )
    was_training = network.training
    network.eval()
    try:
        with statistics.restored():
            for images, batch in zip(batches, loader, strict=True):
                batch = network.data_preprocessor(batch, False)
                with statistics.measuring(int(numbers[images[0]])):
                    features_for_test(network, batch['inputs'], batch['data_samples'])
    finally:
        network.train(was_training)
    _share(statistics)
    known = [(int(dataset.cam_ids[images[0]]), number) for number, images in enumerate(by_camera[1:])]
    return statistics, dict(known)


def _share(statistics: CameraStatistics) -> None:
    for part in (statistics.sums, statistics.counts):
        all_reduce(part, op='sum')


def _by_camera(dataset: BaseReIDDataset) -> tuple[Tensor, Sequence[Tensor]]:
    """Number the known cameras from 0, -1 is unknown: number of each image, images of -1, of 0, and so on."""
    cam_ids = torch.from_numpy(dataset.cam_ids)
    known = cam_ids >= 0
    numbers = torch.full_like(cam_ids, -1)
    numbers[known] = cam_ids[known].unique(return_inverse=True)[1]
    return numbers, numbers.argsort(stable=True).split((numbers + 1).bincount().tolist())


def _drawn(by_camera: Sequence[Tensor]) -> list[Tensor]:
    """Draw whole batches of the images of every known camera at random.

    Raises:
        ValueError: No camera has enough for one.
    """
    drawn: list[Tensor] = []
    for images in by_camera[1:]:
        order = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))
        count = min(len(images), _MEASURED_IMAGES) // _MEASURED_BATCH
        drawn += images[order[: count * _MEASURED_BATCH]].split(_MEASURED_BATCH) if count else ()
    if not drawn:
        raise ValueError(
            f'camera_norm: no camera has {_MEASURED_BATCH} images, from which the statistics of its images are '
            'measured. Are the cameras known? Leave camera_norm=False where they are few'
        )
    return drawn


def deterministic_pipeline(cfg: Config) -> Sequence:
    """Return the pipeline for the features of a config's images.

    It is that of ``test_dataloader``, else of ``val_dataloader``, else of a hook, else ``test_pipeline``.

    Raises:
        ValueError: If the config has none of them.
    """
    loaders = (cfg.get(f'{stage}_dataloader') for stage in ('test', 'val'))
    hooks = [*(cfg.get('default_hooks') or {}).values(), *(cfg.get('custom_hooks') or ())]
    pipelines = [pipeline_of(loader.dataset) for loader in loaders if loader]
    pipelines += [hook.get('pipeline') for hook in hooks if isinstance(hook, dict)]
    for pipeline in (*pipelines, cfg.get('test_pipeline')):
        if pipeline:
            return pipeline
    raise ValueError(
        'the config has no pipeline for features: set test_pipeline (a list of transforms without augmentation), '
        'test_dataloader.dataset.pipeline, or default_hooks.pseudo_label.pipeline'
    )
