"""The suite of trainings: its configs, its budget, going on after a stop, and its table."""

import importlib.util
import json
import sys
import time
from pathlib import Path

import pytest
import yaml
from mmengine.config import Config

from glc.datasets import SyntheticSpec, make_synthetic

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope='module')
def suite():
    spec = importlib.util.spec_from_file_location('run_suite', ROOT / 'tools' / 'run_suite.py')
    module = sys.modules['run_suite'] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def arguments(suite, monkeypatch):
    monkeypatch.chdir(ROOT)

    def parse(*words):
        monkeypatch.setattr(sys, 'argv', ['run_suite.py', *map(str, words)])
        return suite.parse_args()

    return parse


def write_suite(path, settings, **rest):
    path.write_text(yaml.safe_dump({**rest, 'settings': settings}, sort_keys=False))
    return path


# ---------------------------------------------------------------- configs


@pytest.mark.slow
@pytest.mark.parametrize('name', ['market', 'market_cpu'])
def test_settings_make_configs_that_fit_together(suite, arguments, name):
    runs = suite.plan(arguments(ROOT / f'tools/suites/{name}.yml', '--seeds', 3))
    assert {f'{task}_{kind}' for task in ('uda', 'usl') for kind in ('glc', 'without', 'restart')} <= {
        run.setting for run in runs
    }
    for run in runs:
        cfg, hooks = run.cfg, run.cfg.default_hooks
        sampler = cfg.train_dataloader.sampler
        assert cfg.randomness.seed == run.seed == 3
        assert cfg.train_dataloader.batch_size == sampler.num_ids * sampler.num_instances
        assert cfg.optim_wrapper.optimizer.keys() == {'type', 'lr', 'weight_decay'}
        assert (hooks.pseudo_label.corrector is None) == run.setting.endswith(('_without', '_consensus'))
        assert ('restart' in hooks) == run.setting.endswith('_restart')
        if 'restart' in hooks:
            first, second = cfg.param_scheduler
            assert first['end'] == second['begin'] == hooks.restart.epoch
            assert second['end'] == cfg.train_cfg.max_epochs
            assert hooks.pseudo_label.frozen_epochs[0] == hooks.restart.epoch + 1


def test_extensions_differ_from_the_plain_memory_in_their_part_only(suite, arguments):
    runs = suite.plan(arguments(ROOT / 'tools/suites/extensions_cpu.yml', '--seeds', 0))
    plain, *others = (run.cfg.to_dict() for run in runs)
    assert plain['default_hooks']['pseudo_label']['corrector'] is None
    for cfg, changed in zip(
        others,
        (
            {'model.head.memory'},
            {
                'model.head.memory',
                'train_dataloader.sampler.outlier_groups',
                'default_hooks.pseudo_label.labeler',
            },
            {'default_hooks.mean_teacher'},
        ),
        strict=True,
    ):
        assert set(differences(plain, cfg)) == changed


def differences(one, other, path='', depth=3):
    """Keys, no deeper than this, whose values differ."""
    if one == other:
        return []
    if not depth or not isinstance(one, dict) or not isinstance(other, dict):
        return [path]
    return [
        found
        for key in {*one, *other}
        for found in differences(one.get(key), other.get(key), f'{path}.{key}'.strip('.'), depth - 1)
    ]


@pytest.mark.slow
def test_only_the_named_settings_run(suite, arguments, monkeypatch, tmp_path):
    done = {name: [] for name in ('check', 'execute')}
    monkeypatch.setattr(suite, 'check', lambda runs, *_: done['check'].extend(run.setting for run in runs))
    monkeypatch.setattr(suite, 'execute', lambda run, *_: not done['execute'].append(run.setting))
    arguments('--seeds', 0, '--work-dir', tmp_path, '--settings', 'usl_glc', 'uda_glc')
    assert suite.main() == 0
    assert done == {'check': ['uda_glc', 'usl_glc'], 'execute': ['uda_glc', 'usl_glc']}
    assert 'uda_consensus' in (tmp_path / 'RESULTS.md').read_text()  # the table lists all
    runs = suite.plan(arguments('--seeds', 0))
    assert suite.choose(runs, None) == runs
    with pytest.raises(ValueError, match=r"no setting \['nothing'\] in the suite, it has: uda_glc"):
        suite.choose(runs, ['uda_glc', 'nothing'])


