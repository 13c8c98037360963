"""The shell scripts: their environment is complete or made again, and mistakes are explained."""

import json
import os
import re
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SCRIPTS = [*sorted((ROOT / 'tools').glob('*.sh')), ROOT / '.ci' / 'run']

# A Python whose venv and pip only leave traces; everything else is the real one.
FAKE_PYTHON = """#!/usr/bin/env bash
case "$*" in
    '-m venv '*) mkdir -p "$3/bin" && cp "$0" "$3/bin/python" ;;
    '-m pip '*--index-url*) echo "$*" >>"{log}"; [[ ! -e "{offline}" ]] ;;
    '-m pip '*) echo "$*" >>"{log}"; [[ ! -e "{broken}" ]] ;;
    '-c import cv2'*) ;;
    '-c from torch import'*) [[ ! -e "{mismatched}" ]] ;;
    *) exec "{python}" "$@" ;;
esac
"""


@pytest.fixture
def checkout(tmp_path):
    """A checkout with the scripts and requirements only, beside a fake Python."""
    root = tmp_path / 'checkout'
    shutil.copytree(ROOT / 'requirements', root / 'requirements')
    (root / 'tools').mkdir()
    shutil.copy(ROOT / 'tools/_env.sh', root / 'tools')
    fake = tmp_path / 'python'
    names = {name: tmp_path / name for name in ('broken', 'offline', 'mismatched')}
    fake.write_text(FAKE_PYTHON.format(log=tmp_path / 'pip.log', python=sys.executable, **names))
    fake.chmod(0o755)
    return root


def make_environment(
    checkout: Path,
    argument: str = '',
    env_dir: Path | None = None,
    path: str = '/usr/bin:/bin',
    **variables: str,
) -> tuple[int, str, int]:
    """Exit status, output, and number of pip installs of ``glc_environment``, but for that of torch without CUDA."""
    base = checkout.parent
    log = base / 'pip.log'
    log.write_text('')
    source = f'set -euo pipefail; source "{checkout}/tools/_env.sh"'
    script = f'{source}; glc_environment {argument}; echo "at $GLC_PYTHON"'
    done = subprocess.run(
        ['bash', '-c', script],
        env={
            'PATH': path,
            'HOME': str(base),
            'PYTHON': str(base / 'python'),
            'GLC_ENV_DIR': str(env_dir or base / 'env'),
            **variables,
        },
        capture_output=True,
        text=True,
        check=False,
    )
    installs = [
        line for line in log.read_text().splitlines() if ' install ' in line and '--index-url' not in line
    ]
    return done.returncode, done.stdout + done.stderr, len(installs)


@pytest.mark.parametrize('script', SCRIPTS, ids=lambda path: path.name)
def test_script_parses(script):
    subprocess.run(['bash', '-n', script], check=True)


@pytest.mark.slow
def test_environment_is_made_once_and_completed_for_the_tests(checkout):
    status, output, installs = make_environment(checkout)
    assert (status, installs) == (0, 1), output
    assert f'at {checkout.parent}/env/bin/python' in output
    assert make_environment(checkout)[2] == 0
    assert make_environment(checkout, 'tests')[2] == 1
    assert make_environment(checkout, 'tests')[2] == 0


def test_interrupted_installation_is_made_again(checkout):
    broken = checkout.parent / 'broken'
    broken.touch()
    status, output, _ = make_environment(checkout)
    assert status != 0
    assert 'FAILED: installing the requirements' in output
    assert str(checkout.parent / 'env.log') in output
    leftover = checkout.parent / 'env' / 'leftover'
    leftover.touch()
    broken.unlink()
    assert make_environment(checkout)[::2] == (0, 1)
    assert not leftover.exists()


