"""Checkpoints: whatever is interrupted, a run goes on as if it had not been."""

import errno
import os
import signal
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from mmengine.runner import EpochBasedTrainLoop, IterBasedTrainLoop

from glc.checkpoints import load_checkpoint_file
from glc.engine import CheckpointHook, SignalHook
from glc.engine.work_dir import newest_checkpoint
from glc.registry import HOOKS
from glc.utils.files import atomic_file
from tests.runs import records, tiny_config, train

SCORES = {1: 0.5, 2: 0.75, 3: 0.25, 4: 1.0, 5: 0.75, 6: 1.0}


class Killed(BaseException):
    """Stands for SIGKILL: nothing more happens."""


def writing():
    """Stands for a moment of writing a file."""


class FakeRunner:
    """What the hook sees of a runner: its state is the sum of the epochs or iterations that it has seen."""

    def __init__(self, folder, by_epoch=True, val_interval=1, max_epochs=6):
        loop = EpochBasedTrainLoop if by_epoch else IterBasedTrainLoop
        self.train_loop = loop.__new__(loop)
        self.train_loop.__dict__.update(
            _epoch=0,
            _iter=0,
            _max_epochs=max_epochs,
            _max_iters=max_epochs,
            val_begin=1,
            val_interval=val_interval,
        )
        self.train_loop.dynamic_milestones, self.train_loop.dynamic_intervals = [0], [val_interval]
        self.work_dir = str(folder)
        self.message_hub = SimpleNamespace(runtime_info={})
        self.message_hub.update_info = self.message_hub.runtime_info.__setitem__
        self.logger = SimpleNamespace(info=lambda line, **_: None)
        self.val_loop = SimpleNamespace(run=self.evaluate)
        self.by_epoch, self.val_interval, self.max_epochs = by_epoch, val_interval, max_epochs
        self.train_dataloader = [None]
        self.total, self.evaluations, self.metric = 0, [], 'reid/mAP'

    epoch = property(lambda self: self.train_loop.epoch)
    iter = property(lambda self: self.train_loop.iter)
    max_iters = property(lambda self: self.train_loop.max_iters)

    @property
    def done(self):
        return self.epoch if self.by_epoch else self.iter

    def save_checkpoint(self, out_dir, filename, meta, **_):
        content = {
            'meta': meta,
            'message_hub': dict(self.message_hub.runtime_info),
            'state_dict': {'total': self.total},
        }
        with atomic_file(Path(out_dir, filename)) as path:
            path.write_bytes(b'half')
            writing()
            torch.save(content, path)

    def evaluate(self):
        self.evaluations.append(self.done)
        self.hook.after_val_epoch(self, {self.metric: SCORES[self.done], 'other': -SCORES[self.done]})

    def train(self, hook):
        """Go on from the newest checkpoint to the end; the loop is mmengine's, in short."""
        self.hook = hook
        newest = newest_checkpoint(self.work_dir)
        if newest is not None:
            content = load_checkpoint_file(newest)
            self.train_loop._epoch, self.train_loop._iter = content['meta']['epoch'], content['meta']['iter']
            self.message_hub.runtime_info.update(content['message_hub'])
            self.total = content['state_dict']['total']
        hook.before_train(self)
        while self.done < self.max_epochs:
            self.total += self.done + 1
            hook.after_train_iter(self, 0)
            self.train_loop._iter += 1
            if self.by_epoch:
                hook.after_train_epoch(self)
                self.train_loop._epoch += 1
            if self.done % self.val_interval == 0 or self.done == self.max_epochs:
                self.evaluate()


def files(folder):
    """Content of every file, the time of writing apart."""
    return {
        path.name: load_checkpoint_file(path) if path.suffix == '.pth' else path.read_text()
        for path in sorted(Path(folder).iterdir())
    }


def kill_at(monkeypatch, moment):
    """Nothing reaches the disk from this operation on; returns how many there have been."""
    count = [0]

    def counted(original):
        def operation(*args, **kwargs):
            count[0] += 1
            if count[0] > moment:
                raise Killed
            return original(*args, **kwargs)

        return operation

    monkeypatch.setattr(os, 'fsync', counted(lambda handle: None))
    monkeypatch.setitem(globals(), 'writing', counted(writing))
    for name in ('replace', 'unlink'):
        monkeypatch.setattr(Path, name, counted(getattr(Path, name)))
    return count