@pytest.mark.slow
def test_schedules_are_those_of_their_names(suite, arguments):
    full = {run.setting: run for run in suite.plan(arguments('--seeds', 0))}
    small = {run.setting: run for run in suite.plan(arguments('--cpu', '--seeds', 0))}
    assert {run.max_epochs for run in full.values()} == {50}
    assert {run.cfg.train_dataloader.sampler.iterations for run in full.values()} == {200}
    measured = Config.fromfile('configs/glc/osnet_x0_25_msmt2market_uda.py')
    for part in ('model', 'optim_wrapper', 'param_scheduler', 'train_cfg'):
        assert small['uda_glc'].cfg[part] == measured[part]
    corrector = small['usl_restart'].cfg.default_hooks.pseudo_label.corrector
    base = Config.fromfile('configs/_base_/labelers/jaccard_dbscan_glc_cpu.py')
    assert corrector == base.default_hooks.pseudo_label.corrector


@pytest.mark.parametrize(
    ('content', 'message'),
    [
        ('settings: {}', 'needs settings'),
        ('- a list', 'needs settings'),
        ('settings: {a: {config: x.py}}\nseeds: 3', 'may have merge and options'),
        ('settings: {a: {options: {x: 1}}}', "setting 'a' needs a config"),
        ('settings: {a: x.py}', "setting 'a' needs a config"),
        *(
            (f'settings: {{"{name}": {{config: x.py}}}}', 'the setting .* names a folder')
            for name in ('../../x', '/tmp/x', '..', 'a/b', '', '.hidden', 'a b', '-x')
        ),
    ],
)
def test_a_wrong_suite_is_explained(suite, arguments, tmp_path, content, message):
    (tmp_path / 'suite.yml').write_text(content)
    with pytest.raises(ValueError, match=message):
        suite.plan(arguments(tmp_path / 'suite.yml'))


# ---------------------------------------------------------------- table


def write_run(run, epochs, scores=None):
    """What a training of these epochs leaves: 1 s of extraction, 3 s of epoch 1 in the corrector, 7 s per epoch."""
    logs = run.folder / '20260101_000000' / 'vis_data'
    logs.mkdir(parents=True)
    lines = []
    for epoch in range(epochs):
        stages = {'pseudo_labels/seconds/extract': 1.0, 'pseudo_labels/seconds/label': 2.0}
        if epoch == 1:
            stages['pseudo_labels/seconds/correct'] = 3.0
        lines += [{**stages, 'step': epoch}, {'seconds/epoch': 7.0, 'step': epoch}]
        lines += [{'loss': 1.0, 'epoch': epoch + 1, 'step': 9}, {'reid/mAP': 10.0 + epoch, 'step': epoch + 1}]
    (logs / 'scalars.json').write_text('\n'.join(map(json.dumps, lines)))
    (run.folder / f'epoch_{epochs}.pth').touch()
    (run.folder / 'last_checkpoint').write_text(f'/elsewhere/epoch_9/epoch_{epochs}.pth')
    if scores:
        (run.folder / 'scores.json').write_text(json.dumps(scores))


def test_table_and_curves(suite, arguments, tmp_path):
    settings = {name: {'config': 'configs/glc/demo_synthetic.py'} for name in ('first', 'second')}
    path = write_suite(tmp_path / 'suite.yml', settings)
    args = arguments(path, '--work-dir', tmp_path / 'runs')
    runs = suite.plan(args)
    assert [(run.seed, run.setting) for run in runs[:3]] == [(0, 'first'), (0, 'second'), (1, 'first')]
    write_run(runs[0], 10, {'reid/mAP': 50.0, 'reid/rank1': 70.0})
    write_run(runs[2], 10, {'reid/mAP': 52.0, 'reid/rank1': 71.0})
    write_run(runs[4], 4)
    args.work_dir.mkdir(exist_ok=True)
    suite.report(runs, args.work_dir)
    rows = (args.work_dir / 'RESULTS.md').read_text().splitlines()
    assert rows[-2:] == [
        '| first | configs/glc/demo_synthetic.py | 0, 1 | 10, 10, 4 of 10 | 51.0 ± 1.4 | 70.5 ± 0.7 '
        '| 7.0 | 1.0 | 2.0 | 3.0 | 3.6 |',  # 24 epochs, 3 of them corrected
        '| second | configs/glc/demo_synthetic.py | none | 0, 0, 0 of 10 | not measured | not measured '
        '|  |  |  |  |  |',
    ]
    curves = (args.work_dir / 'curves/first.md').read_text()
    assert curves.count('## first, seed') == 3
    assert '| 4 | 1.000 | 13.000 |' in curves
    assert (args.work_dir / 'curves.png').stat().st_size > 0
    assert suite.expected_epoch(runs, 'first') == 7
    assert suite.expected_epoch(runs, 'second') == 0


