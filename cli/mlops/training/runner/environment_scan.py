"""Whether a script changes its environment before it imports."""

from __future__ import annotations

import ast
from pathlib import Path

_WRITES = ("update", "setdefault", "pop", "clear", "putenv", "unsetenv")


def changes_environment_first(script: Path) -> int:
    """Return the line where a script changes the environment before its last import, else 0.

    Libraries read such variables when they are imported, which a fork would do too early. Only
    statements of the module itself count; functions that they call are not analysed.
    """
    try:
        body = ast.parse(script.read_bytes()).body
    except (OSError, SyntaxError, ValueError):
        return 0
    imports = [index for index, node in enumerate(body) if _imports(node)]
    for node in body[: imports[-1] if imports else 0]:
        line = _change(node)
        if line:
            return line
    return 0


def _imports(node: ast.stmt) -> bool:
    if isinstance(node, ast.Try | ast.If):
        return any(isinstance(inner, ast.Import | ast.ImportFrom) for inner in ast.walk(node))
    return isinstance(node, ast.Import | ast.ImportFrom)


def _change(statement: ast.stmt) -> int:
    if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return 0
    for node in ast.walk(statement):
        target: ast.expr
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            target, writes = node.func, node.func.attr in _WRITES
        elif isinstance(node, ast.Subscript) and isinstance(node.ctx, ast.Store | ast.Del):
            target, writes = node.value, True
        else:
            continue
        text = ast.unparse(target)
        if writes and (".environ" in f".{text}" or text in ("os.putenv", "os.unsetenv")):
            return node.lineno
    return 0
