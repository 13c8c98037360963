"""The work dir of a training: the checkpoint that it goes on from, and who may use it."""

import os
import shutil
import subprocess
import sys

import pytest
import torch

from glc.engine import work_dir
from glc.engine.work_dir import (
    checkpoints_in,
    locked,
    newest_checkpoint,
    point_to,
    pointed_to,
    starting_point,
)


def write(folder, *numbers, template='epoch_{}.pth', pointer=None, iterations=10):
    """Checkpoints of a run; returns the folder."""
    folder.mkdir(exist_ok=True)
    for number in numbers:
        content = {
            'meta': {'iter': iterations * number},
            'message_hub': {},
            'state_dict': {'a': torch.ones(999)},
        }
        torch.save(content, folder / template.format(number))
    if pointer is not None:
        (folder / 'last_checkpoint').write_text(pointer)
    return folder


@pytest.fixture
def said(monkeypatch):
    """The lines that are logged."""
    lines = []
    monkeypatch.setattr(work_dir, 'print_log', lambda line, **_: lines.append(line))
    return lines


def chosen(folder):
    """Name of the file that is chosen."""
    path = newest_checkpoint(folder)
    assert path.parent == folder
    return path.name


@pytest.mark.parametrize(
    ('pointer', 'name'),
    [
        ('epoch_9.pth', 'epoch_9.pth'),  # goes before the number
        (None, 'epoch_10.pth'),
        ('', 'epoch_10.pth'),
        ('/elsewhere/run/epoch_9.pth\n', 'epoch_9.pth'),  # of a folder that was moved, or copied
        ('epoch_11.pth', 'epoch_10.pth'),
        ('../other/epoch_11.pth', 'epoch_10.pth'),
        ('notes.txt', 'epoch_10.pth'),
        ('last_checkpoint', 'epoch_10.pth'),
        ('x' * 5000, 'epoch_10.pth'),
        ('\0\1epoch', 'epoch_10.pth'),
        ('.', 'epoch_10.pth'),
    ],
)
def test_pointer_is_a_name_of_a_checkpoint_here(tmp_path, pointer, name):
    folder = write(tmp_path / 'run', 9, 10, pointer=pointer)
    (folder / 'notes.txt').touch()
    assert chosen(folder) == name


def test_pointer_without_text_is_passed_over(tmp_path):
    folder = write(tmp_path / 'run', 1)
    (folder / 'last_checkpoint').write_bytes(b'\xff\xfe')
    assert chosen(folder) == 'epoch_1.pth'
    (folder / 'last_checkpoint').unlink()
    (folder / 'last_checkpoint').mkdir()
    assert chosen(folder) == 'epoch_1.pth'


