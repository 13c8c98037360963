"""From images to features with names, and to search results."""

import copy
import hashlib
import re
from collections.abc import Iterator
from functools import cached_property
from itertools import islice
from numbers import Integral
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.config import Config
from mmengine.model import BaseModel

from glc.apis.build import load_config, prepare_config
from glc.apis.extract import extraction_loader
from glc.apis.features import ReIDFeatures, SearchResult
from glc.apis.gallery import Gallery
from glc.apis.images import ListedImage, ListedImages, list_images
from glc.checkpoints import load_checkpoint_file, load_model_checkpoint, recognize_layout, unwrap_state_dict
from glc.core.parameters import AT_LEAST_ONE, Interval, checked
from glc.datasets import BaseReIDDataset
from glc.datasets.image_folder import identities_and_cameras
from glc.engine import FeatureExtractor
from glc.engine.feature_extractor import deterministic_pipeline
from glc.registry import MODELS

__all__ = ['ReIDInferencer']

_MARKET_NAMES = r'(?:^|/)(?P<pid>-?\d+)_c(?P<cam>\d+)[^/]*$'
_BATCHES_AT_ONCE = 64  # of an iterator, which may be a long video
_BACKBONE_LAYOUTS = ('network', 'teacher')


class ReIDInferencer:
    """A network that makes features of images.

    Features are exactly those of ``tools/analysis_tools/extract_features.py`` for the same images in the same order.

    Args:
        config: Path of a config, name of one of the package (:func:`~glc.apis.find_config`), or a config.
        weights: Checkpoint of ours, published model, or published weights of the backbone alone. None takes those that
            training would start from, which the config names.
        device: Device of the network; None is a GPU where there is one, else the CPU.
        flip_test: Whether features are the normalized sum of those of an image and its mirror image; None leaves it to
            the config.
        options: Overrides of the config, dotted keys to values.

    Attributes:
        model: The network, in evaluation mode.
        pipeline: The transforms of an image.
        batch_size: Images per batch, as in the evaluation of the config, unless a call says otherwise.

    Raises:
        ConfigError: If the config is wrong.
        FileNotFoundError: If there is no such config, or no such weights; the message says how to get some.
        RuntimeError: If the weights do not fit the network.
        ValueError: If there are no weights, and the config names none.
    """

    def __init__(
        self,
        config: str | Path | Config,
        weights: str | Path | None = None,
        device: str | torch.device | None = None,
        *,
        flip_test: bool | None = None,
        options: dict[str, Any] | None = None,
    ) -> None:
        cfg = copy.deepcopy(config) if isinstance(config, Config) else load_config(config, options)
        if flip_test is not None:
            cfg.model.flip_test = flip_test
        prepare_config(cfg, training=False)
        self.pipeline = deterministic_pipeline(cfg)
        self.batch_size: int = extraction_loader(cfg).get('batch_size', 1)
        self.device = torch.device(device or ('cuda' if torch.cuda.is_available() else 'cpu'))
        self.model = _network(cfg, weights).to(self.device).eval()

    @cached_property
    def network(self) -> str:
        """Fingerprint of the weights: 16 digits, the same for the same weights on any machine."""
        digest = hashlib.sha256()
        for name, value in sorted(self.model.state_dict().items()):
            if not name.startswith('head.'):
                digest.update(f'{name} {value.dtype} {tuple(value.shape)}'.encode())
                digest.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
        return digest.hexdigest()[:16]

    @checked(batch_size=[*AT_LEAST_ONE, None], num_workers=[Interval(Integral, 0, None, closed='left')])
    def __call__(
        self,
        inputs: Any,
        *,
        batch_size: int | None = None,
        num_workers: int = 0,
        amp: bool = False,
        color: str = 'bgr',
        pattern: str | None = 'auto',
        unreadable: str = 'error',
        progress: bool = True,
        camera_norm: bool = False,
    ) -> ReIDFeatures:
        r"""Extract the features of images.

        Args:
            inputs: Images of any form, see :func:`~glc.apis.list_images`; an iterator, such as
                :func:`~glc.apis.video_crops`, is read and computed piece by piece. Or a data set with the pipeline
                that it is to have.
            batch_size: Images per batch. It changes features by rounding only.
            num_workers: Processes that load images.
            amp: Whether to compute in half precision (float16 on a GPU, bfloat16 on a CPU).
            color: Order of the channels in arrays and tensors, ``'bgr'`` (OpenCV) or ``'rgb'``. Files and PIL images
                know theirs.
            pattern: How the paths of files tell identities and cameras, a regular expression as of
                :class:`~glc.datasets.ImageFolderReID`. It is searched in the path below a folder, else in the whole
                path. ``'auto'`` takes names like those of Market-1501 (``0002_c1s1_000451_03.jpg``), if all files have
                such names; None takes nothing from paths.
            unreadable: 'error' stops at the first unreadable image and names it; 'skip' decodes every image once
                before, leaves out the unreadable ones, and logs their names.
            progress: Whether a terminal shows a bar.
            camera_norm: Whether BatchNorm layers normalize the images of every camera by their own statistics, which
                brings the images of a person in different cameras closer where the network was trained on other
                cameras (:class:`glc.engine.FeatureExtractor`). Features then depend on the other images of the call.

        Returns:
            Features (N, D), of unit length unless the neck says otherwise, with the names of the images, and
            :attr:`network`, followed by ``', camera_norm'`` where that was asked for.

        Raises:
            FileNotFoundError: If there is no such image.
            RuntimeError: If an image cannot be read.
            TypeError: If an input is no image.
            ValueError: If there is no image, an array is no image, the pattern does not match a path, or
                ``camera_norm`` has no BatchNorm layer, no camera of enough images, or an iterator.
        """

        def extracted(dataset: BaseReIDDataset) -> np.ndarray:
            extract = FeatureExtractor(
                dataset, batch_size or self.batch_size, num_workers, progress, amp, camera_norm=camera_norm
            )
            return extract(self.model).cpu().numpy()

        # A gallery then refuses features that were made in the other way.
        made_by = f'{self.network}, camera_norm' if camera_norm else self.network
        if isinstance(inputs, BaseReIDDataset):
            names = [inputs.get_data_info(index)['img_path'] for index in range(len(inputs))]
            return ReIDFeatures(extracted(inputs), names, inputs.pids, inputs.cam_ids, made_by)
        if camera_norm and isinstance(inputs, Iterator):
            raise ValueError('camera_norm measures cameras over all images: give it a list, not an iterator')
        pieces, images = [], list[ListedImage]()
        at_once = (batch_size or self.batch_size) * _BATCHES_AT_ONCE if isinstance(inputs, Iterator) else None
        listed = list_images(inputs, color)
        while piece := list(islice(listed, at_once)):
            cam_ids = _known(piece, pattern)[1]  # a wrong pattern is told before the work
            known = [image._replace(cam_id=cam) for image, cam in zip(piece, cam_ids.tolist(), strict=True)]
            dataset = ListedImages(known, self.pipeline, unreadable)
            if len(dataset):
                pieces.append(extracted(dataset))
            images += [_without_pixels(piece[position]) for position in dataset.positions]
        if not images:
            raise ValueError('there is no image, or none that can be read, to extract features of')
        pids, cam_ids = _known(images, pattern)
        return ReIDFeatures(np.concatenate(pieces), [image.name for image in images], pids, cam_ids, made_by)

    def search(self, query: Any, gallery: Any, topk: int = 10, **options: Any) -> SearchResult:
        """Find the most similar gallery images of every query.

        Args:
            query: Images, or their features.
            gallery: A :class:`~glc.apis.Gallery`, features, or images.
            topk: Images per query.
            **options: Keywords of the call, for images.

        Returns:
            Names and cosine similarities, the most similar first.

        Raises:
            ValueError: As the call, or if the gallery is of another network.
        """
        if not isinstance(gallery, Gallery):
            features = gallery if isinstance(gallery, ReIDFeatures) else self(gallery, **options)
            gallery = Gallery.of(features)
        return gallery.search(query if isinstance(query, ReIDFeatures) else self(query, **options), topk)


