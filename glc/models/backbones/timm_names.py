"""Names of modules in other publications of the networks that timm calls EfficientNet, MobileNetV2 among them."""

from collections.abc import Iterable, Iterator

from torch import Tensor, nn

__all__ = ['to_timm_names']

# In the order of the computation; blocks of expansion 1 lack the first two modules.
_TORCHVISION = ('conv.0.0', 'conv.0.1', 'conv.1.0', 'conv.1.1', 'conv.2', 'conv.3')
_TORCHVISION_PLAIN = ('conv.0.0', 'conv.0.1', 'conv.1', 'conv.2')
_UNDERSCORE = ('_expand_conv', '_bn0', '_depthwise_conv', '_bn1', '_project_conv', '_bn2')
_TIMM = ('conv_pw', 'bn1', 'conv_dw', 'bn2', 'conv_pwl', 'bn3')
_TIMM_PLAIN = ('conv_dw', 'bn1', 'conv_pw', 'bn2')


def to_timm_names(state_dict: dict[str, Tensor], stages: Iterable[nn.Module]) -> dict[str, Tensor]:
    """Rename the tensors of a published MobileNetV2 or EfficientNet-Lite to timm's names.

    Understood are torchvision's MobileNetV2 (``features.1.conv.0.0.weight``) and the EfficientNets whose modules begin
    with an underscore (``_blocks.0._depthwise_conv.weight``). Other keys keep their names.

    Args:
        state_dict: Tensors of the file.
        stages: ``blocks`` of the timm model: both publications number the blocks of all stages in one row.

    Returns:
        The same tensors.
    """
    blocks = [
        (f'blocks.{number}.{index}', block)
        for number, stage in enumerate(stages)
        for index, block in enumerate(stage.children())
    ]
    names = dict(_names(blocks))
    renamed = {}
    for key, value in state_dict.items():
        module, _, leaf = key.rpartition('.')
        renamed[f'{names[module]}.{leaf}' if module in names else key] = value
    return renamed


def _names(blocks: list[tuple[str, nn.Module]]) -> Iterator[tuple[str, str]]:
    """Yield the published name of a module, and timm's."""
    ends = (
        ('features.0.0', '_conv_stem', 'conv_stem'),
        ('features.0.1', '_bn0', 'bn1'),
        (f'features.{len(blocks) + 1}.0', '_conv_head', 'conv_head'),
        (f'features.{len(blocks) + 1}.1', '_bn1', 'bn2'),
        ('classifier.1', '_fc', 'classifier'),
    )
    for *published, end in ends:
        yield from ((name, end) for name in published)
    for index, (place, block) in enumerate(blocks):
        plain = not hasattr(block, 'conv_pwl')
        own = [f'{place}.{part}' for part in (_TIMM_PLAIN if plain else _TIMM)]
        theirs = [f'features.{index + 1}.{part}' for part in (_TORCHVISION_PLAIN if plain else _TORCHVISION)]
        yield from zip(theirs, own, strict=True)
        yield from zip((f'_blocks.{index}.{part}' for part in _UNDERSCORE[2 * plain :]), own, strict=True)
