"""No code in a file is run, through whichever door the file comes."""

import os
import re
import runpy
import sys
import zipfile

import pytest
import torch
from mmengine.hooks import CheckpointHook
from mmengine.runner import CheckpointLoader, load_checkpoint
from torch import nn

from glc.apis import build_for_test, build_runner, prepare_config
from glc.checkpoints import (
    load_backbone_checkpoint,
    load_checkpoint_file,
    load_link_predictor,
    load_model_checkpoint,
)
from glc.registry import MODELS
from tests.runs import ROOT, tiny_config, write_images


class Touch:
    """Unpickling this makes a folder."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return os.mkdir, (self.path,)


@pytest.fixture(scope='module')
def images(tmp_path_factory):
    return write_images(tmp_path_factory.mktemp('doors') / 'market1501', num_ids=2, per_camera=1)


@pytest.fixture
def cfg(images, tmp_path):
    return tiny_config(images, tmp_path / 'run')


def runner_of(cfg):
    return build_runner(prepare_config(cfg))


def started(cfg, path, resume):
    cfg.load_from, cfg.resume = str(path), resume
    runner = runner_of(cfg)
    runner.call_hook('before_run')
    runner.load_or_resume()
    return runner


def initialized(cfg, part, path, **options):
    model = MODELS.build(cfg.model)
    module = getattr(model, part, model)
    module.init_cfg = dict(type='Pretrained', checkpoint=str(path), **options)
    model.init_weights()


def tool(name, *arguments):
    argv, sys.argv = sys.argv, [name, *map(str, arguments)]
    try:
        runpy.run_path(str(ROOT / 'tools/model_converters' / f'{name}.py'), run_name='__main__')
    except SystemExit as error:
        raise RuntimeError(error) from error
    finally:
        sys.argv = argv


DOORS = {
    'load_checkpoint_file': lambda cfg, path: load_checkpoint_file(path),
    'load_backbone_checkpoint': lambda cfg, path: load_backbone_checkpoint(nn.Linear(1, 1), path),
    'load_model_checkpoint': lambda cfg, path: load_model_checkpoint(MODELS.build(cfg.model), path),
    'load_link_predictor': lambda cfg, path: load_link_predictor(path),
    'mmengine load_checkpoint': lambda cfg, path: load_checkpoint(nn.Linear(1, 1), str(path)),
    'mmengine CheckpointLoader': lambda cfg, path: CheckpointLoader.load_checkpoint(str(path)),
    'mmengine CheckpointHook': lambda cfg, path: CheckpointHook(published_keys=['meta'])._publish_model(
        None, str(path)
    ),
    'init_cfg of a backbone': lambda cfg, path: initialized(cfg, 'backbone', path),
    'init_cfg of a neck': lambda cfg, path: initialized(cfg, 'neck', path),
    'init_cfg of a head': lambda cfg, path: initialized(cfg, 'head', path),
    'init_cfg of a model': lambda cfg, path: initialized(cfg, 'model', path),
    'init_cfg with a prefix': lambda cfg, path: initialized(cfg, 'model', path, prefix='x'),
    'load_from': lambda cfg, path: started(cfg, path, resume=False),
    'resume': lambda cfg, path: started(cfg, path, resume=True),
    'test': lambda cfg, path: build_for_test(cfg, str(path)),
    'convert.py': lambda cfg, path: tool('convert', path, '--out', f'{path}.out'),
    'export_teacher.py': lambda cfg, path: tool('export_teacher', path, '--out', f'{path}.out'),
}


@pytest.mark.slow
@pytest.mark.parametrize('door', DOORS)
def test_objects_in_a_file_are_not_made(door, cfg, tmp_path, capsys):
    torch.save(
        {'state_dict': {'weight': torch.ones(1, 1)}, 'x': Touch(tmp_path / 'mark')}, tmp_path / 'x.pth'
    )
    with pytest.raises(RuntimeError) as caught:
        DOORS[door](cfg, tmp_path / 'x.pth')
    assert not (tmp_path / 'mark').exists()
    if not door.endswith('.py'):
        assert "x.pth' cannot be read safely: " in str(caught.value)


@pytest.mark.slow
@pytest.mark.parametrize('address', ['https://127.0.0.1/x.pth', 's3://b/x.pth', 'torchvision://resnet18'])
@pytest.mark.parametrize('door', [door for door in DOORS if not door.endswith('.py')])
def test_nothing_is_downloaded(door, address, cfg):
    with pytest.raises(RuntimeError, match=f"'{address}' is an address, not a file: download it"):
        DOORS[door](cfg, address)


@pytest.mark.slow
def test_text_of_a_config_in_a_checkpoint_is_not_run(cfg, tmp_path):
    runner = runner_of(cfg)
    code = f'import os\nos.mkdir({str(tmp_path / "mark")!r})\n{runner.cfg.pretty_text}'
    content = {
        'meta': {'epoch': 0, 'iter': 0, 'seed': 0, 'cfg': code, 'config': code},
        'state_dict': runner.model.state_dict(),
        'message_hub': {'log_scalars': {}, 'runtime_info': {'cfg': code}, 'resumed_keys': {}},
        'optimizer': runner.build_optim_wrapper(runner.optim_wrapper).state_dict(),
    }
    torch.save(content, tmp_path / 'x.pth')
    for resume in (False, True):
        cfg.experiment_name = f'{tmp_path.name}_{resume}'
        started(cfg, tmp_path / 'x.pth', resume)
        assert not (tmp_path / 'mark').exists()


def test_nothing_else_unpickles():
    """A new door goes through ``load_checkpoint_file``."""
    found = {
        f'{path.relative_to(ROOT)}: {match}'
        for folder in ('glc', 'tools')
        for path in (ROOT / folder).rglob('*.py')
        for match in re.findall(
            r'torch\.load\(|allow_pickle(?!=False)|pickle\.loads?\(|yaml\.load\(|load_url', path.read_text()
        )
    }
    assert found == {'glc/checkpoints/reading.py: torch.load('}


def test_nothing_unpacks_archives():
    """Parts of archives are read, never written to where their names say; so none can leave its folder."""
    unpacking = (
        r'\.extract(?:all)?\(|unpack_archive|import tarfile|from tarfile|zipfile\.Path|\bunzip\b|\btar +-?x'
    )
    found = [
        f'{path.relative_to(ROOT)}: {match}'
        for folder in ('glc', 'tools', 'configs')
        for path in (ROOT / folder).rglob('*')
        if path.suffix in ('.py', '.sh')
        for match in re.findall(unpacking, path.read_text())
    ]
    assert found == []
    assert re.findall(unpacking, 'archive.extractall(x); shutil.unpack_archive(y); tar -xf z') != []


# ---------------------------------------------------------------- weights that do not fit


@pytest.mark.slow
@pytest.mark.parametrize('door', ['load_from', 'init_cfg of a model'])
@pytest.mark.parametrize('kind', ['plain', 'run'])
def test_weights_of_another_model_are_refused(door, kind, cfg, tmp_path):
    state = {'encoder.weight': torch.ones(3, 3), 'decoder.bias': torch.ones(3)}
    content = {'state_dict': state, **({'message_hub': {}, 'meta': {}} if kind == 'run' else {})}
    torch.save(content, tmp_path / 'x.pth')
    with pytest.raises(
        RuntimeError, match=r'(?s)x.pth.*backbone.layers.0.weight.*encoder.weight( \(3, 3\))?'
    ):
        DOORS[door](cfg, tmp_path / 'x.pth')


@pytest.mark.slow
@pytest.mark.parametrize('door', ['load_from', 'init_cfg of a model'])
@pytest.mark.parametrize('kind', ['plain', 'run'])
def test_weights_of_another_size_are_refused(door, kind, cfg, tmp_path):
    state = MODELS.build(cfg.model).state_dict()
    state['backbone.layers.0.bias'] = torch.ones(3)
    content = {'state_dict': state, **({'message_hub': {}, 'meta': {}} if kind == 'run' else {})}
    torch.save(content, tmp_path / 'x.pth')
    with pytest.raises(RuntimeError, match=r'backbone.layers.0.bias \(3,\) != \(16,\)'):
        DOORS[door](cfg, tmp_path / 'x.pth')


@pytest.mark.slow
@pytest.mark.parametrize('door', ['load_from', 'test'])
def test_weights_that_are_no_numbers_are_refused(door, cfg, tmp_path):
    state = MODELS.build(cfg.model).state_dict()
    state['backbone.layers.0.bias'][2] = float('inf')
    torch.save({'state_dict': state}, tmp_path / 'x.pth')
    with pytest.raises(RuntimeError, match=r'infinite or no number \(backbone.layers.0.bias\)'):
        DOORS[door](cfg, tmp_path / 'x.pth')


# ---------------------------------------------------------------- archives


def test_an_archive_that_unpacks_to_much_more_is_refused_before_it_is_unpacked(tmp_path, monkeypatch):
    torch.save({'weight': torch.zeros(1_000_000)}, tmp_path / 'plain.pth')
    with (
        zipfile.ZipFile(tmp_path / 'plain.pth') as plain,
        zipfile.ZipFile(tmp_path / 'packed.pth', 'w', zipfile.ZIP_DEFLATED) as packed,
    ):
        for name in plain.namelist():
            packed.writestr(name, plain.read(name))
    assert (tmp_path / 'packed.pth').stat().st_size < 20_000
    assert load_checkpoint_file(tmp_path / 'plain.pth')['weight'].shape == (1_000_000,)
    monkeypatch.setattr(torch, 'load', lambda *_, **__: pytest.fail('unpacked'))
    with pytest.raises(
        RuntimeError, match=r"packed.pth' cannot be read safely: its [\d,]+ bytes unpack to 4,00"
    ):
        load_checkpoint_file(tmp_path / 'packed.pth')


def test_a_cut_archive_is_damaged(tmp_path):
    torch.save({'weight': torch.zeros(1_000)}, tmp_path / 'cut.pth')
    content = (tmp_path / 'cut.pth').read_bytes()
    (tmp_path / 'cut.pth').write_bytes(content[: len(content) // 2])
    with pytest.raises(
        RuntimeError, match=r"cut.pth' cannot be read safely: .*\n.*damaged \(download it again\)"
    ):
        load_checkpoint_file(tmp_path / 'cut.pth')
