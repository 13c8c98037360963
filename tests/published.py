"""Networks with exactly the names of published checkpoints, written from their descriptions and not from our models."""

from functools import partial

import numpy as np
import torch
import torch.nn.functional as F
from timm.models.vision_transformer import Block
from torch import Tensor, nn
from torchvision.models import resnet

DIM, DEPTH, HEADS = 24, 2, 3
NORM = partial(nn.LayerNorm, eps=1e-6)
ARCH = {'dim': DIM, 'depth': DEPTH, 'heads': HEADS}


class SplitNorm(nn.Module):
    """Instance normalization of one half of the channels, batch normalization of the other."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.IN = nn.InstanceNorm2d(channels // 2, affine=True)
        self.BN = nn.BatchNorm2d(channels // 2)

    def forward(self, x: Tensor) -> Tensor:
        first, second = x.chunk(2, 1)
        return torch.cat([self.IN(first), self.BN(second)], 1)


class PersonViT(nn.Module):
    """TransReID-SSL's ViT (``parts=0``) or that of PASS (``parts=3``)."""

    def __init__(self, parts: int = 3, stem: str = 'patch', size: tuple[int, int] = (64, 32)) -> None:
        super().__init__()
        self.parts = parts
        patches = size[0] // 16 * (size[1] // 16)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, DIM))
        self.pos_embed = nn.Parameter(torch.zeros(1, patches + (not parts), DIM))
        names = ['cls_pos', *(f'part_token{p}' for p in (1, 2, 3)), *(f'part{p}_pos' for p in (1, 2, 3))]
        for name in names if parts else ():
            self.register_parameter(name, nn.Parameter(torch.zeros(1, 1, DIM)))
        convolution = {'proj': nn.Conv2d(3, DIM, 16, 16)}
        if stem == 'ics':
            layers = [nn.Conv2d(3, 64, 7, 2, 3, bias=False), SplitNorm(64), nn.ReLU()]
            layers += [nn.Conv2d(64, 64, 3, 1, 1, bias=False), SplitNorm(64), nn.ReLU()]
            layers += [nn.Conv2d(64, 64, 3, 1, 1, bias=False), nn.BatchNorm2d(64), nn.ReLU()]
            convolution = {'conv': nn.Sequential(*layers), 'proj': nn.Conv2d(64, DIM, 8, 8)}
        self.patch_embed = nn.ModuleDict(convolution)
        self.blocks = nn.ModuleList(Block(DIM, HEADS, qkv_bias=True, norm_layer=NORM) for _ in range(DEPTH))
        self.norm = NORM(DIM)

    def forward(self, images: Tensor) -> Tensor:
        for layer in self.patch_embed.values():
            images = layer(images)
        tokens, positions = [self.cls_token], []
        if self.parts:
            tokens += [self.part_token1, self.part_token2, self.part_token3]
            positions = [self.cls_pos, self.part1_pos, self.part2_pos, self.part3_pos]
        x = [token.expand(len(images), -1, -1) for token in tokens] + [images.flatten(2).transpose(1, 2)]
        x = torch.cat(x, 1) + torch.cat([*positions, self.pos_embed], 1)
        for block in self.blocks:
            x = block(x)
        return self.norm(x)[:, : len(tokens)]


class PersonNeck(nn.ModuleDict):
    """Necks of TransReID-SSL and PASS; ``names`` of the part necks differ between their programs."""

    def __init__(self, parts: int, multi: bool, fusion: str, names: str = 'bottleneck_pt{}') -> None:
        width = 2 * DIM if parts and fusion == 'cat' and not multi else DIM
        keys = ['bottleneck', *(names.format(part) for part in range(1, parts + 1) if multi)]
        super().__init__({key: nn.BatchNorm1d(width) for key in keys})
        self.parts, self.multi, self.fusion = parts, multi, fusion

    def forward(self, tokens: Tensor) -> Tensor:
        tokens = list(tokens.unbind(1))
        if self.multi:
            tokens = [F.normalize(layer(token)) for layer, token in zip(self.values(), tokens, strict=True)]
        feature = tokens[0]
        if self.parts:
            part = tokens[1] / 3 + tokens[2] / 3 + tokens[3] / 3
            feature = torch.cat([feature, part], 1) if self.fusion == 'cat' else (feature + part) / 2
        return F.normalize(feature if self.multi else self['bottleneck'](feature))


