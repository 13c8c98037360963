"""The console has a summary of at most 100 columns, the log file everything."""

import importlib.util
import re
import sys
import types

import pytest

from glc.apis import build_for_test, build_runner, check_config, load_config, prepare_config
from glc.apis.options import parse_value
from glc.engine.console import WIDTH
from glc.engine.hooks import summary_hook
from tests.runs import ROOT, log, records, source_config, tiny_config, train


@pytest.fixture(scope='module')
def told(images, tmp_path_factory):
    """A training with evaluation and correction that is resumed at its end: runners and what the console had."""
    folder = tmp_path_factory.mktemp('told')
    cfg = tiny_config(
        images,
        folder,
        train_cfg__val_interval=1,
        default_hooks__pseudo_label__frozen_epochs=[1],
        default_hooks__pseudo_label__corrector=dict(type='NeighborVoting', k=3),
    )
    capture = pytest.MonkeyPatch()
    shown = types.SimpleNamespace(text='', write=lambda text: setattr(shown, 'text', shown.text + text))
    shown.flush = shown.isatty = lambda: False
    with capture.context() as patch:
        patch.setattr(sys, 'stdout', shown)
        runner = train(cfg)
        first, shown.text = shown.text, ''
        cfg.resume = 'auto'
        train(cfg)
    return runner, first, shown.text


@pytest.mark.slow
def test_an_epoch_is_told_in_a_few_lines(told):
    runner, text, _ = told
    lines = text.splitlines()
    summary = [line for line in lines if re.match(r'\d\d:\d\d:\d\d  (epoch|    )', line)]
    assert len(summary) == 6  # three lines of each of two epochs
    assert max(map(len, summary)) <= WIDTH
    assert len(lines) < 20, text
    times = r'\d\d:\d\d:\d\d  '
    number = r'[\d.]+'
    labels = rf'{number} clusters  {number}% outliers  label F {number} -> {number}'
    assert re.search(rf'{times}epoch 1/2  loss {number}  lr 0.05  {labels}\n', text)
    assert re.search(
        rf'{times}    extract {number} s  label {number} s  correct {number} s  train {number} s  about .* left\n',
        text,
    )
    assert re.search(
        rf'{times}epoch 2/2  loss {number}  lr 0.05  labels kept\n{times}    train {number} s\n', text
    )
    assert (
        len(
            re.findall(
                rf'{times}    mAP {number}  mINP {number}  rank1 {number}  .*  evaluation {number} s', text
            )
        )
        == 2
    )
    assert f"the whole log is '{runner.logger.log_file}'" in text
    assert "Market1501 in '" in text


def test_the_loss_is_the_mean_over_the_epoch(told):
    runner, text, _ = told
    losses = [record['loss'] for record in records(runner) if record.get('epoch') == 1 and 'loss' in record]
    buffer = runner.message_hub.get_scalar('train/loss').data[0]
    assert len(losses) == 2
    assert f'epoch 1/2  loss {buffer[:2].mean():.4g}' in text
    assert f'epoch 2/2  loss {buffer[2:4].mean():.4g}' in text


def test_dumps_and_details_are_in_the_file_only(told):
    runner, text, _ = told
    for detail in (
        'Config:',
        'System environment',
        'Hooks will be',
        'Epoch(train)',
        'bcubed P/R/F',
        'The best checkpoint',
    ):
        assert detail in log(runner)
        assert detail not in text
    for pointless in ('FileClient', 'HardDiskBackend'):
        assert pointless not in log(runner) + text


def test_a_finished_training_says_so(told):
    *_, text = told
    assert 'nothing left to train: 2 of 2 epochs (train_cfg.max_epochs) are done' in text
    assert 'epoch 1/2' not in text


def test_an_evaluation_is_told(images, tmp_path, capsys):
    build_for_test(tiny_config(images, tmp_path), None, evaluating=True).test()
    lines = capsys.readouterr().out.splitlines()
    assert re.search(r'mAP [\d.]+  mINP .*  evaluation [\d.]+ s$', lines[-1])
    assert len(lines) < 8


@pytest.mark.slow
def test_debug_shows_everything(images, tmp_path, capsys):
    build_runner(prepare_config(tiny_config(images, tmp_path, log_level='DEBUG')))
    assert 'System environment' in capsys.readouterr().out


