"""Nothing is asked of the network unless a user asks for it."""

import errno
import shutil
import socket
import subprocess
import sys

import pytest

from glc.apis import ReIDInferencer
from tests.runs import tiny_config, train, write_images

EVENTS = ('socket.connect', 'socket.getaddrinfo', 'socket.gethostbyname', 'socket.sendto', 'urllib.Request')
asked: list[str] | None = None


def watch(event, arguments):
    if asked is not None and event in EVENTS and getattr(arguments[0], 'family', None) != socket.AF_UNIX:
        asked.append(f'{event} {arguments[1:]}')


@pytest.fixture
def calls():
    """What is asked of the network. Python cannot remove such a hook, so it stays, and does nothing."""
    global asked
    sys.addaudithook(watch)
    asked = []
    yield asked
    asked = None


def test_the_watch_sees_a_call(calls):
    with socket.socket() as door, pytest.raises(OSError, match=r'refused|unreachable'):
        door.connect(('127.0.0.1', 9))
    assert calls == ["socket.connect (('127.0.0.1', 9),)"]


def train_and_extract(folder):
    """Train a network, and take features with it."""
    images = write_images(folder / 'market1501', num_ids=4)
    cfg = tiny_config(images, folder / 'run', train_cfg__max_epochs=1, train_cfg__val_interval=1)
    cfg.train_dataloader.sampler.num_ids = 2
    cfg.train_dataloader.batch_size = 8
    train(cfg)
    return ReIDInferencer(cfg, folder / 'run/epoch_1.pth', 'cpu')(str(images / 'query'))


@pytest.mark.slow
def test_training_and_extraction_ask_nothing(calls, tmp_path):
    train_and_extract(tmp_path)
    assert calls == []


@pytest.mark.slow
def test_training_and_extraction_without_a_network(tmp_path):
    """In a name space of the kernel that has no network, not even this machine's own address."""
    alone = ['unshare', '--map-root-user', '--net']
    if not shutil.which('unshare') or subprocess.run([*alone, 'true'], capture_output=True).returncode:
        pytest.skip('this machine makes no name spaces (unshare --map-root-user --net)')
    code = (
        'import socket, sys\n'
        'from pathlib import Path\n'
        'try:\n'
        "    socket.create_connection(('127.0.0.1', 9), 1)\n"
        'except OSError as error:\n'
        "    print('without:', error.errno)\n"
        'from tests.test_network import train_and_extract\n'
        'print(len(train_and_extract(Path(sys.argv[1]))))\n'
    )
    done = subprocess.run(
        [*alone, sys.executable, '-c', code, tmp_path], text=True, capture_output=True, check=True
    )
    assert done.stdout.splitlines()[0] == f'without: {errno.ENETUNREACH}'
    assert int(done.stdout.splitlines()[-1]) > 0
