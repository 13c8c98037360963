"""Files are complete or not there."""

import errno
import os
import stat
import subprocess
import sys

import pytest

from glc.utils.files import atomic_file


def test_a_new_file_gets_its_content_and_the_usual_rights(tmp_path):
    target, plain = tmp_path / 'new' / 'scores.json', tmp_path / 'plain'
    with atomic_file(target) as path:
        assert path.parent == target.parent
        assert path.suffix == '.json'
        path.write_text('new')
        assert not target.exists()
    plain.write_text('')
    assert target.read_text() == 'new'
    assert target.stat().st_mode == plain.stat().st_mode
    assert list(target.parent.iterdir()) == [target]


@pytest.mark.parametrize('error', [OSError(errno.ENOSPC, 'No space left on device'), KeyboardInterrupt()])
def test_an_error_leaves_the_old_file_and_nothing_else(tmp_path, error):
    target = tmp_path / 'scores.json'
    target.write_text('old')

    def stopped():
        with atomic_file(target) as path:
            path.write_text('half')
            raise error

    with pytest.raises(type(error)):
        stopped()
    assert target.read_text() == 'old'
    assert list(tmp_path.iterdir()) == [target]


def test_a_kill_leaves_the_old_file(tmp_path):
    target = tmp_path / 'scores.json'
    target.write_text('old')
    code = (
        'import os, sys; from glc.utils.files import atomic_file\n'
        'with atomic_file(sys.argv[1]) as path: path.write_text("half"); os.kill(os.getpid(), 9)'
    )
    assert subprocess.run([sys.executable, '-c', code, str(target)], check=False).returncode == -9
    assert target.read_text() == 'old'


def test_rights_and_links_stay(tmp_path):
    target, link = tmp_path / 'real.json', tmp_path / 'link.json'
    target.write_text('old')
    target.chmod(0o640)
    link.symlink_to(target)
    with atomic_file(link) as path:
        path.write_text('new')
    assert link.is_symlink()
    assert target.read_text() == 'new'
    assert stat.S_IMODE(target.stat().st_mode) == 0o640


def test_the_content_is_on_the_disk_before_the_name(tmp_path, monkeypatch):
    calls = []
    monkeypatch.setattr(os, 'fsync', lambda handle: calls.append(os.path.isdir(f'/proc/self/fd/{handle}')))
    monkeypatch.setattr('pathlib.Path.replace', lambda self, target: calls.append('renamed'))
    with atomic_file(tmp_path / 'a') as path:
        path.write_text('')
    assert calls == [False, 'renamed', True]
