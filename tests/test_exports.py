"""The names that packages export: once for the import at run time, once for type checkers."""

import ast
from pathlib import Path
from types import ModuleType

import pytest

import glc
import glc.apis

PACKAGES = pytest.mark.parametrize('package', [glc, glc.apis], ids=lambda package: package.__name__)


def imports_for_type_checkers(package: ModuleType) -> dict[str, str]:
    """Module of each name that a package imports under ``if TYPE_CHECKING``."""
    tree = ast.parse(Path(package.__file__).read_text())
    (block,) = [
        node for node in tree.body if isinstance(node, ast.If) and ast.unparse(node.test) == 'TYPE_CHECKING'
    ]
    return {
        name.name: statement.module
        for statement in block.body
        if isinstance(statement, ast.ImportFrom)
        for name in statement.names
    }


@PACKAGES
def test_the_three_lists_of_exports_agree(package):
    assert imports_for_type_checkers(package) == package._EXPORTS
    assert set(package.__all__) - {'__version__'} == set(package._EXPORTS)


@PACKAGES
def test_every_export_can_be_imported(package):
    assert [getattr(package, name).__name__ for name in package._EXPORTS] == list(package._EXPORTS)
    assert set(package.__all__) <= set(dir(package))


@PACKAGES
def test_other_names_are_no_attributes(package):
    with pytest.raises(AttributeError, match=f"module '{package.__name__}' has no attribute 'misspelled'"):
        _ = package.misspelled