@pytest.mark.parametrize(
    ('options', 'runner'),
    [
        ({'max_keep_ckpts': 1}, {}),
        *(
            pytest.param(*case, marks=pytest.mark.slow)
            for case in (
                ({'max_keep_ckpts': 2}, {'val_interval': 2}),
                ({'max_keep_ckpts': 1, 'interval': 2}, {}),
                ({'max_keep_ckpts': 1, 'by_epoch': False}, {'by_epoch': False}),
                ({'save_best': ['reid/mAP', 'other'], 'rule': ['greater', 'less'], 'max_keep_ckpts': 1}, {}),
                ({'save_best': 'auto', 'rule': 'greater'}, {}),
            )
        ),
        ({'save_best': None, 'rule': None}, {}),
    ],
)
def test_a_kill_between_any_two_operations_changes_nothing(tmp_path, monkeypatch, options, runner):
    options = {'interval': 1, 'save_best': 'reid/mAP', 'rule': 'greater', **options}
    runner = {'max_epochs': 3, **runner}
    monkeypatch.setattr(os, 'fsync', lambda handle: None)  # slow
    FakeRunner(tmp_path / 'whole', **runner).train(CheckpointHook(**options))
    whole = files(tmp_path / 'whole')
    moment, alive = 0, False
    while not alive:
        folder = tmp_path / str(moment)
        with monkeypatch.context() as patch:
            count = kill_at(patch, moment)
            with suppress(Killed):
                FakeRunner(folder, **runner).train(CheckpointHook(**options))
            alive = count[0] <= moment
        FakeRunner(folder, **runner).train(CheckpointHook(**options))
        assert files(folder) == whole, moment
        moment += 1
    assert moment > 20


def test_what_a_run_leaves(tmp_path):
    FakeRunner(tmp_path).train(
        CheckpointHook(interval=1, max_keep_ckpts=2, save_best='reid/mAP', rule='greater')
    )
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        'best_reid_mAP_epoch_4.pth',
        'epoch_5.pth',
        'epoch_6.pth',
        'last_checkpoint',
    ]
    assert (tmp_path / 'last_checkpoint').read_text() == 'epoch_6.pth'


def test_old_files_go_after_a_resume_and_newer_ones_stay(tmp_path):
    FakeRunner(tmp_path, max_epochs=5).train(CheckpointHook(interval=1))
    (tmp_path / 'last_checkpoint').write_text('epoch_4.pth')
    (tmp_path / '.epoch_4.abc.part.pth').write_bytes(b'half')
    FakeRunner(tmp_path, max_epochs=4).train(CheckpointHook(interval=1, max_keep_ckpts=2))
    assert [path.name for path in sorted(tmp_path.glob('*.pth'))] == [
        'epoch_3.pth',
        'epoch_4.pth',
        'epoch_5.pth',
    ]
    assert not list(tmp_path.glob('.*'))


def test_a_run_removes_files_in_its_own_folder_only(tmp_path):
    """The best checkpoint that another run has, and that its checkpoints name."""
    options = dict(interval=1, max_keep_ckpts=1, save_best='reid/mAP', rule='greater')
    FakeRunner(tmp_path / 'first', max_epochs=2).train(CheckpointHook(**options))
    before = files(tmp_path / 'first')
    content = load_checkpoint_file(tmp_path / 'first/epoch_2.pth')
    content['message_hub']['best_ckpt'] = str(tmp_path / 'first/best_reid_mAP_epoch_2.pth')
    (tmp_path / 'second').mkdir()
    torch.save(content, tmp_path / 'second/epoch_2.pth')
    FakeRunner(tmp_path / 'second').train(CheckpointHook(**options))
    assert files(tmp_path / 'first') == before
    assert [path.name for path in (tmp_path / 'second').glob('best*')] == ['best_reid_mAP_epoch_4.pth']


def test_an_evaluation_is_made_once(tmp_path):
    hook = CheckpointHook(interval=1, save_best='reid/mAP', rule='greater')
    first = FakeRunner(tmp_path, max_epochs=3)
    first.train(hook)
    assert first.evaluations == [1, 2, 3]
    again = FakeRunner(tmp_path, max_epochs=3)
    again.train(CheckpointHook(interval=1, save_best='reid/mAP', rule='greater'))
    assert again.evaluations == []


