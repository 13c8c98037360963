"""Nothing is asked of the network unless a user asks for it."""

import socket
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


def test_training_and_extraction_ask_nothing(calls, tmp_path):
    images = write_images(tmp_path / 'market1501', num_ids=4)
    cfg = tiny_config(images, tmp_path / 'run', train_cfg__max_epochs=1, train_cfg__val_interval=1)
    cfg.train_dataloader.sampler.num_ids = 2
    cfg.train_dataloader.batch_size = 8
    train(cfg)
    ReIDInferencer(cfg, tmp_path / 'run/epoch_1.pth', 'cpu')(str(images / 'query'))
    assert calls == []
