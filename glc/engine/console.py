"""The console of a run: a summary of it. The log file in the work dir has everything."""

import logging
from pathlib import Path

import mmengine
from mmengine.logging import MMLogger

__all__ = ['DETAIL', 'WIDTH', 'summarize']

# Columns of a line, with the time before it.
WIDTH = 100
# ``logger.info(text, extra=DETAIL)``: for the log file only.
DETAIL = {'detail': True}

# Warnings that nobody can act on, since mmengine gives them to itself: its runner asks for the class that it calls
# obsolete, whenever it writes a checkpoint.
_POINTLESS = ('"FileClient" will be deprecated', '"HardDiskBackend" is the alias of')
_MMENGINE = Path(mmengine.__file__).parent


def summarize(logger: MMLogger) -> None:
    """Let a logger show on the console what a reader waits for, and write the rest into its file only.

    The console leaves out what mmengine reports about itself (environment, config, hooks, iterations) and records
    marked as :data:`DETAIL`. Warnings and errors stay, but for those that nobody can act on.

    Args:
        logger: The logger of a run; changed in place, once. With level ``DEBUG`` its console shows everything.
    """
    for handler in logger.handlers:
        if _is_useful not in handler.filters:
            handler.addFilter(_is_useful)
            if not isinstance(handler, logging.FileHandler) and handler.level > logging.DEBUG:
                handler.addFilter(_is_news)
                handler.setFormatter(_ConsoleFormatter())


def _is_useful(record: logging.LogRecord) -> bool:
    return not str(record.msg).startswith(_POINTLESS)


def _is_news(record: logging.LogRecord) -> bool:
    path = Path(record.pathname)
    own = not path.is_relative_to(_MMENGINE) or path.parent.name == 'logging'  # where print_log is
    return record.levelno >= logging.WARNING or (own and not hasattr(record, 'detail'))


class _ConsoleFormatter(logging.Formatter):
    """The time, the level where it is a warning or more, the message."""

    def __init__(self) -> None:
        super().__init__('%(asctime)s  %(message)s', '%H:%M:%S')

    def formatMessage(self, record: logging.LogRecord) -> str:
        """Format a record."""
        if record.levelno >= logging.WARNING:
            record.message = f'{record.levelname}: {record.message}'
        return super().formatMessage(record)
