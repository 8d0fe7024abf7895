"""The examples in docstrings are true."""

from __future__ import annotations

import doctest
import importlib
from pathlib import Path

import pytest

import mlops

_PACKAGE = Path(mlops.__file__).parent


def _modules() -> list[str]:
    """Return the names of all modules that hold an example."""
    return sorted(
        ".".join(("mlops", *path.relative_to(_PACKAGE).with_suffix("").parts)).removesuffix(
            ".__init__"
        )
        for path in _PACKAGE.rglob("*.py")
        if "_shipped" not in path.parts and ">>> " in path.read_text(encoding="utf-8")
    )


@pytest.mark.parametrize("name", _modules())
def test_the_examples_of(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    found = doctest.testmod(importlib.import_module(name))
    assert found.attempted
    assert not found.failed