@pytest.mark.slow
def test_a_long_epoch_is_told_without_a_terminal(images, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(summary_hook, '_SILENCE', 0)
    train(source_config(images, tmp_path, train_cfg__max_epochs=1))
    text = capsys.readouterr().out
    assert re.search(r'  epoch 1/1, iteration 1/\d+  loss [\d.]+\n', text)
    assert re.search(r'  epoch 1/1  loss [\d.]+  lr 0.05\n.*    train [\d.]+ s\n', text)


# ---------------------------------------------------------------- TensorBoard and others


def test_tensorboard_gets_the_scalars(told):
    pytest.importorskip('tensorboard')
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    runner, *_ = told
    events = EventAccumulator(
        str(runner.visualizer._vis_backends['TensorboardVisBackend']._save_dir)
    ).Reload()
    logged = [record['reid/mAP'] for record in records(runner) if 'reid/mAP' in record]
    assert [event.value for event in events.Scalars('reid/mAP')] == pytest.approx(logged)
    assert 'pseudo_labels/clusters' in events.Tags()['scalars']


def test_without_tensorboard_one_line_says_so(images, tmp_path, capsys, monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(
        'glc.engine.runner.find_spec', lambda name: None if name == 'tensorboard' else find(name)
    )
    runner = build_runner(prepare_config(tiny_config(images, tmp_path)))
    assert list(runner.visualizer._vis_backends) == ['LocalVisBackend']
    assert capsys.readouterr().out.count('pip install tensorboard') == 1


class Service(types.ModuleType):
    """Stands for wandb and for mlflow: takes every call, and notes it."""

    def __init__(self, name):
        super().__init__(name)
        self.calls = []
        self.config = self.run = self

    def __getattr__(self, name):
        if name.startswith('__'):
            raise AttributeError(name)
        return lambda *args, **kwargs: self.calls.append((name, args, kwargs))

    def called(self, name):
        return [call[1:] for call in self.calls if call[0] == name]


@pytest.mark.slow
@pytest.mark.parametrize(
    ('name', 'backend', 'log_scalars', 'end'),
    [
        ('wandb', 'WandbVisBackend', 'log', 'join'),
        ('mlflow', 'MLflowVisBackend', 'log_metrics', 'end_run'),
    ],
)
def test_one_line_sends_the_scalars_to_a_service(
    images, tmp_path, monkeypatch, name, backend, log_scalars, end
):
    service = Service(name)
    monkeypatch.setitem(sys.modules, name, service)
    cfg = tiny_config(images, tmp_path, train_cfg__max_epochs=1, train_cfg__val_interval=1)
    cfg.merge_from_dict({'visualizer.vis_backends.1.type': backend})  # as --cfg-options does
    runner = train(cfg)
    sent = [args[0] for args, _ in service.called(log_scalars)]
    assert any('reid/mAP' in scalars for scalars in sent)
    assert any('pseudo_labels/clusters' in scalars for scalars in sent)
    assert len(service.called(end)) == 1
    assert records(runner), 'the scalars are in the work dir, too'


def test_time_is_told_in_a_fitting_unit():
    assert [summary_hook._duration(seconds) for seconds in (1.26, 99, 600, 36000)] == [
        '1.3 s',
        '99.0 s',
        '10.0 min',
        '10.0 h',
    ]


def test_the_config_and_the_options_of_the_page_are_right(tmp_path):
    page = (ROOT / 'docs/watching.md').read_text()
    (block,) = re.findall(r'```python\n(.*?)```', page, re.DOTALL)
    leaf = tmp_path / 'leaf.py'
    leaf.write_text(block.replace("'../glc/", f"'{ROOT}/configs/glc/"))
    cfg = load_config(str(leaf))
    check_config(cfg)
    assert [part.type for part in cfg.visualizer.vis_backends][2] == 'WandbVisBackend'
    options = re.findall(r'"?(visualizer\.\S+?)=([^\s"`]+)"?', page)
    assert len(options) == 3
    for key, value in options:
        check_config(load_config(str(leaf), {key: parse_value(value)}))
