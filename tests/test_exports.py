"""The names that ``glc`` exports: once for the import at run time, once for type checkers."""

import ast
from pathlib import Path

import glc


def imports_for_type_checkers() -> dict[str, str]:
    """Module of each name that ``glc/__init__.py`` imports under ``if TYPE_CHECKING``."""
    tree = ast.parse(Path(glc.__file__).read_text())
    (block,) = [
        node for node in tree.body if isinstance(node, ast.If) and ast.unparse(node.test) == 'TYPE_CHECKING'
    ]
    return {
        name.name: statement.module
        for statement in block.body
        if isinstance(statement, ast.ImportFrom)
        for name in statement.names
    }


def test_the_three_lists_of_exports_agree():
    assert imports_for_type_checkers() == glc._EXPORTS
    assert set(glc.__all__) == {*glc._EXPORTS, '__version__'}


def test_every_export_can_be_imported():
    assert [getattr(glc, name).__name__ for name in glc._EXPORTS] == list(glc._EXPORTS)
    assert set(glc.__all__) <= set(dir(glc))
