"""The converter and the programs that take published files directly, as a command line would run them."""

import json
import re
import runpy
import sys
from pathlib import Path

import pytest
import torch
from mmengine.config import Config

from glc.apis import build_runner, prepare_config
from glc.checkpoints import load_backbone_checkpoint, load_model_checkpoint
from glc.registry import MODELS
from tests.published import DIM, PersonNeck, PersonViT, randomize, trained, vit_config
from tests.runs import tiny_config, write_images
from tests.test_checkpoints.test_published import Merged, assert_same_features

TOOLS = Path(__file__).parents[1] / 'tools'


@pytest.fixture
def run(monkeypatch, capsys):
    """Runs a tool in this process; exit status, output, errors."""

    def call(tool, *arguments):
        path = TOOLS / f'{tool}.py'
        monkeypatch.setattr(sys, 'argv', [str(path), *map(str, arguments)])
        monkeypatch.setattr(sys, 'path', sys.path.copy())
        status = 0
        try:
            runpy.run_path(str(path), run_name='__main__')
        except SystemExit as error:
            status = error.code
        return status, *capsys.readouterr()

    return call


@pytest.fixture
def published(tmp_path):
    source = randomize(Merged(PersonViT(), PersonNeck(3, True, 'mean')))
    torch.save(trained(source), tmp_path / 'published.pth.tar')
    Config(dict(model=vit_config(3, True, 'mean'))).dump(tmp_path / 'config.py')
    return source


def converting(tmp_path, *files, config='config.py', out='out.pth'):
    return ('model_converters/convert', *(tmp_path / file for file in files), '--out', tmp_path / out) + (
        ('--config', tmp_path / config) if config else ()
    )


def test_published_model_becomes_ours(run, published, tmp_path):
    status, out, err = run(*converting(tmp_path, 'published.pth.tar'))
    assert status == 0, err
    count = sum('num_batches' not in key for key in published.state_dict())
    assert 'layout reid_vit' in out
    assert f'0 matched, {count} renamed, 0 skipped, 0 unexpected, 0 missing' in out
    table = [line.split() for line in out.splitlines()]
    assert ['renamed', 'module.bottleneck_pt1.weight', 'neck.bottleneck_pt1.weight'] in table
    assert 'warning' not in out
    model = MODELS.build(vit_config(3, True, 'mean'))
    report = load_model_checkpoint(model, tmp_path / 'out.pth')
    assert (report.layout, report.renamed) == ('glc', ())
    assert_same_features(model, published)


def test_pretraining_becomes_a_backbone(run, published, tmp_path):
    state = {f'module.backbone.{key}': value for key, value in published.net.state_dict().items()}
    torch.save({'teacher': state | {'module.head.last_layer.weight_g': torch.ones(2)}}, tmp_path / 'pass.pth')
    status, out, err = run(*converting(tmp_path, 'pass.pth'))
    assert status == 0, err
    assert '1 skipped, 0 unexpected, 16 missing' in out  # four norms of four tensors
    assert 'warning: 16 missing' in out
    backbone = MODELS.build(vit_config()['backbone'])
    assert load_backbone_checkpoint(backbone, tmp_path / 'out.pth').fraction == 1
    own = backbone.state_dict()
    assert all(torch.equal(own[key], value) for key, value in published.net.state_dict().items())


def test_one_domain_of_a_model_becomes_a_model(run, tmp_path):
    cfg = vit_config()
    torch.save({'state_dict': MODELS.build({**cfg, 'num_domains': 2}).state_dict()}, tmp_path / 'epoch_1.pth')
    Config(dict(model=cfg)).dump(tmp_path / 'config.py')
    status, out, err = run(*converting(tmp_path, 'epoch_1.pth'), '--domain', '1')
    assert status == 0, err
    assert '0 unexpected, 0 missing' in out
    assert load_model_checkpoint(MODELS.build(cfg), tmp_path / 'out.pth').fraction == 1
    status, _, err = run(*converting(tmp_path, 'epoch_1.pth'), '--domain', '2')
    assert (status, 'of domains [0, 1], and none of 2' in err) == (1, True)