# ---------------------------------------------------------------- all of it


@pytest.fixture(scope='module')
def data(tmp_path_factory):
    root = tmp_path_factory.mktemp('data') / 'synthetic'
    spec = SyntheticSpec(
        train_ids=8, train_images=8, test_ids=4, test_images=4, distractors=1, junk=0, cameras=3, seed=0
    )
    make_synthetic(root, spec, workers=1)
    return root


@pytest.fixture
def demo(data, tmp_path):
    """A suite of two settings, two epochs each."""
    options = {'train_cfg.max_epochs': 2, 'train_cfg.val_interval': 2, 'train_dataloader.batch_size': 16}
    options |= {'train_dataloader.sampler.num_ids': 4, 'train_dataloader.sampler.iterations': 2}
    for loader in ('train', 'val', 'test'):
        options[f'{loader}_dataloader.dataset.data_root'] = str(data)
        options |= {f'{loader}_dataloader.num_workers': 0, f'{loader}_dataloader.persistent_workers': False}
    label = 'default_hooks.pseudo_label'
    options |= {
        f'{label}.num_workers': 0,
        f'{label}.labeler': {'k1': 6, 'k2': 2, 'min_samples': 2, 'eps': 0.7},
    }
    settings = {
        'glc': {
            'config': 'configs/glc/demo_synthetic.py',
            'options': {f'{label}.correct_begin': 1, f'{label}.correct_interval': 1},
        },
        'without': {'config': 'configs/cluster_contrast/demo_synthetic.py'},
    }
    return write_suite(tmp_path / 'demo.yml', settings, options=options)


class Clock:
    """The suite's clock: slow by an hour, so that what it starts finds its deadline passed."""

    offset = -3600.0
    strftime = staticmethod(time.strftime)

    def time(self):
        return time.time() + self.offset


@pytest.mark.slow
def test_budget_stops_and_the_next_call_goes_on(suite, arguments, demo, tmp_path, monkeypatch, capsys, warm):
    clock, launch = Clock(), suite.launch

    def launch_for_an_hour(*args):
        status = launch(*args)
        clock.offset = 0.0
        return status

    monkeypatch.setattr(sys, 'executable', str(warm))
    monkeypatch.setattr(suite, 'time', clock)
    monkeypatch.setattr(suite, 'launch', launch_for_an_hour)

    def run(*words):
        arguments(demo, '--device', 'cpu', '--seeds', 0, '--work-dir', tmp_path / 'runs', *words)
        status = suite.main()
        return status, [line[10:] for line in capsys.readouterr().out.splitlines() if ', seed 0: ' in line]

    assert run('--budget', '30', '--grace', '60') == (
        0,
        [
            'glc, seed 0: training from epoch 0 of 2',
            'glc, seed 0: stopped after epoch 1 of 2',
            'without, seed 0: not started, the budget is used up',
        ],
    )
    status, said = run('--budget', '120')
    assert status == 0
    assert said == [
        'glc, seed 0: training from epoch 1 of 2',
        'glc, seed 0: finished',
        'without, seed 0: training from epoch 0 of 2',
        'without, seed 0: finished',
    ]
    assert run()[1] == ['glc, seed 0: is finished', 'without, seed 0: is finished']
    rows = [line.split(' | ') for line in (tmp_path / 'runs/RESULTS.md').read_text().splitlines()[-2:]]
    for row, name in zip(rows, ('glc', 'without'), strict=True):
        logs = sorted((tmp_path / 'runs' / name / 'seed_0').glob('*/vis_data/scalars.json'))
        scores = next(json.loads(line) for line in logs[-1].read_text().splitlines() if 'reid/mAP' in line)
        assert row[2:6] == ['0', '2 of 2', f'{scores["reid/mAP"]:.1f}', f'{scores["reid/rank1"]:.1f}']
        assert float(row[6]) > 0
        curves = (tmp_path / 'runs/curves' / f'{name}.md').read_text()
        assert '| 2 |' in curves
        assert f' {scores["reid/mAP"]:.3f} |' in curves
    # Another config is not mixed with what is there.
    demo.write_text(demo.read_text().replace('eps: 0.7', 'eps: 0.6'))
    assert run()[0] == 2


@pytest.mark.slow
def test_failing_run_does_not_stop_the_others(suite, arguments, demo, tmp_path, monkeypatch, capsys):
    started = []

    def launch(run, tool, *_):
        started.append((run.setting, tool))
        return 1 if run.setting == 'glc' else None

    monkeypatch.setattr(suite, 'launch', launch)
    arguments(demo, '--device', 'cpu', '--seeds', 0, '--work-dir', tmp_path / 'runs')
    assert suite.main() == 1
    assert started == [('glc', 'train'), ('without', 'train')]
    out = capsys.readouterr().out
    assert 'glc, seed 0: FAILED, see' in out
    assert 'without, seed 0: stopped after epoch 0 of 2' in out


