"""Below commands, workflows and the Python API no part takes the whole settings."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import mlops

ROOT = Path(mlops.__file__).parent
#: Who may have all of it.
_EDGE = ("__main__.py", "api", "commands", "settings", "workflows")


def test_a_part_says_what_it_needs_of_the_settings() -> None:
    """By a type of `mlops.settings.needs`, or it takes the values."""
    assert not list(_takers())


def _takers() -> Iterator[str]:
    for path in ROOT.rglob("*.py"):
        relative = path.relative_to(ROOT)
        if relative.parts[0] not in _EDGE and _imports_settings(path):
            yield ".".join(relative.with_suffix("").parts)


def _imports_settings(path: Path) -> bool:
    imports = (
        node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.ImportFrom)
    )
    return any(
        node.module in ("mlops.settings", "mlops.settings.schema")
        and any(name.name == "Settings" for name in node.names)
        for node in imports
    )
