"""Export of a network to ONNX and torch.export."""

import copy
import io
import json
import logging
import tempfile
import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from glc.models.reid import BaseReID, features_for_test
from glc.utils.files import atomic_file

from .exported import _METADATA, InputFormat, optional_package

__all__ = ['ExportableNetwork', 'export_network', 'quantize_onnx']

# The rest stays in floating point: it takes little time, and normalizations and gates lose most.
_QUANTIZED = ['Conv', 'MatMul', 'Gemm']
_OPSET = 18


class _HalfBackbone(nn.Module):
    """A backbone that computes in float16, with float32 around it."""

    def __init__(self, backbone: nn.Module) -> None:
        super().__init__()
        self.backbone = backbone.half()

    def forward(self, inputs: Tensor) -> Tensor:
        return self.backbone(inputs.half()).float()


class ExportableNetwork(nn.Module):
    """What is exported: images in, the features of tests out.

    Args:
        network: Algorithm with backbone, neck and data preprocessor; it is not changed.
        image_format: Format of the inputs. Its mean and standard deviation must be those of the network.
        half: Compute the backbone in float16. Pooling and neck stay in float32, and so do inputs and features.

    Raises:
        TypeError: The network is no :class:`~glc.models.reid.BaseReID`.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, network: nn.Module, image_format: InputFormat, half: bool = False) -> None:
        super().__init__()
        if not isinstance(network, BaseReID):
            raise TypeError(
                f'{type(network).__name__} gives no features of re-identification: export the config of a network that '
                'tools/test.py can evaluate'
            )
        copied: Any = copy.deepcopy(network).cpu().eval()
        own = 'rgb' if copied.data_preprocessor.bgr_to_rgb else 'bgr'
        self.flips_channels = image_format.channels != own
        self.normalizes = image_format.normalize_inside
        if self.flips_channels and not self.normalizes:
            raise ValueError(f'normalized images are {own}, got channels={image_format.channels!r}')
        self.register_buffer('mean', torch.tensor(image_format.mean).view(3, 1, 1))
        self.register_buffer('std', torch.tensor(image_format.std).view(3, 1, 1))
        if half:
            copied.backbone = _HalfBackbone(copied.backbone)
        self.network = copied

    def forward(self, images: Tensor) -> Tensor:
        """Extract features (B, D) of images in the format of the inputs."""
        if self.normalizes:
            images = (images.float() - self.mean) / self.std
        if self.flips_channels:
            images = images.flip(1)
        return features_for_test(self.network, images)


def export_network(
    network: ExportableNetwork, image_format: InputFormat, path: str | Path, metadata: Mapping[str, str]
) -> None:
    """Write a network to a file of ONNX (``.onnx``) or torch.export (``.pt2``).

    Args:
        network: The network.
        image_format: Format of its inputs.
        path: The file. Its ending decides.
        metadata: Texts to write into the file.

    Raises:
        ImportError: ONNX, without onnx and onnxscript.
    """
    batch = image_format.batch
    images = torch.zeros(batch or 2, 3, image_format.height, image_format.width, dtype=image_format.dtype)
    shapes = None if batch else {'images': {0: torch.export.Dim('batch')}}
    with torch.no_grad(), _quiet():
        program = torch.export.export(network, (images,), dynamic_shapes=shapes)
        if Path(path).suffix != '.onnx':
            buffer = io.BytesIO()  # torch hides a full disk behind another error
            torch.export.save(program, buffer, extra_files={_METADATA: json.dumps(dict(metadata))})
            with atomic_file(path) as part:
                part.write_bytes(buffer.getbuffer())
            return
        optional_package('onnxscript')
        onnx = optional_package('onnx')
        exported = torch.onnx.export(
            program,
            input_names=['images'],
            output_names=['features'],
            opset_version=_OPSET,
            dynamo=True,
            verbose=False,
        )
    assert exported is not None
    model = exported.model_proto
    # Stack traces with the paths of this machine: more than half of a small file.
    for part_of_graph in (model.graph, *model.graph.node, *model.graph.value_info, *model.graph.initializer):
        part_of_graph.ClearField('metadata_props')
    onnx.helper.set_model_props(model, dict(metadata))
    with atomic_file(path) as part:
        onnx.save_model(model, str(part))


def quantize_onnx(source: str | Path, path: str | Path, batches: Iterable[Tensor] | None = None) -> None:
    """Write a copy of an ONNX file whose convolutions and matrix products compute in int8.

    Args:
        source: File in float32.
        path: File to write. It gets the metadata of the source.
        batches: Images in the format of the inputs, from which the ranges of activations are taken (static
            quantization). None measures them in every run (dynamic quantization).

    Raises:
        ImportError: onnx or onnxruntime is not installed.
    """
    onnx = optional_package('onnx')
    quantization = optional_package('onnxruntime.quantization')
    shape_inference = optional_package('onnxruntime.quantization.shape_inference')
    with tempfile.TemporaryDirectory() as folder, _quiet():
        # Folds normalizations into convolutions.
        prepared, quantized = (str(Path(folder, name)) for name in ('prepared.onnx', 'quantized.onnx'))
        shape_inference.quant_pre_process(str(source), prepared, skip_symbolic_shape=True)
        if batches is None:
            quantization.quantize_dynamic(
                prepared, quantized, _QUANTIZED, weight_type=quantization.QuantType.QUInt8
            )
        else:
            quantization.quantize_static(
                prepared,
                quantized,
                _reader(quantization, batches),
                quant_format=quantization.QuantFormat.QDQ,
                op_types_to_quantize=_QUANTIZED,
                per_channel=True,
                activation_type=quantization.QuantType.QInt8,
                weight_type=quantization.QuantType.QInt8,
            )
        model = onnx.load(quantized)
    props = onnx.load(str(source), load_external_data=False).metadata_props
    onnx.helper.set_model_props(model, {entry.key: entry.value for entry in props})
    with atomic_file(path) as part:
        onnx.save_model(model, str(part))


def _reader(quantization: Any, batches: Iterable[Tensor]) -> Any:
    """Give batches to the calibration of onnxruntime."""
    inputs = iter([{'images': batch.numpy()} for batch in batches])

    class Reader(quantization.CalibrationDataReader):
        def get_next(self) -> dict | None:
            return next(inputs, None)

    return Reader()


@contextmanager
def _quiet() -> Iterator[None]:
    """Leave out warnings of exporters that a user can do nothing about; errors are raised."""
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        before = logging.root.manager.disable
        logging.disable(logging.WARNING)
        try:
            yield
        finally:
            logging.disable(before)
