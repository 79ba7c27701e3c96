"""A module that grows too long asks for a better design; tables may be as long as what they tell."""

from __future__ import annotations

import ast
from pathlib import Path

import recoverd

LINES = 400
BODY = 50
"""Lines of a function from `def` to its end, without its docstring."""
TABLES = {"model/catalogue.py"}
ROOT = Path(recoverd.__file__).parent


def test_no_module_is_longer_than_one_can_have_in_mind() -> None:
    sizes = {str(p.relative_to(ROOT)): len(p.read_text().splitlines()) for p in ROOT.rglob("*.py")}
    assert {name: size for name, size in sizes.items() if size > LINES and name not in TABLES} == {}
    assert sizes.keys() >= TABLES, "a table that is not there any more"


def test_no_function_is_longer_than_a_screen() -> None:
    long = {
        f"{module.relative_to(ROOT)} {node.name}"
        for module in ROOT.rglob("*.py")
        for node in ast.walk(ast.parse(module.read_text()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and _lines(node) > BODY
    }
    assert long == set()


def _lines(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    first = function.body[0]
    said = first if ast.get_docstring(function, clean=False) is not None else None
    return _span(function) - (_span(said) if said else 0)


def _span(node: ast.stmt) -> int:
    assert node.end_lineno is not None
    return node.end_lineno - node.lineno + 1