@pytest.mark.slow
@pytest.mark.parametrize('gpu', [False, True])
@pytest.mark.parametrize('problem', [None, 'offline', 'mismatched'])
def test_torch_comes_without_cuda_where_there_is_no_gpu(checkout, gpu, problem):
    base = checkout.parent
    if problem:
        (base / problem).touch()
    command = base / 'bin/nvidia-smi'
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\nexit {0 if gpu else 1}\n')
    command.chmod(0o755)
    status, output, installs = make_environment(checkout, path=f'{base}/bin:/usr/bin:/bin')
    assert (status, installs) == (0, 1), output
    first, *others = (base / 'pip.log').read_text().splitlines()
    if gpu:
        assert 'requirements/gpu.txt' in first
    else:
        assert '--isolated' in first
        assert '--index-url https://download.pytorch.org/whl/cpu' in first
        wanted = (base / 'env/torch.txt').read_text().splitlines()
        assert [re.split('[<>=~]', line)[0] for line in wanted] == ['torch', 'torchvision']
        *undone, install = others
        assert undone == ['-m pip uninstall --yes torch torchvision'] * bool(problem)
        assert 'requirements/cpu.txt' in install
        assert ('torch comes with CUDA' in (base / 'env.log').read_text()) == bool(problem)


def test_no_index_is_tried_where_none_is_named(checkout):
    assert make_environment(checkout, GLC_CPU_INDEX='')[::2] == (0, 1)
    (install,) = (checkout.parent / 'pip.log').read_text().splitlines()
    assert 'requirements/cpu.txt' in install


