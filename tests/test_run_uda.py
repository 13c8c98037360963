"""The chain of source training, domain adaptation and evaluation: its checks, its order, and going on after a stop."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from mmengine.config import ConfigDict

from glc.datasets import SyntheticSpec, make_synthetic

ROOT = Path(__file__).resolve().parents[1]

# Trainings that only leave what a training leaves: the checkpoints, and the arguments in a log.
FAKE_PYTHON = """#!{python} -S
import os, sys
from pathlib import Path

log = Path({log!r})
script, *arguments = sys.argv[1:]
if script.endswith('_uda_plan.py'):
    print('epoch_3.pth epoch_2.pth')
    sys.exit()
with log.open('a') as file:
    print(Path(script).stem, *arguments, file=file)
if script.endswith('test.py'):
    Path(arguments[arguments.index('--out') + 1]).write_text('scores')
    sys.exit()
folder = Path(arguments[arguments.index('--work-dir') + 1])
folder.mkdir(parents=True, exist_ok=True)
last = int(os.environ.get('STOP') or (3 if folder.name.endswith('_sup') else 2))
(folder / f'epoch_{{last}}.pth').touch()
(folder / 'last_checkpoint').write_text(f'/elsewhere/{{folder.name}}/epoch_{{last}}.pth')
sys.exit(130 if 'STOP' in os.environ else 0)
"""


def chain(*names: str, **environment: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        ['bash', 'tools/run_uda.sh', *names],
        cwd=ROOT,
        env={**os.environ, 'OMP_NUM_THREADS': '1', 'CUDA_VISIBLE_DEVICES': '', **environment},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def fake(tmp_path):
    """Runs the chain with fake trainings; returns the process and what was started."""
    python, log = tmp_path / 'python', tmp_path / 'started.log'
    python.write_text(FAKE_PYTHON.format(python=sys.executable, log=str(log)))
    python.chmod(0o755)

    def run(*names: str, **environment: str) -> tuple[subprocess.CompletedProcess, list[str]]:
        log.write_text('')
        done = chain(*names, PYTHON=str(python), WORK_DIRS=str(tmp_path / 'runs'), **environment)
        return done, log.read_text().splitlines()

    return run


def test_stages_run_once_in_order(fake, tmp_path):
    done, started = fake('msmt', 'market', 'vit_s', TARGET_OPTIONS='a.b=1 c=2')
    assert done.returncode == 0, done.stderr
    source, target = (tmp_path / 'runs' / name for name in ('vit_s_msmt_sup', 'vit_s_msmt2market_uda'))
    assert [line.split()[:2] for line in started] == [
        ['train', 'configs/source/vit_s_msmt_sup.py'],
        ['train', 'configs/glc/vit_s_msmt2market_uda.py'],
        ['test', 'configs/glc/vit_s_msmt2market_uda.py'],
    ]
    assert f'model.backbone.init_cfg.checkpoint={source}/epoch_3.pth a.b=1 c=2' in started[1]
    assert 'a.b=1' not in started[0]
    assert started[2].split()[2] == f'{target}/epoch_2.pth'
    assert started[2].endswith('--cfg-options a.b=1 c=2')
    done, started = fake('msmt', 'market', 'vit_s')
    assert (done.returncode, started) == (0, [])
    assert done.stdout.count('finished') == 3


def test_interrupted_training_is_resumed(fake, tmp_path):
    done, started = fake('msmt', 'market', 'vit_s', STOP='1')
    assert done.returncode == 130
    assert len(started) == 1
    done, started = fake('msmt', 'market', 'vit_s')
    assert done.returncode == 0, done.stderr
    assert [line.split()[0] for line in started] == ['train', 'train', 'test']
    for line in started[:2]:  # from the newest checkpoint that can be read, or from the beginning
        assert line.split()[2:6] == ['--work-dir', line.split()[3], '--resume', '--cfg-options']


def test_training_that_ends_early_stops_the_chain(fake):
    done, started = fake('msmt', 'market', 'vit_s', SOURCE_OPTIONS='x=1', STOP='2')
    assert done.returncode != 0
    assert len(started) == 1
    assert 'x=1' in started[0]


def test_what_depends_on_an_older_network_is_refused(fake, tmp_path):
    fake('msmt', 'market', 'vit_s')
    os.utime(tmp_path / 'runs/vit_s_msmt2market_uda/last_checkpoint', (0, 0))
    done, started = fake('msmt', 'market', 'vit_s')
    assert (done.returncode, started) == (1, [])
    assert 'was started from an older network' in done.stderr


def test_several_gpus_use_the_launchers(fake):
    done, _ = fake('msmt', 'market', 'vit_s', '2', SOURCE_GPUS='1')
    assert '+ bash tools/dist_train.sh configs/glc/vit_s_msmt2market_uda.py 2 --work-dir' in done.stdout
    assert 'dist_train.sh configs/source' not in done.stdout


@pytest.mark.parametrize(
    ('names', 'status', 'message'),
    [
        (('msmt', 'market'), 2, 'bash tools/run_uda.sh SOURCE TARGET BACKBONE'),
        (('msmt', 'market', 'vit_s', 'two'), 1, "GPUS must be a positive number, got 'two'"),
        (('duke', 'market', 'vit_s'), 1, 'no configs/source/vit_s_duke_sup.py, but: configs/source/'),
        (('msmt', 'duke', 'vit_s'), 1, 'no configs/glc/vit_s_msmt2duke_uda.py, but: configs/glc/'),
    ],
)
def test_wrong_arguments_are_explained_before_anything_runs(fake, names, status, message):
    done, started = fake(*names)
    assert (done.returncode, started) == (status, [])
    assert message in done.stderr


# ---------------------------------------------------------------- the checks


@pytest.fixture(scope='module')
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp('data')
    for seed, name in enumerate(('source', 'target')):
        spec = SyntheticSpec(
            train_ids=8,
            train_images=8,
            test_ids=4,
            test_images=4,
            distractors=1,
            junk=0,
            cameras=3,
            seed=seed,
        )
        make_synthetic(folder / name, spec, workers=1)
    return folder


@pytest.fixture(scope='module')
def plan_module():
    spec = importlib.util.spec_from_file_location('uda_plan', ROOT / 'tools' / '_uda_plan.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def options(root: Path) -> list[str]:
    return [f'{loader}_dataloader.dataset.data_root={root}' for loader in ('train', 'val', 'test')]


@pytest.fixture
def plan(plan_module, data, monkeypatch, capsys, tmp_path):
    def run(*extra: str, source: tuple[str, ...] = (), target: str = 'demo_synthetic2synthetic_uda') -> str:
        arguments = ['configs/source/demo_synthetic_sup.py', f'configs/glc/{target}.py', *extra]
        arguments += ['--source-dir', str(tmp_path), '--source-options', *options(data / 'source'), *source]
        monkeypatch.setattr(
            sys, 'argv', ['_uda_plan.py', *arguments, '--target-options', *options(data / 'target')]
        )
        monkeypatch.chdir(ROOT)
        plan_module.main()
        return capsys.readouterr().out

    return run


@pytest.mark.slow
def test_plan_names_the_last_checkpoints(plan):
    assert plan(source=('model.head.num_classes=8', 'train_cfg.max_epochs=7')) == 'epoch_7.pth epoch_6.pth\n'


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        ({}, r'has 8 identities, the head 100 classes.*num_classes=8'),
        ({'source': ('model.head.num_classes=8', 'model.backbone.stem_width=8')}, 'different backbones'),
        (
            {'source': ('model.head.num_classes=8', 'model.backbone.init_cfg.checkpoint=nowhere.pth')},
            "'nowhere.pth', do not exist",
        ),
        (
            {'source': ('model.head.num_classes=8', 'test_dataloader.dataset.data_root=nowhere')},
            'nowhere.*does not exist',
        ),
    ],
)
def test_plan_refuses(plan, arguments, message):
    with pytest.raises(SystemExit, match=message):
        plan(**arguments)


def test_plan_refuses_a_batch_that_cannot_be_shared(plan):
    with pytest.raises(SystemExit, match=r'BatchNorm groups of 64.*use at most 1 processes'):
        plan('--source-gpus', '2', source=('model.head.num_classes=8',))


def test_stochastic_depth_may_differ(plan_module):
    source, target = (ConfigDict(type='PASSViT', drop_path_rate=rate) for rate in (0.1, 0.3))
    plan_module.check_backbones(source, target)
    with pytest.raises(ValueError, match='different backbones'):
        plan_module.check_backbones(source, ConfigDict(type='PASSViT', arch='base'))


# ---------------------------------------------------------------- all of it

# The trainings themselves, except that they are interrupted where the adaptation should begin while a flag is there.
INTERRUPTED_PYTHON = """#!/usr/bin/env bash
[[ -e "{flag}" && "$*" == *tools/train.py*_uda.py* ]] && exit 130
exec "{python}" "$@"
"""


@pytest.mark.slow
def test_chain_goes_on_after_an_interruption_between_its_stages(data, tmp_path, warm):
    python, flag, runs = tmp_path / 'python', tmp_path / 'flag', tmp_path / 'runs'
    python.write_text(INTERRUPTED_PYTHON.format(flag=flag, python=warm))
    python.chmod(0o755)
    small = ['train_cfg.max_epochs=1', 'train_cfg.val_interval=2', 'train_dataloader.batch_size=16']
    small += ['train_dataloader.sampler.num_ids=4', 'train_dataloader.sampler.iterations=2']
    for loader in ('train', 'val', 'test'):
        small += [f'{loader}_dataloader.num_workers=0', f'{loader}_dataloader.persistent_workers=False']
    labels = [f'labeler.{name}' for name in ('k1=6', 'k2=2', 'min_samples=2', 'eps=0.7')]
    environment = {
        'PYTHON': str(python),
        'WORK_DIRS': str(runs),
        'SOURCE_OPTIONS': ' '.join([*small, *options(data / 'source'), 'model.head.num_classes=8']),
        'TARGET_OPTIONS': ' '.join(
            [*small, *options(data / 'target')]
            + [f'default_hooks.pseudo_label.{option}' for option in (*labels, 'num_workers=0')]
        ),
    }
    flag.touch()
    stopped = chain('synthetic', 'synthetic', 'demo', **environment)
    assert stopped.returncode == 130, stopped.stdout + stopped.stderr
    source = runs / 'demo_synthetic_sup' / 'epoch_1.pth'
    written = source.stat().st_mtime_ns
    flag.unlink()
    done = chain('synthetic', 'synthetic', 'demo', **environment)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f'[1/3] training on synthetic: finished, {source}' in done.stdout
    assert source.stat().st_mtime_ns == written
    (log,) = (runs / 'demo_synthetic2synthetic_uda').glob('2*/*.log')
    assert f'{source}: loaded' in log.read_text(), 'the adaptation starts from the source network'
    scores = json.loads((runs / 'demo_synthetic2synthetic_uda' / 'scores.json').read_text())
    assert 0 < scores['reid/mAP'] <= 100
