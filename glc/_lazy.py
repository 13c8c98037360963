"""Names of a package that are imported on first use."""

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any


def lazy_exports(package: str, exports: Mapping[str, str]) -> Callable[[str], Any]:
    """Make the ``__getattr__`` of a package whose names live in modules that take long to import.

    The package also imports the names under ``if TYPE_CHECKING``; tests/test_exports.py compares.

    Args:
        package: Name of the package.
        exports: Module of each name.

    Returns:
        A function that imports a name from its module.
    """

    def __getattr__(name: str) -> Any:
        if name not in exports:
            raise AttributeError(f'module {package!r} has no attribute {name!r}')
        return getattr(import_module(exports[name]), name)

    return __getattr__