def test_a_full_disk_leaves_the_old_checkpoint(tmp_path, monkeypatch):
    options = dict(interval=1, max_keep_ckpts=1)
    FakeRunner(tmp_path, max_epochs=2).train(CheckpointHook(**options))
    before = files(tmp_path)

    def full(handle):
        raise OSError(errno.ENOSPC, 'No space left on device')

    monkeypatch.setattr(os, 'fsync', full)
    with pytest.raises(OSError, match=rf"No space left on device: '{tmp_path}/epoch_3.pth'"):
        FakeRunner(tmp_path, max_epochs=3).train(CheckpointHook(**options))
    assert files(tmp_path) == before


def test_a_signal_while_writing_waits_for_the_pointer(tmp_path):
    """Else the run would go on from the checkpoint before it."""
    runner, signals = FakeRunner(tmp_path), SignalHook()
    runner.uninterrupted = signals.postponed
    save = runner.save_checkpoint

    def interrupted(*args, **kwargs):
        os.kill(os.getpid(), signal.SIGTERM)
        save(*args, **kwargs)

    def work():
        with signals.listening():
            runner.train(CheckpointHook(interval=1))

    runner.save_checkpoint = interrupted
    with pytest.raises(SystemExit, match='143'):
        work()
    assert (tmp_path / 'last_checkpoint').read_text() == 'epoch_1.pth'


def test_publishing_keeps_the_named_parts(tmp_path):
    hook = CheckpointHook(
        interval=1, save_best='reid/mAP', rule='greater', published_keys=['meta', 'state_dict']
    )
    runner = FakeRunner(tmp_path, max_epochs=2)
    runner.train(hook)
    hook.after_train(runner)
    published = sorted(path for path in tmp_path.glob('*-????????.pth'))
    assert [path.name.partition('-')[0] for path in published] == ['best_reid_mAP_epoch_2', 'epoch_2']
    for path in published:
        assert load_checkpoint_file(path)['state_dict'] == {'total': 3}
        assert set(load_checkpoint_file(path)) == {'meta', 'state_dict'}


def test_out_dir_is_a_folder_of_the_work_dir_name(tmp_path):
    runner = FakeRunner(tmp_path / 'run')
    hook = CheckpointHook(interval=1, out_dir=tmp_path / 'elsewhere')
    assert hook.folder(runner) == tmp_path / 'elsewhere' / 'run'
    assert CheckpointHook(out_dir=runner.work_dir).folder(runner) == Path(runner.work_dir)


@pytest.mark.parametrize(
    'options',
    [{'out_dir': 's3://bucket'}, {'backend_args': {'backend': 'petrel'}}, {'file_client_args': {'a': 1}}],
)
def test_remote_stores_are_refused(options):
    (name,) = options
    with pytest.raises(ValueError, match=f'default_hooks.checkpoint.{name}=.* is a remote store'):
        CheckpointHook(**options)


def test_configs_get_this_hook():
    assert type(HOOKS.build(dict(type='CheckpointHook'))) is CheckpointHook


@pytest.mark.slow
def test_a_run_goes_on_in_a_moved_folder_with_the_evaluation_that_was_cut_off(images, tmp_path, monkeypatch):
    cfg = tiny_config(images, tmp_path / 'whole', train_cfg__max_epochs=2, train_cfg__val_interval=1)
    cfg.default_hooks.checkpoint.max_keep_ckpts = 1
    train(cfg)
    whole = files_of_run(tmp_path / 'whole')

    def killed(*_, **__):
        raise Killed

    cfg.work_dir = str(tmp_path / 'cut')
    with monkeypatch.context() as patch:
        patch.setattr(CheckpointHook, 'after_val_epoch', killed)
        with pytest.raises(Killed):
            train(cfg)
    (tmp_path / 'cut').rename(tmp_path / 'moved')
    cfg.work_dir, cfg.resume = str(tmp_path / 'moved'), 'auto'
    runner = train(cfg)
    # A run of the same second has the same log, which begins with the first evaluation.
    assert [record['step'] for record in records(runner) if 'reid/mAP' in record][-2:] == [1, 2]
    assert files_of_run(tmp_path / 'moved') == whole


def files_of_run(folder):
    """Weights and scores in the checkpoints of a run."""
    contents = {path.name: load_checkpoint_file(path) for path in folder.glob('*.pth')}
    return {
        name: (
            {key: value.tolist() for key, value in content['state_dict'].items()},
            content['message_hub']['runtime_info']['best_score'],
        )
        for name, content in contents.items()
    }