def test_network_of_glc_needs_no_config(run, tmp_path):
    torch.save({'conv1.weight': torch.ones(8, 6), 'conv1.bias': torch.ones(6)}, tmp_path / 'backbone.pth')
    head = {'0.weight': (6, 12), '0.bias': (6,), '1.weight': (6,), '2.weight': (2, 6), '2.bias': (2,)}
    torch.save({f'classifier.{key}': torch.ones(shape) for key, shape in head.items()}, tmp_path / 'head.pth')
    status, out, err = run(*converting(tmp_path, 'backbone.pth', 'head.pth', config=None))
    assert status == 0, err
    assert '7 matched, 0 renamed, 0 skipped, 0 unexpected, 0 missing' in out
    assert len(torch.load(tmp_path / 'out.pth', weights_only=True)['state_dict']) == 7


@pytest.mark.parametrize(
    ('content', 'options', 'message'),
    [
        ({'layer.weight': torch.ones(2)}, (), 'nothing matches'),
        (
            {'cls_token': torch.ones(1, 1, DIM + 1)},
            (),
            r'other shapes .*backbone.cls_token \(1, 1, 25\) != \(1, 1, 24\)',
        ),
        ({'epoch': 3}, (), 'no weights at the top'),
        ({'cls_token': torch.ones(1, 1, DIM)}, ('--out', 'published.pth.tar'), 'would be overwritten'),
        (
            {
                'base.cls_token': torch.ones(1, 1, DIM),
                'bottleneck.bias': torch.ones(DIM),
                'bottleneck_4.bias': torch.ones(DIM),
            },
            (),
            'has no bottleneck_4.bias',
        ),
    ],
)
def test_what_cannot_be_converted(run, published, tmp_path, monkeypatch, content, options, message):
    monkeypatch.chdir(tmp_path)
    torch.save(content, tmp_path / 'published.pth.tar')
    status, _, err = run(*converting(tmp_path, 'published.pth.tar'), *options)
    assert status == 1
    assert re.search(message, err), err
    assert not (tmp_path / 'out.pth').exists()


def test_config_is_asked_for(run, published, tmp_path):
    status, _, err = run(*converting(tmp_path, 'published.pth.tar', config=None))
    assert (status, '--config' in err) == (1, True)


def run_config(tmp_path, **options):
    cfg = tiny_config(write_images(tmp_path / 'data'), tmp_path / 'run', train_cfg__max_epochs=1, **options)
    cfg.model = vit_config(3, True, 'mean')
    return cfg


@pytest.mark.slow
def test_published_file_is_tested_in_one_line(run, published, tmp_path):
    run_config(tmp_path).dump(tmp_path / 'run.py')
    run(*converting(tmp_path, 'published.pth.tar'))
    scores = []
    for file in ('published.pth.tar', 'out.pth'):
        out = tmp_path / f'{file}.json'
        # Runs of one name that start in the same second would share their loggers.
        options = ('--cfg-options', f'experiment_name={tmp_path.name}_{file}')
        status, _, err = run('test', tmp_path / 'run.py', tmp_path / file, '--out', out, *options)
        assert status == 0, err
        scores.append(json.loads(out.read_text()))
    assert scores[0] == scores[1]
    assert 0 < scores[0]['reid/mAP'] < 100


@pytest.mark.slow
def test_training_starts_from_a_published_model(published, tmp_path):
    cfg = run_config(tmp_path, load_from=str(tmp_path / 'published.pth.tar'))
    cfg.optim_wrapper.optimizer = dict(type='SGD', lr=0.0)
    cfg.default_hooks.pseudo_label.labeler = dict(type='KMeansLabeler', num_clusters=8)
    runner = build_runner(prepare_config(cfg))
    runner.train()
    state = published.state_dict()
    for name, value in runner.model.backbone.named_parameters():
        torch.testing.assert_close(value, state[name], atol=0, rtol=0)
    cfg.resume, cfg.experiment_name, cfg.work_dir = True, 'resume_published', str(tmp_path / 'other')
    with pytest.raises(RuntimeError, match='no state of a training'):
        build_runner(cfg).train()
