"""Every public room, class and function says what it is for."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.project.metadata import ROOT

PACKAGE = ROOT / "opslib"
FILES = sorted(
    path.relative_to(ROOT)
    for path in PACKAGE.rglob("*.py")
    if "sandbox" not in path.relative_to(PACKAGE).parts and "notebooks" not in path.relative_to(PACKAGE).parts
)


def undocumented(tree: ast.Module) -> Iterator[str]:
    """Public classes and functions without a docstring; methods too, where no base class documents them."""
    for node in filter(public, tree.body):
        if ast.get_docstring(node) is None:
            yield node.name
        if isinstance(node, ast.ClassDef) and not node.bases:
            yield from (
                f"{node.name}.{it.name}" for it in filter(public, node.body) if not ast.get_docstring(it)
            )


def public(node: ast.stmt) -> bool:
    """Whether this defines a class or a function that others may use."""
    kinds = ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
    return isinstance(node, kinds) and not node.name.startswith("_")


@pytest.mark.parametrize("file", FILES, ids=str)
def test_everything_public_is_documented(file: Path) -> None:
    tree = ast.parse((ROOT / file).read_text())
    empty = not tree.body
    assert empty or ast.get_docstring(tree) is not None, "the module has no docstring"
    assert list(undocumented(tree)) == []
