"""What a user can change is explained without a traceback."""

import sys

import pytest

from glc.apis import ConfigError
from glc.utils.errors import explain_errors


@pytest.mark.parametrize(
    ('error', 'said', 'traced'),
    [
        (ConfigError('train_cfg is missing'), 'error: train_cfg is missing\n', False),
        (FileNotFoundError("checkpoint 'a' does not exist"), "error: checkpoint 'a' does not exist\n", False),
        (KeyboardInterrupt(), 'stopped\n', False),
        (FileNotFoundError(2, 'No such file', 'a'), '', True),
        (ValueError('in the code'), '', True),
    ],
)
def test_errors(error, said, traced, monkeypatch, capsys):
    seen = []
    monkeypatch.setattr(sys, 'excepthook', lambda *args: seen.append(args))
    explain_errors()
    sys.excepthook(type(error), error, None)
    assert capsys.readouterr().err == said
    assert bool(seen) == traced
