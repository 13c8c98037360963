"""Exported files give the features of the network that they come from."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.registry import DefaultScope
from PIL import Image

from glc.apis import build_for_test, load_config
from glc.cli import evaluate_export, export
from glc.cli.export import main
from glc.datasets import ImageFolderReID
from glc.deployment.exported import ExportedNetwork, InputFormat, metadata_texts
from glc.deployment.exporting import ExportableNetwork, export_network, quantize_onnx
from glc.registry import MODELS
from tests.runs import tiny_config
from tests.test_docs import python_blocks, run_block

ROOT = Path(__file__).resolve().parents[2]
HEIGHT, WIDTH = 64, 32
FORMAT = InputFormat(HEIGHT, WIDTH, 'rgb', (120.0, 115.0, 100.0), (60.0, 57.0, 55.0))
PREPROCESSOR = dict(type='ReIDDataPreprocessor', mean=FORMAT.mean, std=FORMAT.std)
ARCH = dict(type='PASSViT', arch=dict(dim=24, depth=1, heads=2), img_size=(HEIGHT, WIDTH))
NETWORKS = {
    'osnet': (dict(type='OSNet', width='x0_25', feature_dim=32), {}),
    'pass': (ARCH, dict(multi=True)),
    'plain': (dict(ARCH, num_part_tokens=0), {}),
    'ics': (dict(ARCH, stem='ics'), dict(fusion='mean')),
    'timm_vit': (
        dict(type='TimmBackbone', model_name='vit_tiny_patch16_224', img_size=(HEIGHT, WIDTH), depth=1),
        {},
    ),
    'resnet_ibn': (dict(type='ResNet', depth=18, ibn=True), {}),
    'resnet': (dict(type='ResNet', depth=18), dict(pool=dict(type='GeM', learnable=True))),
    'mobilenetv2': (dict(type='TimmBackbone', model_name='mobilenetv2_100', output_stride=16), {}),
    'efficientnet': (
        dict(type='TimmBackbone', model_name='tf_efficientnet_lite0'),
        dict(pool=dict(type='avg')),
    ),
}
ONNX = (
    'osnet',
    'pass',
    'resnet_ibn',
)  # a conversion takes up to ten seconds; the others go through the same trace

onnx = pytest.importorskip('onnx', reason='exports need onnx, onnxruntime and onnxscript')
pytest.importorskip('onnxruntime', reason='exports need onnx, onnxruntime and onnxscript')
pytest.importorskip('onnxscript', reason='exports need onnx, onnxruntime and onnxscript')


def network(name: str, **options):
    torch.manual_seed(0)
    backbone, neck = NETWORKS[name]
    built = MODELS.build(backbone)
    model = MODELS.build(
        dict(
            type='UnsupervisedReID',
            data_preprocessor=PREPROCESSOR,
            backbone=backbone,
            neck=dict(type='ReIDNeck', in_channels=built.out_channels, num_tokens=built.num_tokens, **neck),
            head=dict(type='ContrastHead', memory=dict(type='ClusterMemory')),
            bn_group_size=8,
            **options,
        )
    )
    with torch.no_grad():  # running statistics unlike those of the start
        model.train().extract_feat(2 * torch.randn(8, 3, HEIGHT, WIDTH) + 0.5)
    return model.eval()


def pixels(number: int) -> torch.Tensor:
    return torch.randint(0, 256, (number, 3, HEIGHT, WIDTH), generator=torch.Generator().manual_seed(1))


@pytest.mark.slow
@pytest.mark.parametrize('name', NETWORKS)
def test_every_backbone_exports_with_any_batch(name, tmp_path):
    model = network(name)
    exported = ExportableNetwork(model, FORMAT)
    path = tmp_path / ('reid.onnx' if name in ONNX else 'reid.pt2')
    export_network(exported, FORMAT, path, metadata_texts(FORMAT, glc_version='0', dtype='float32'))
    written = ExportedNetwork(path)
    assert written.format == FORMAT
    images = model.data_preprocessor(dict(inputs=pixels(5)))['inputs']
    with torch.no_grad():
        expected = model.extract_feat(images)
    assert expected.std(0).max() > 1e-3  # the features of different images differ
    for number in (1, 5):
        torch.testing.assert_close(written(images[:number]), expected[:number], atol=2e-5, rtol=0)


@pytest.mark.slow
def test_normalization_channels_and_flips_go_inside(tmp_path):
    model = network('pass', flip_test=True)
    inside = InputFormat(HEIGHT, WIDTH, 'bgr', FORMAT.mean[::-1], FORMAT.std[::-1], True, batch=4)
    path = tmp_path / 'reid.onnx'
    texts = metadata_texts(inside, glc_version='0', dtype='float32')
    export_network(ExportableNetwork(model, inside), inside, path, texts)
    written = ExportedNetwork(path)
    batch = pixels(6).to(torch.uint8)  # of a pipeline: BGR
    with torch.no_grad():
        inputs = model.data_preprocessor(dict(inputs=batch))['inputs']
        expected = torch.nn.functional.normalize(
            model.extract_feat(inputs) + model.extract_feat(inputs.flip(3))
        )
    # a batch of six is two of four, the second one filled up
    torch.testing.assert_close(written(batch), expected, atol=2e-5, rtol=0)


@pytest.mark.slow
def test_float16_and_int8_stay_near(tmp_path):
    model = network('ics')  # convolutions, both normalizations, matrix products
    images = model.data_preprocessor(dict(inputs=pixels(8)))['inputs']
    plain, path = tmp_path / 'plain.onnx', tmp_path / 'other.onnx'
    texts = metadata_texts(FORMAT, glc_version='0', dtype='any')
    with torch.no_grad():
        expected = model.extract_feat(images)
    export_network(ExportableNetwork(model, FORMAT, half=True), FORMAT, path, texts)
    half = (ExportedNetwork(path)(images) - expected).abs().max()
    assert 1e-6 < half < 1e-2
    assert next(model.parameters()).dtype == torch.float32
    export_network(ExportableNetwork(model, FORMAT), FORMAT, plain, texts)
    for batches in (None, images.split(4)):
        quantize_onnx(plain, path, batches)
        written = ExportedNetwork(path)
        assert written.format == FORMAT
        assert 1e-5 < (written(images) - expected).abs().max() < 0.1
        kinds = {node.op_type for node in onnx.load(path).graph.node}
        assert {'DynamicQuantizeLinear', 'QuantizeLinear'} & kinds


def test_a_network_without_features_is_refused():
    with pytest.raises(TypeError, match='Linear gives no features of re-identification'):
        ExportableNetwork(torch.nn.Linear(2, 2), FORMAT)


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (('out.onnx', '--format', 'torch_export'), r'files that end in \.pt2'),
        (('out.pt2', '--format', 'torch_export', '--dtype', 'int8'), '--dtype int8 needs --format onnx'),
        (('out.onnx', '--calibrate', 'folder'), '--calibrate needs --dtype int8'),
        (('out.onnx', '--channels', 'bgr'), '--channels needs --normalize-inside'),
        (('out.onnx', '--static-batch', '0'), '--static-batch must be at least 1'),
        (('out.onnx', '--num-images', '0'), '--num-images must be at least 1'),
    ],
)
def test_options_that_do_not_fit_are_named(options, message, capsys):
    with pytest.raises(SystemExit):
        main(['config.py', *options])
    assert re.search(message, capsys.readouterr().err)


@pytest.fixture(scope='module')
def exported(tmp_path_factory, images):
    """A config, a checkpoint and a file that the tool wrote from them, in a folder."""
    folder = tmp_path_factory.mktemp('export')
    cfg = tiny_config(images, folder / 'run', model__data_preprocessor=PREPROCESSOR)
    cfg.dump(folder / 'config.py')
    with DefaultScope.overwrite_default_scope('glc'):
        torch.manual_seed(0)
        model = MODELS.build(cfg.model)
    torch.save(dict(state_dict=model.state_dict()), folder / 'weights.pth')
    command = [str(folder / name) for name in ('config.py', 'weights.pth', 'reid.onnx')]
    code = main([*command, '--normalize-inside', '--images', str(images / 'query'), '--num-images', '4'])
    return folder, code


@pytest.mark.slow
def test_the_tool_writes_checks_and_describes(exported, capfd):
    folder, code = exported
    assert code == 0
    metadata = ExportedNetwork(folder / 'reid.onnx').metadata
    assert metadata['config'] == 'config'
    assert str(ROOT).encode() not in (folder / 'reid.onnx').read_bytes()  # no trace of this machine
    assert metadata['checkpoint'] == 'weights.pth'
    assert (metadata['height'], metadata['width'], metadata['channels']) == (64, 32, 'rgb')
    assert metadata['resize'] == dict(backend='pillow', interpolation='bicubic')
    arguments = [str(folder / name) for name in ('config.py', 'weights.pth', 'other.onnx')]
    assert main([*arguments, '--tolerance', '1e-12']) == 1
    printed = capfd.readouterr()
    assert '5 random images: largest difference of unit features' in printed.out
    assert 'more than --tolerance 1e-12' in printed.err


@pytest.mark.slow
def test_not_a_number_is_no_small_difference(exported, tmp_path, monkeypatch, capfd):
    differences = iter([0.0, float('nan')])
    monkeypatch.setattr(export, '_difference', lambda *_: next(differences))
    folder, _ = exported
    crops = tmp_path / 'crops'
    crops.mkdir()
    Image.new('RGB', (32, 64)).save(crops / 'a.png')
    arguments = [str(folder / 'config.py'), str(folder / 'weights.pth'), str(tmp_path / 'x.pt2')]
    assert main([*arguments, '--format', 'torch_export', '--images', str(crops)]) == 1
    assert 'differ by nan' in capfd.readouterr().err


@pytest.mark.parametrize(
    ('content', 'message'), [(None, "x.onnx' does not exist"), (b'junk', "cannot open '.*x.onnx'")]
)
def test_files_that_are_no_exports_are_named(tmp_path, content, message):
    if content:
        (tmp_path / 'x.onnx').write_bytes(content)
    with pytest.raises(SystemExit, match=message):
        evaluate_export.main(['config.py', '-', str(tmp_path / 'x.onnx')])


def test_an_exported_file_has_the_scores_of_its_network(exported, capfd):
    folder, _ = exported
    table = folder / 'table.csv'
    arguments = [str(folder / name) for name in ('config.py', 'weights.pth', 'reid.onnx')]
    assert evaluate_export.main([*arguments, '--out', str(table)]) == 0
    header, network_row, file_row = (line.split(',') for line in table.read_text().splitlines())
    assert header[:5] == ['', 'dtype', 'MB', 'reid/mAP', 'reid/rank1']
    assert 0 < float(network_row[3]) < 100
    assert file_row[1] == 'float32'
    assert file_row[3:] == [*network_row[3:5], '0.00', '0.00']


def test_the_page_runs_a_file_without_this_package(exported, tmp_path, monkeypatch, images):
    folder, _ = exported
    block = next(
        block for block in python_blocks((ROOT / 'docs/deployment.md').read_text()) if 'onnxruntime' in block
    )
    assert 'glc' not in re.findall(r'import (\w+)', block)
    assert len([line for line in block.splitlines() if line.strip()]) <= 20
    monkeypatch.chdir(folder)
    (folder / 'crops').mkdir(exist_ok=True)
    for path in sorted((images / 'query').glob('*.jpg'))[:3]:
        (folder / 'crops' / path.name).write_bytes(path.read_bytes())
    found = run_block(block, tmp_path)
    cfg = load_config('config.py', work_dir=str(tmp_path))
    model = build_for_test(cfg, 'weights.pth').model.eval()
    dataset = ImageFolderReID('crops', pipeline=cfg.test_dataloader.dataset.pipeline)
    with torch.no_grad():
        inputs = model.data_preprocessor(dict(inputs=[dataset[i]['inputs'] for i in range(3)]))['inputs']
        expected = model.extract_feat(inputs)
    # the pipeline decodes with OpenCV, the page with PIL
    np.testing.assert_allclose(found['features'], expected.numpy(), atol=5e-3)
    assert found['meta']['height'] == HEIGHT