def test_lost_evaluation_is_made_up_for(suite, arguments, demo, tmp_path, monkeypatch):
    args = arguments(demo, '--work-dir', tmp_path / 'runs')
    run = suite.plan(args)[0]
    write_run(run, 2)  # without Rank-1
    assert run.scores == {}
    started = []

    def launch(run, tool, words, *_):
        started.append((tool, Path(words[0]).name))
        Path(words[words.index('--out') + 1]).write_text('{"reid/mAP": 1.0, "reid/rank1": 2.0}')

    monkeypatch.setattr(suite, 'launch', launch)
    assert suite.execute(run, args, time.time())
    assert started == [('test', 'epoch_2.pth')]
    assert run.scores == {'reid/mAP': 1.0, 'reid/rank1': 2.0}


def test_what_is_missing_is_named_before_anything_runs(suite, arguments, demo, tmp_path, capsys):
    settings = {'mobile': {'config': 'configs/glc/mobilenetv2_market_usl.py'}}
    options = {'model.backbone.init_cfg.checkpoint': 'nowhere.pth'}
    write_suite(demo, settings, options=options)
    arguments(demo, '--work-dir', tmp_path / 'runs')
    assert suite.main() == 2
    assert "setting 'mobile' starts from 'nowhere.pth', which does not exist" in capsys.readouterr().err
    assert not (tmp_path / 'runs').exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    'cut', ['', '{"reid/mAP": 50.0, "reid/ra', '[]', '{"reid/mAP": "x"}', '{"reid/mAP": 1.0}']
)
def test_a_cut_file_of_scores_is_passed_over(suite, arguments, demo, tmp_path, capsys, cut):
    """The scores in the log count; where it has none, the evaluation is made again."""
    args = arguments(demo, '--work-dir', tmp_path / 'runs')
    first, second = suite.plan(args)[:2]
    write_run(first, 2, {'reid/mAP': 50.0, 'reid/rank1': 70.0})
    write_run(second, 2)
    (second.folder / 'scores.json').write_text(cut)
    suite.report([first, second], args.work_dir)
    rows = (args.work_dir / 'RESULTS.md').read_text().splitlines()[-2:]
    assert '| 50.0 | 70.0 |' in rows[0]
    assert '| none | 2 of 2 | not measured |' in rows[1]
    assert f"'{second.folder}/scores.json' passed over" in capsys.readouterr().err


def test_a_cut_line_of_a_log_is_passed_over(suite, tmp_path, capsys):
    path = tmp_path / 'time' / 'vis_data' / 'scalars.json'
    path.parent.mkdir(parents=True)
    path.write_text('{"reid/mAP": 41.25, "step": 2}\n[]\n{"reid/mAP": 9}\n{"step": 3, "reid/mAP": 41.')
    assert suite.read_epochs(tmp_path, ['reid/mAP']) == {2: {'reid/mAP': 41.25}}
    warned = capsys.readouterr().err
    assert all(
        f"'{path}' passed over, it was cut off or changed: line {number}: " in warned for number in (2, 3, 4)
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ('pointer', 'files', 'epochs'),
    [
        ('epoch_2.pth', [1, 2, 3], 2),
        ('/elsewhere/epoch_2.pth', [2], 2),
        ('', [1, 2], 2),
        (None, [1, 10], 10),
        ('epoch_3.pth', [1], 1),
        (None, [], 0),
    ],
)
def test_epochs_are_those_of_the_files(suite, arguments, demo, tmp_path, pointer, files, epochs):
    run = suite.plan(arguments(demo, '--work-dir', tmp_path / 'runs'))[0]
    run.folder.mkdir(parents=True)
    for number in files:
        (run.folder / f'epoch_{number}.pth').touch()
    if pointer is not None:
        (run.folder / 'last_checkpoint').write_text(pointer)
    assert run.epochs == epochs


@pytest.mark.slow
def test_program_that_takes_too_long_is_cut_off(suite, arguments, demo, tmp_path):
    args = arguments(demo, '--device', 'cpu', '--work-dir', tmp_path / 'runs')
    run = suite.plan(args)[0]
    run.folder.mkdir(parents=True)
    run.cfg.dump(run.config)
    start = time.time()
    assert suite.launch(run, 'train', [], args, start + 0.1) is None
    assert time.time() - start < 20
