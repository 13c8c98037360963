"""Exported files: what their inputs are, and running them."""

import json
from dataclasses import asdict, dataclass
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from mmengine.model import BaseModel
from torch import Tensor

from glc.models.data_preprocessor import ReIDDataPreprocessor

__all__ = ['ExportedNetwork', 'ExportedReID', 'InputFormat', 'optional_package']

_METADATA = 'metadata.json'  # within a file of torch.export


def optional_package(name: str) -> ModuleType:
    """Import a package that only exports need.

    Raises:
        ImportError: It is not installed. The message names the command that installs it.
    """
    try:
        return import_module(name)
    except ImportError as error:
        raise ImportError(
            f'{name} cannot be imported ({error}). Exports need it: pip install onnx onnxruntime onnxscript'
        ) from error


@dataclass(frozen=True)
class InputFormat:
    """What the images of a network look like, (B, 3, height, width).

    Attributes:
        height: Height in pixels.
        width: Width in pixels.
        channels: ``'rgb'`` or ``'bgr'``, the order of the channels.
        mean: Mean of each channel, in the order of ``channels``, on the 0-255 scale.
        std: Standard deviation, likewise.
        normalize_inside: Whether the network takes uint8 pixels and normalizes them itself. Otherwise it takes float32
            images, ``(pixels - mean) / std``.
        batch: Number of images that the network takes at once; None: any.
    """

    height: int
    width: int
    channels: str
    mean: tuple[float, ...]
    std: tuple[float, ...]
    normalize_inside: bool = False
    batch: int | None = None

    @property
    def dtype(self) -> torch.dtype:
        """Type of the images."""
        return torch.uint8 if self.normalize_inside else torch.float32

    def preprocessor(self) -> ReIDDataPreprocessor:
        """Build what turns batches of a pipeline (uint8, BGR) into inputs."""
        mean, std = ((0.0,) * 3, (1.0,) * 3) if self.normalize_inside else (self.mean, self.std)
        return ReIDDataPreprocessor(mean, std, bgr_to_rgb=self.channels == 'rgb')

    def inputs(self, pixels: Tensor) -> Tensor:
        """Turn pixels (B, 3, height, width) of a pipeline, BGR from 0 to 255, into inputs."""
        inputs: Tensor = self.preprocessor()({'inputs': pixels})['inputs']
        return inputs.to(self.dtype)


class ExportedNetwork:
    """A file of ``tools/deployment/export.py``, run on the CPU.

    Args:
        path: File of ONNX (``.onnx``) or of torch.export (``.pt2``). Open only files of torch.export that you trust:
            torch may run code that is in them.

    Attributes:
        metadata: What the file says of itself.
        format: The format of its inputs, from its metadata.

    Raises:
        FileNotFoundError: There is no such file.
        ImportError: An ONNX file is opened without onnxruntime.
        ValueError: The file does not have our metadata.
    """

    def __init__(self, path: str | Path) -> None:
        if not Path(path).is_file():
            raise FileNotFoundError(f"'{Path(path).absolute()}' does not exist")
        self._session: Any = None
        if Path(path).suffix == '.onnx':
            self._session = _session(path)
            texts = self._session.get_modelmeta().custom_metadata_map
        else:
            files = {_METADATA: ''}
            self._module = torch.export.load(path, extra_files=files).module()
            texts = json.loads(files[_METADATA] or '{}')
        if 'glc_version' not in texts:
            raise ValueError(
                f"'{Path(path).absolute()}' has no metadata of glc: write it with tools/deployment/export.py"
            )
        self.metadata = {key: json.loads(text) for key, text in texts.items()}
        values = {key: self.metadata[key] for key in InputFormat.__dataclass_fields__}
        self.format = InputFormat(**{**values, 'mean': tuple(values['mean']), 'std': tuple(values['std'])})

    @torch.no_grad()
    def __call__(self, images: Tensor) -> Tensor:
        """Extract features (B, D) float32 of images (B, 3, height, width) in the format of the inputs, of any type."""
        images, size = images.to(self.format.dtype), self.format.batch
        if size is None:
            return self._run(images)
        parts = images.split(size)
        rows = [
            self._run(torch.cat([part, part.new_zeros(size - len(part), *part.shape[1:])])) for part in parts
        ]
        return torch.cat(rows)[: len(images)]

    def _run(self, images: Tensor) -> Tensor:
        if self._session is None:
            return self._module(images)
        return torch.from_numpy(self._session.run(None, {'images': np.ascontiguousarray(images.numpy())})[0])


class ExportedReID(BaseModel):
    """An exported file in the place of a network: it takes the batches of the pipeline and gives predictions.

    Args:
        network: The file.
    """

    def __init__(self, network: ExportedNetwork) -> None:
        super().__init__(network.format.preprocessor())
        self.network = network

    def forward(
        self, inputs: Tensor, data_samples: list | None = None, mode: str = 'tensor'
    ) -> Tensor | list:
        """Return features (B, D), or with mode ``'predict'`` the data samples, each with its feature."""
        features = self.network(inputs)
        if mode == 'tensor':
            return features
        for sample, feature in zip(data_samples or [], features, strict=True):
            sample.set_data({'feature': feature})
        return data_samples or []


def metadata_texts(image_format: InputFormat, **more: Any) -> dict[str, str]:
    """Write the metadata of a file as texts, each JSON."""
    return {key: json.dumps(value) for key, value in {**asdict(image_format), **more}.items()}


def _session(path: str | Path) -> Any:
    onnxruntime = optional_package('onnxruntime')
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=['CPUExecutionProvider'])
    except Exception as error:  # of many kinds
        raise ValueError(f"onnxruntime cannot open '{Path(path).absolute()}': {error}") from error