def _network(cfg: Config, weights: str | Path | None) -> BaseModel:
    """Build the network, and load a whole model or a backbone."""
    content = None if weights is None else load_checkpoint_file(weights)
    if weights is not None and _is_backbone(content):
        init_cfg = cfg.model.backbone.get('init_cfg') or {}
        cfg.model.backbone.init_cfg = {**init_cfg, 'type': 'Pretrained', 'checkpoint': str(weights)}
        weights = None
    model: BaseModel = MODELS.build(cfg.model)
    if weights is not None:
        load_model_checkpoint(model, weights, content=content)
    elif (cfg.model.backbone.get('init_cfg') or {}).get('type') == 'Pretrained':
        model._dump_init_info = lambda: None  # a list of all parameters, which says nothing here
        model.init_weights()
    else:
        raise ValueError(
            'the network of this config starts from random weights, whose features mean nothing: give weights=FILE, '
            'for instance a checkpoint of its training'
        )
    return model


def _is_backbone(content: Any) -> bool:
    try:
        return recognize_layout(unwrap_state_dict(content)) in _BACKBONE_LAYOUTS
    except RuntimeError:  # no weights at all, which the loading of a model says better
        return False


def _without_pixels(image: ListedImage) -> ListedImage:
    return image._replace(info={})


def _known(images: list[ListedImage], pattern: str | None) -> tuple[np.ndarray, np.ndarray]:
    """Identities and cameras (N,): of files by their paths, of others as given."""
    pids = np.array([image.pid for image in images], dtype=np.int64)
    cam_ids = np.array([image.cam_id for image in images], dtype=np.int64)
    places = {row: image.place for row, image in enumerate(images) if image.place is not None}
    if pattern == 'auto':
        pattern = _MARKET_NAMES if all(re.search(_MARKET_NAMES, place) for place in places.values()) else None
    if pattern is not None and places:
        rows = list(places)
        pids[rows], cam_ids[rows] = identities_and_cameras(list(places.values()), pattern)
    return pids, cam_ids