@pytest.mark.slow
def test_epochs_are_told_while_a_step_runs(checkout):
    source = f'set -euo pipefail; source "{checkout}/tools/_env.sh"'
    step = 'sleep 3; echo "10:00:00  epoch 1/2  loss 3.5"; echo "10:00:00      train 1.0 s"; sleep 3'
    done = subprocess.run(
        [
            'bash',
            '-c',
            f'{source}; glc_step title "{checkout}/log" bash -c \'{step}\'',
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    begin, epoch, end = (line[10:] for line in done.stdout.splitlines())
    assert (begin, epoch) == ('title ...', '  epoch 1/2  loss 3.5')
    assert end.startswith('title: done in ')


@pytest.mark.slow
def test_changed_requirements_make_a_new_environment(checkout):
    make_environment(checkout, 'tests')
    with (checkout / 'requirements' / 'runtime.txt').open('a') as file:
        file.write('einops\n')
    assert make_environment(checkout, 'tests')[::2] == (0, 2)


def test_foreign_folder_is_refused_and_kept(checkout):
    foreign = checkout.parent / 'foreign'
    foreign.mkdir()
    (foreign / 'thesis.tex').touch()
    status, output, installs = make_environment(checkout, env_dir=foreign)
    assert (status, installs) == (1, 0)
    assert 'was not made by this script' in output
    assert (foreign / 'thesis.tex').exists()


@pytest.mark.parametrize('script', ['dist_train.sh', 'dist_test.sh', 'slurm_train.sh'])
def test_launchers_explain_missing_arguments(script):
    done = subprocess.run(['bash', ROOT / 'tools' / script], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert f'bash tools/{script}' in done.stderr


def test_several_machines_need_a_common_port():
    done = subprocess.run(
        ['bash', ROOT / 'tools/dist_train.sh', 'config.py', '2'],
        env={'PATH': '/usr/bin:/bin', 'NNODES': '2'},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert 'MASTER_PORT' in done.stderr


# ---------------------------------------------------------------- the quick start

# Stands for every Python tool of the quick start: notes its call and leaves what the tool leaves.
STUB = """
import json, sys
from pathlib import Path

name, arguments = Path(sys.argv[0]).stem, sys.argv[1:]
with Path('calls.log').open('a') as file:
    print(name, *arguments, file=file)
if Path('stop').exists() and Path('stop').read_text() in ' '.join([name, *arguments]):
    sys.exit('stopped here')
if name == 'train':
    folder = Path(arguments[arguments.index('--work-dir') + 1])
    (folder / 'time' / 'vis_data').mkdir(parents=True, exist_ok=True)
    (folder / 'last_checkpoint').write_text(f'{folder}/epoch_1.pth')
    record = {'step': 0, 'pseudo_labels/labels/pairwise_f': 0.5, 'pseudo_labels/corrected/pairwise_f': 0.625}
    (folder / 'time' / 'vis_data' / 'scalars.json').write_text(json.dumps(record))
if name == 'test':
    out = Path(arguments[arguments.index('--out') + 1])
    score = {'source': 30.0, 'cluster_contrast': 42.0, 'glc': 49.5}[out.stem]
    out.write_text(json.dumps({'reid/mAP': score, 'reid/rank1': 2 * score}))
"""


@pytest.fixture
def quickstart(checkout):
    """Starts the quick start of a checkout whose tools are stubs; returns status, output, and the calls of tools."""
    stubs = ('dataset_tools/make_synthetic', 'visualization/draw_ranked', 'analysis_tools/report')
    for name in ('train', 'test', *stubs):
        path = checkout / 'tools' / f'{name}.py'
        path.parent.mkdir(exist_ok=True)
        path.write_text(STUB)
    for name in ('quickstart.sh', '_quickstart_summary.py', 'analysis_tools/print_curves.py'):
        shutil.copy(ROOT / 'tools' / name, checkout / 'tools' / name)
    shutil.copytree(ROOT / 'glc', checkout / 'glc', ignore=shutil.ignore_patterns('__pycache__'))
    (checkout / 'configs').mkdir()
    (checkout / 'configs/part.py').write_text('number = 1\n')

    def start(*arguments: str) -> tuple[int, str, list[str]]:
        log = checkout / 'calls.log'
        log.write_text('')
        done = subprocess.run(
            ['bash', checkout / 'tools/quickstart.sh', *arguments],
            env={
                'PATH': os.environ['PATH'],
                'HOME': str(checkout.parent),
                'PYTHON': str(checkout.parent / 'python'),
                'GLC_ENV_DIR': str(checkout.parent / 'env'),
            },
            capture_output=True,
            text=True,
            check=False,
        )
        return done.returncode, done.stdout + done.stderr, log.read_text().splitlines()

    return start


def names(calls: list[str]) -> list[str]:
    return [call.split()[0] for call in calls]


@pytest.mark.slow
def test_quickstart_tells_what_happened_and_does_nothing_twice(quickstart, checkout):
    status, output, calls = quickstart('--seed', '3')
    assert status == 0, output
    assert sorted(names(calls)) == sorted(
        ['make_synthetic'] * 2 + ['train'] * 3 + ['test'] * 3 + ['draw_ranked'] * 2 + ['report']
    )
    assert names(calls[:3]) == ['make_synthetic', 'make_synthetic', 'train']
    adapted = [call for call in calls if call.startswith('train configs/') and '2synthetic' in call]
    assert sorted(call.split()[1].split('/')[1] for call in adapted) == ['cluster_contrast', 'glc']
    for call in adapted:
        assert 'init_cfg.checkpoint=work_dirs/quickstart/seed_3/source/epoch_1.pth' in call
        assert 'randomness.seed=3' in call
    for line in (
        'source network, not adapted           30.0    60.0',
        'adaptation without correction is +12.0 mAP and with correction +19.5 mAP. Correction alone: +7.5 mAP.',
        'epoch 1: 50.0 before, 62.5 after',
        'learned from labels of 50.0, the run with correction from labels of 62.5',
        'work_dirs/quickstart/seed_3/ranked_glc.png',
        'work_dirs/quickstart/seed_3/glc/report.html',
        f'cd {checkout} && source ',
        'python tools/train.py configs/glc/mobilenetv2_image_folder.py --cfg-options '
        'train_dataloader.dataset.data_root=work_dirs/quickstart/seed_3/target_images/bounding_box_train',
    ):
        assert line in output
    again = quickstart('--seed', '3')
    assert again[0] == 0
    assert again[2] == []
    assert 'nothing left to do' in again[1]
    assert 'Correction alone: +7.5 mAP' in again[1]
    assert len(quickstart('--seed', '4')[2]) == len(calls), 'another seed has a folder of its own'
    (checkout / 'configs/part.py').write_text('number = 2\n')
    status, output, calls = quickstart('--seed', '3')
    assert 'code or settings have changed' in output
    assert len(calls) == 11


@pytest.mark.slow
def test_the_small_quickstart_does_nothing_twice(quickstart):
    assert len(quickstart('--small')[2]) == 11
    status, output, calls = quickstart('--small')
    assert (status, calls) == (0, [])
    assert 'nothing left to do: work_dirs/quickstart_small/seed_0' in output


@pytest.mark.slow
@pytest.mark.parametrize(
    ('stop', 'left'),
    [
        ('train configs/source', {'make_synthetic': 0, 'train': 3, 'test': 3, 'draw_ranked': 2}),
        ('train configs/glc', {'make_synthetic': 0, 'train': 1, 'test': 1}),
        ('train configs/cluster_contrast', {'make_synthetic': 0, 'train': 1}),
        ('draw_ranked', {'make_synthetic': 0, 'train': 0, 'test': 0, 'draw_ranked': 2}),
    ],
)
def test_quickstart_goes_on_where_it_stopped(quickstart, checkout, stop, left):
    (checkout / 'stop').write_text(stop)
    status, output, _ = quickstart()
    assert status == 1
    assert 'stopped here' in output
    assert 'FAILED' in output
    (checkout / 'stop').unlink()
    status, output, calls = quickstart()
    assert status == 0, output
    assert 'finished before' in output
    for name, count in left.items():
        # The side run is stopped wherever it is: what it has left is at most all of it.
        assert count <= names(calls).count(name) <= count + (2 if 'glc' in stop or 'contrast' in stop else 0)
    assert all('--resume' in call for call in calls if call.startswith('train'))


def test_quickstart_refuses_what_it_did_not_make(quickstart, checkout):
    foreign = checkout / 'work_dirs/quickstart/seed_0'
    foreign.mkdir(parents=True)
    (foreign / 'thesis.tex').touch()
    status, output, calls = quickstart()
    assert (status, calls) == (1, [])
    assert 'was not made by this script' in output
    assert (foreign / 'thesis.tex').exists()


@pytest.mark.parametrize('arguments', [('--seed',), ('--seed', '-1'), ('--seed', '01'), ('--fast',)])
def test_quickstart_explains_its_options(quickstart, arguments):
    status, output, calls = quickstart(*arguments)
    assert (status, calls) == (1, [])
    assert '--seed' in output


def test_summary_takes_the_later_log_of_an_epoch(tmp_path):
    read_labels = runpy.run_path(str(ROOT / 'tools/_quickstart_summary.py'))['read_labels']
    for time, scores in (('20260101_000000', (0.1, 0.2)), ('20260101_000001', (None, 0.25, 0.375))):
        folder = tmp_path / time / 'vis_data'
        folder.mkdir(parents=True)
        records = [
            {'step': step, 'pseudo_labels/labels/pairwise_f': score}
            for step, score in enumerate(scores)
            if score is not None
        ]
        lines = [json.dumps(record) for record in [*records, {'step': 0, 'loss': 1.0}]]
        (folder / 'scalars.json').write_text('\n'.join(lines))
    assert read_labels(tmp_path, 'labels') == {0: 10.0, 1: 25.0, 2: 37.5}
    assert read_labels(tmp_path, 'corrected') == {}


def test_table_of_several_seeds(tmp_path):
    table = runpy.run_path(str(ROOT / 'tools/_quickstart_summary.py'))['table']
    works = [tmp_path / str(seed) for seed in range(3)]
    for seed, work in enumerate(works):
        work.mkdir()
        for name in ('source', 'cluster_contrast', 'glc'):
            (work / f'{name}.json').write_text(json.dumps({'reid/mAP': 10.0 + 2 * seed, 'reid/rank1': 20.0}))
    assert table(works).splitlines()[2] == (
        '| source network, not adapted | 12.0 ± 2.0 | 10.0, 12.0, 14.0 | 20.0 ± 0.0 | 20.0, 20.0, 20.0 |'
    )
