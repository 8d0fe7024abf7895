"""Who judges the faults: a reader that must see a contradiction, and a judge of how commands end.

The scenes themselves take an hour: `python benchmarks/faults.py`.
"""

from __future__ import annotations

import contextlib
import shutil
import sqlite3
from pathlib import Path

import pytest

from tests.fixtures_deployment import Shop

_BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture(autouse=True)
def _benchmarks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(_BENCHMARKS))


def test_the_independent_reader_sees_a_contradiction(shop: Shop, tmp_path: Path) -> None:
    from agreement import disagreements

    assert list(disagreements(shop.folder)) == []
    for name in ("mlflow.db", "run/wine.json"):
        copy = tmp_path / ".mlops" / name
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(shop.folder / ".mlops" / name, copy)
    assert list(disagreements(tmp_path)) == []
    with contextlib.closing(sqlite3.connect(tmp_path / ".mlops/mlflow.db")) as registry:
        registry.execute("update registered_model_aliases set version = 99 where alias = 'live'")
        registry.commit()
    dangling, differs = disagreements(tmp_path)
    assert "leads to version 99" in dangling
    assert "calls revision 99 live" in differs


@pytest.mark.parametrize(
    ("code", "text", "fault"),
    [
        (0, "", ""),
        (6, "error: MLflow does not answer.\n hint: …", ""),
        (1, "Traceback (most recent call last):\nValueError: x", "traceback, ValueError: x"),
        (1, "", "without a sentence"),
        (1, "✓ python\n✗ disk  is full", ""),
        (99, "error: x", "exit code 99"),
        (-9, "", ""),
        (-11, "", "exit code -11"),
    ],
)
def test_how_a_command_may_end(code: int, text: str, fault: str) -> None:
    from forked_commands import Said

    faults = list(Said(("report",), code, text, 0.1).faults())
    assert bool(faults) == bool(fault)
    assert all(fault in each for each in faults)


def test_the_scenes_know_every_command() -> None:
    from every_command import EVERY, LEFT_OUT
    from typer.main import get_command

    from mlops.commands.app import program

    known = {words[:2] for words in EVERY} | {words[:1] for words in (*EVERY, *LEFT_OUT)}
    for name, command in get_command(program()).commands.items():  # type: ignore[attr-defined]
        inner = getattr(command, "commands", {})
        for words in [(name, each) for each in inner] if inner else [(name,)]:
            assert words in known
