"""Completion by the protocol that shells speak: variables in, lines out."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from tests.commands.test_start_up import HEAVY

_PROBE = """
import sys
from mlops.__main__ import main
try:
    main([])
finally:
    sys.stderr.write("modules " + " ".join(sorted({name.split(".")[0] for name in sys.modules})))
"""
_MODELS = [("wine", 1, "champion"), ("wine", 2, "beta"), ("forest", 1, "")]


@pytest.fixture
def project(ready_folder: Path) -> Path:
    (ready_folder / "MLproject").write_text("name: wine\n")
    with sqlite3.connect(ready_folder / ".mlops/mlflow.db") as store:
        for name in ("wine", "forest", "mlops.deployment.wine"):
            store.execute("INSERT INTO registered_models (name) VALUES (?)", (name,))
        store.execute(
            "INSERT INTO model_versions (name, version) VALUES ('mlops.deployment.wine', 1)"
        )
        for name, version, alias in _MODELS:
            store.execute(
                "INSERT INTO model_versions (name, version) VALUES (?, ?)", (name, version)
            )
            if alias:
                store.execute(
                    "INSERT INTO registered_model_aliases (name, version, alias) VALUES (?, ?, ?)",
                    (name, version, alias),
                )
    run = ready_folder / ".mlops/run"
    run.mkdir()
    (run / "shop.json").write_text("{}")
    (run / "cloud.cluster").touch()
    return ready_folder


def _complete(project: Path, **variables: str) -> list[str]:
    foreign = {k: v for k, v in os.environ.items() if not k.startswith(("MLFLOW_", "MLOPS_"))}
    said = subprocess.run(
        [sys.executable, "-c", _PROBE],
        cwd=project,
        env=foreign | variables,
        capture_output=True,
        text=True,
        check=False,
    )
    error, _, modules = said.stderr.rpartition("modules ")
    assert error == ""
    assert HEAVY.isdisjoint(modules.split())
    return [line for line in said.stdout.splitlines() if line]


def _bash(project: Path, *words: str) -> list[str]:
    """Complete the last word; words as Bash splits them."""
    return _complete(
        project,
        _MLOPS_COMPLETE="complete_bash",
        COMP_WORDS="\n".join(("mlops", *words)),
        COMP_CWORD=str(len(words)),
    )


def _zsh(project: Path, line: str) -> str:
    return "\n".join(
        _complete(project, _MLOPS_COMPLETE="complete_zsh", _TYPER_COMPLETE_ARGS=f"mlops {line}")
    )


def test_bash(project: Path) -> None:
    assert _bash(project, "deploy", "--ab", "wi") == [
        "wine",
        "wine@beta",
        "wine@champion",
        "wine/1",
        "wine/2",
    ]
    assert _bash(project, "deploy", "--ab", "wine/1", "cham") == ["champion"]
    # Bash ends words at @ and =.
    assert _bash(project, "models", "show", "wine", "@", "ch") == ["champion"]
    assert _bash(project, "models", "show", "wine", "@") == ["beta", "champion"]
    assert _bash(project, "deploy", "--arm", "a", "=", "for") == ["forest", "forest/1"]
    assert _bash(project, "deploy", "--arm", "a=for") == ["a=forest", "a=forest/1"]


def test_values(project: Path) -> None:
    assert _bash(project, "report", "") == ["cloud", "shop"]
    assert _bash(project, "models", "list", "") == ["forest", "wine"]
    assert _bash(project, "deploy", "--target", "se") == ["seldon", "seldon2"]
    assert _bash(project, "deploy", "--reward", "ex") == ["exact"]
    assert _bash(project, "init", "--template", "") == ["wine", "minimal"]
    assert _bash(project, "train", "--backend", "k") == ["kubernetes"]
    assert "--no-color" not in _bash(project, "train", "--no")
    assert _bash(project, "--no") == ["--no-color"]


def test_zsh(project: Path) -> None:
    assert _zsh(project, "deploy --ab wine/") == '_arguments \'*: :(("wine/1"\n"wine/2"))\''
    assert '"wine@champion"' in _zsh(project, "models show wine@c")
    assert '"register"' in _zsh(project, "models re")


def test_a_store_that_cannot_be_read_is_no_error(tmp_path: Path) -> None:
    assert _bash(tmp_path, "models", "show", "") == []
    home = tmp_path / ".mlops"
    home.mkdir()
    (home / "mlflow.db").write_bytes(b"no database")
    assert _bash(tmp_path, "models", "show", "") == []
    assert list(tmp_path.iterdir()) == [home]


@pytest.mark.skipif(shutil.which("bash") is None, reason="no Bash here")
def test_a_real_bash(project: Path) -> None:
    """Bash itself, with the script that `--show-completion` prints."""
    folder = project / "bin"
    folder.mkdir()
    program = folder / "mlops"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m mlops "$@"\n')
    program.chmod(0o755)
    script = """
    source <(_MLOPS_COMPLETE=source_bash mlops)
    COMP_WORDS=(mlops models show wine @ ch); COMP_CWORD=5
    _mlops_completion mlops
    echo "${COMPREPLY[*]}"
    """
    said = subprocess.run(
        ["bash", "-c", script],
        cwd=project,
        env=os.environ | {"PATH": f"{folder}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert said.stdout.strip() == "champion", said.stderr
