"""Errors that a command line explains without a traceback."""

import sys
from types import TracebackType

__all__ = ['explain_errors']


def explain_errors() -> None:
    """Let the program end with the message alone where its user is to change something.

    These are mistakes in a config (:class:`~glc.apis.ConfigError`), files that are missing, and Ctrl-C outside of a
    training. All other errors have their traceback as before, with the message at the end.
    """
    before = sys.excepthook

    def hook(kind: type[BaseException], error: BaseException, where: TracebackType | None) -> None:
        checks = sys.modules.get('glc.apis.config_checks')
        if issubclass(kind, KeyboardInterrupt):
            print('stopped', file=sys.stderr)  # noqa: T201
        elif (checks is not None and isinstance(error, checks.ConfigError)) or (
            isinstance(error, FileNotFoundError)
            and error.errno is None  # with an errno it is the system's, not ours
        ):
            print(f'error: {error}', file=sys.stderr)  # noqa: T201
        else:
            before(kind, error, where)

    sys.excepthook = hook