class TransReID(nn.Module):
    """TransReID: a network with an embedding of cameras below ``base``, JPM and its necks beside it."""

    def __init__(self, cameras: int = 6, size: tuple[int, int] = (64, 32)) -> None:
        super().__init__()
        self.base = PersonViT(0, size=size)
        self.base.sie_embed = nn.Parameter(torch.zeros(cameras, 1, DIM))
        self.base.fc = nn.Linear(DIM, 1000)
        self.b1 = nn.Sequential(Block(DIM, HEADS, qkv_bias=True, norm_layer=NORM), NORM(DIM))
        self.b2 = nn.Sequential(Block(DIM, HEADS, qkv_bias=True, norm_layer=NORM), NORM(DIM))
        for name in ('', '_1', '_2', '_3', '_4'):
            self.add_module(f'bottleneck{name}', nn.BatchNorm1d(DIM))
            self.add_module(f'classifier{name}', nn.Linear(DIM, 751, bias=False))

    def forward(self, images: Tensor, cameras: list[int]) -> Tensor:
        """The five class tokens (B, 5, D) of images of these cameras."""
        base, features = self.base, []
        for image, camera in zip(images, cameras, strict=True):
            patches = base.patch_embed['proj'](image[None]).flatten(2).transpose(1, 2)
            x = torch.cat([base.cls_token, patches], 1) + base.pos_embed + 3 * base.sie_embed[camera]
            for block in base.blocks[:-1]:
                x = block(x)
            tokens = list(x[0])
            cls, patches = tokens[0], tokens[5:] + tokens[1:5]  # a shift of 5 moves four patches
            if len(patches) % 2:
                patches.append(patches[-2])
            half = len(patches) // 2
            shuffled = [patch for pair in zip(patches[:half], patches[half:], strict=True) for patch in pair]
            length = (len(tokens) - 1) // 4
            runs = [shuffled[length * run : length * (run + 1)] for run in range(4)]
            local = [self.b2(torch.stack([cls, *run])[None])[0, 0] for run in runs]
            features.append(torch.stack([self.b1(x)[0, 0], *local]))
        return torch.stack(features)


class ClusterContrastResNet(nn.Module):
    """ResNet of cluster contrast: the stages as a sequence, GeM pooling with a learned exponent, BatchNorm."""

    def __init__(self, ibn: bool) -> None:
        super().__init__()
        net = bottleneck_resnet(ibn)
        self.base = nn.Sequential(
            net.conv1, net.bn1, net.relu, net.maxpool, net.layer1, net.layer2, net.layer3, net.layer4
        )
        self.gap = nn.ParameterDict({'p': torch.tensor([2.5])})
        self.feat_bn = nn.BatchNorm1d(2048)

    def forward(self, images: Tensor) -> Tensor:
        power = self.gap['p']
        pooled = self.base(images).clamp(min=1e-6).pow(power).mean((2, 3)).pow(1 / power)
        return F.normalize(self.feat_bn(pooled))


def bottleneck_resnet(ibn: bool = False) -> resnet.ResNet:
    """torchvision's ResNet of one block per stage, the last one at stride 1, with public IBN-a names if asked for."""
    net = resnet.ResNet(resnet.Bottleneck, [1, 1, 1, 1], num_classes=5)
    net.layer4[0].conv2.stride = net.layer4[0].downsample[0].stride = (1, 1)
    for stage in (net.layer1, net.layer2, net.layer3) if ibn else ():
        stage[0].bn1 = SplitNorm(stage[0].bn1.num_features)
    return net


def randomize(module: nn.Module, seed: int = 0) -> nn.Module:
    """Evaluation mode, and weights and statistics at random but moderate, so that every tensor matters."""
    rng = torch.Generator().manual_seed(seed)
    for name, tensor in module.state_dict().items():
        if name.endswith('running_var') or (tensor.dim() == 1 and name.endswith('weight')):
            tensor.uniform_(0.5, 1.5, generator=rng)
        elif tensor.is_floating_point() and not name.endswith('gap.p'):
            tensor.normal_(std=tensor[0].numel() ** -0.5 if tensor.dim() > 1 else 0.2, generator=rng)
    return module.eval()


def trained(module: nn.Module, prefix: str = 'module.') -> dict:
    """What the published USL and UDA programs save, from DataParallel, with a NumPy score."""
    state = {f'{prefix}{key}': value for key, value in module.state_dict().items()}
    return {'state_dict': state, 'epoch': 50, 'best_mAP': np.float64(0.893)}


def vit_config(parts: int = 3, multi: bool = False, fusion: str = 'cat', **backbone: object) -> dict:
    """Our model of the same size."""
    return dict(
        type='UnsupervisedReID',
        backbone=dict(dict(type='PASSViT', arch=ARCH, img_size=(64, 32), num_part_tokens=parts), **backbone),
        neck=dict(type='ReIDNeck', in_channels=DIM, num_tokens=1 + parts, multi=multi, fusion=fusion),
        head=dict(type='ContrastHead', memory=dict(type='ClusterMemory')),
    )
