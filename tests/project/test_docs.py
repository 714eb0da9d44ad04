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
    """Names of public classes and functions without a docstring; methods too, where no base class can document them."""
    for node in tree.body:
        if not isinstance(
            node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
        ) or node.name.startswith("_"):
            continue
        if ast.get_docstring(node) is None:
            yield node.name
        if isinstance(node, ast.ClassDef) and not node.bases:
            for method in node.body:
                if isinstance(method, ast.FunctionDef | ast.AsyncFunctionDef) and not method.name.startswith(
                    "_"
                ):
                    if ast.get_docstring(method) is None:
                        yield f"{node.name}.{method.name}"


@pytest.mark.parametrize("file", FILES, ids=str)
def test_everything_public_is_documented(file: Path) -> None:
    tree = ast.parse((ROOT / file).read_text())
    empty = not tree.body
    assert empty or ast.get_docstring(tree) is not None, "the module has no docstring"
    assert list(undocumented(tree)) == []
