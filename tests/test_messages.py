"""What a user reads when something is wrong: the rule, the value and the fix, in one sentence."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from tests.test_imports import FILES, name_of

ALLOWED = ("must be one of", "must be among")
"""Rules that say all values that there are, which is the fix."""


def said(node: ast.expr) -> str:
    """The words of a message; what is filled in stands as {}."""
    match node:
        case ast.Constant():
            return str(node.value)
        case ast.JoinedStr():
            return "".join(said(part) if isinstance(part, ast.Constant) else "{}" for part in node.values)
        case ast.BinOp():
            return said(node.left) + said(node.right)
        case ast.IfExp():
            return said(node.body)
    return "{}"


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_an_error_says_a_fix(path: Path) -> None:
    """Behind a semicolon, unless it hands on what another error says."""
    calls = (node for node in ast.walk(ast.parse(path.read_text("utf-8"))) if isinstance(node, ast.Call))
    errors = [
        call
        for call in calls
        if isinstance(call.func, ast.Name) and call.func.id in ("PlaitError", "Failure") and call.args
    ]
    lacking = []
    for error in errors:
        words = said(error.args[0])
        if not (";" in words or words.endswith("{}: {}") or words == "{}" or any(rule in words for rule in ALLOWED)):
            lacking.append(f"line {error.lineno}: {words}")
    assert not lacking
