"""From a trained network to a file that runs without this package."""

from .exported import ExportedNetwork, ExportedReID, InputFormat
from .exporting import ExportableNetwork, export_network, quantize_onnx

__all__ = [
    'ExportableNetwork',
    'ExportedNetwork',
    'ExportedReID',
    'InputFormat',
    'export_network',
    'quantize_onnx',
]