def half(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flipped(path):
    content = bytearray(path.read_bytes())
    content[content.index(b'\x80?\x00\x00\x80?') + 400] ^= 1  # in a tensor
    path.write_bytes(content)


DAMAGES = [
    half,
    flipped,
    lambda path: path.write_bytes(b''),
    lambda path: path.write_text('<html>'),
    lambda path: torch.save({'state_dict': {'a': torch.ones(1)}}, path),
    lambda path: torch.save(torch.ones(1), path),
    lambda path: (path.unlink(), path.mkdir()),
    lambda path: (path.unlink(), os.mkfifo(path)),
]


@pytest.mark.parametrize('damage', DAMAGES)
@pytest.mark.parametrize('pointer', [None, 'epoch_3.pth'])
def test_damaged_files_are_passed_over_and_named(tmp_path, said, damage, pointer):
    folder = write(tmp_path / 'run', 1, 2, 3, pointer=pointer)
    damage(folder / 'epoch_3.pth')
    (folder / 'epoch_2.pth').write_bytes(b'')
    assert chosen(folder) == 'epoch_1.pth'
    assert 'epoch_2.pth: ' in said[0]
    assert 'epoch_3.pth: ' in said[0] or not (folder / 'epoch_3.pth').is_file()
    (folder / 'epoch_1.pth').unlink()
    with pytest.raises(RuntimeError, match=rf"no checkpoint in '{folder}' can be read:(.|\n)*epoch_2.pth: "):
        newest_checkpoint(folder)


def test_a_damaged_file_is_refused_by_name_too(tmp_path):
    folder = write(tmp_path / 'run', 1)
    flipped(folder / 'epoch_1.pth')
    with pytest.raises(RuntimeError, match=f"'{folder}/epoch_1.pth' is damaged"):
        starting_point(tmp_path / 'new', True, folder / 'epoch_1.pth')


def test_epochs_and_iterations_compare_by_iteration(tmp_path):
    folder = write(tmp_path / 'run', 1, 2)
    write(folder, 15, template='iter_{}.pth', iterations=1)
    assert chosen(folder) == 'epoch_2.pth'
    write(folder, 25, template='iter_{}.pth', iterations=1)
    assert chosen(folder) == 'iter_25.pth'


def test_names_of_checkpoints(tmp_path):
    for name in ('epoch_2.pth', 'epoch_10.pth', '.epoch_3.x.part.pth', 'epoch_4.pth.bak', 'best_epoch_5.pth'):
        (tmp_path / name).touch()
    assert list(checkpoints_in(tmp_path, 'epoch_{}.pth')) == [2, 10]
    assert list(checkpoints_in(tmp_path, 'best_epoch_{}.pth')) == [5]
    assert checkpoints_in(tmp_path / 'missing', 'epoch_{}.pth') == {}


def test_pointer_goes_with_the_folder(tmp_path):
    folder = write(tmp_path / 'run', 1)
    point_to(folder / 'epoch_1.pth')
    assert (folder / 'last_checkpoint').read_text() == 'epoch_1.pth'
    shutil.copytree(folder, tmp_path / 'copy')
    assert newest_checkpoint(tmp_path / 'copy') == tmp_path / 'copy' / 'epoch_1.pth'
    assert pointed_to(tmp_path / 'missing') is None


@pytest.mark.parametrize('resume', [True, 'auto'])
def test_nothing_there_is_a_start_from_the_beginning(tmp_path, said, resume):
    assert starting_point(tmp_path / 'run', resume, None) == (False, None)
    assert 'starts from the beginning' in said[0]
    folder = write(tmp_path / 'run', 3)
    assert starting_point(folder, resume, None) == (True, str(folder / 'epoch_3.pth'))


def test_a_lost_checkpoint_is_named(tmp_path):
    folder = write(tmp_path / 'run', pointer='epoch_7.pth')
    with pytest.raises(
        RuntimeError, match=rf"'{folder}' can be read:\n  last_checkpoint: names .*'epoch_7.pth'"
    ):
        starting_point(folder, 'auto', None)
    assert starting_point(folder, False, None) == (False, None)


def test_weights_to_start_from_are_for_the_first_start(tmp_path):
    assert starting_point(tmp_path / 'run', 'auto', 'weights.pth') == (False, 'weights.pth')
    folder = write(tmp_path / 'run', 3)
    assert starting_point(folder, 'auto', 'weights.pth') == (True, str(folder / 'epoch_3.pth'))


@pytest.mark.parametrize('name', ['epoch_1.pth', 'iter_7.pth', 'best_reid_mAP_epoch_3.pth', 'step-5'])
def test_a_run_is_not_overwritten(tmp_path, monkeypatch, name):
    folder = tmp_path / 'run'
    folder.mkdir()
    (folder / name).write_bytes(b'half')
    templates = ('epoch_{}.pth', 'iter_{}.pth', 'step-{}')
    for resume, load_from in (
        (False, None),
        (False, 'weights.pth'),
        (True, tmp_path / 'other' / 'epoch_1.pth'),
    ):
        with pytest.raises(
            RuntimeError, match=rf"'{folder}' has checkpoints .*{name}.*--resume.*--work-dir.*delete"
        ):
            starting_point(folder, resume, load_from, templates)
    monkeypatch.chdir(tmp_path)
    for own in (folder / name, f'run/{name}', f'run/../run/{name}'):
        assert starting_point('run', True, str(own), templates) == (True, str(own))


def test_another_run_may_go_on_in_a_new_folder(tmp_path):
    (tmp_path / 'logs').mkdir()
    (tmp_path / 'scores.json').touch()
    assert starting_point(tmp_path, True, 'other/epoch_1.pth') == (True, 'other/epoch_1.pth')
    assert starting_point(tmp_path, False, None) == (False, None)


HOLD = (
    'import fcntl, sys, time; file = open(sys.argv[1], "a+"); fcntl.lockf(file, fcntl.LOCK_EX); '
    'file.write("process 7 on host"); file.flush(); print("held", flush=True); time.sleep(60)'
)


def test_a_second_training_is_refused_until_the_first_one_is_dead(tmp_path):
    with subprocess.Popen(
        [sys.executable, '-S', '-c', HOLD, str(tmp_path / '.lock')], stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout.readline() == 'held\n'
        with (
            pytest.raises(RuntimeError, match=f"'{tmp_path}' is in use by a training, process 7 on host"),
            locked(tmp_path),
        ):
            pass
        other.kill()
    with locked(tmp_path):
        assert (tmp_path / '.lock').read_text().startswith(f'process {os.getpid()} on ')


@pytest.mark.slow
def test_a_worker_does_not_keep_the_lock(tmp_path):
    """The loader's workers live a little longer than a training that was killed."""
    code = (
        'import os, sys, time\nfrom glc.engine.work_dir import locked\n'
        'with locked(sys.argv[1]):\n'
        '    if os.fork() == 0: time.sleep(60)\n'
        '    os.kill(os.getpid(), 9)\n'
    )
    first = subprocess.Popen([sys.executable, '-c', code, str(tmp_path)], start_new_session=True)
    assert first.wait() == -9
    with locked(tmp_path):
        pass
    os.killpg(first.pid, 9)  # the worker


def test_a_file_system_without_locks_is_used_with_a_warning(tmp_path, monkeypatch, said):
    def refuse(*_):
        raise OSError(38, 'Function not implemented')

    monkeypatch.setattr('fcntl.lockf', refuse)
    with locked(tmp_path):
        assert 'cannot be locked (Function not implemented)' in said[0]
