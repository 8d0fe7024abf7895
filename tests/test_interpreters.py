"""Which interpreter an environment file gets: real ones, and programs that say they are one."""

from __future__ import annotations

import platform
import sys
from pathlib import Path

import pytest

from mlops.environments.interpreters import find_python, installed
from mlops.errors import InvalidInputError

_HERE = platform.python_version()
_FILE = Path("python_env.yaml")


def _install(folder: Path, version: str) -> str:
    folder.mkdir(parents=True)
    program = folder / "python3"
    program.write_text(f"#!/bin/sh\necho {version}\n")
    program.chmod(0o755)
    return str(program)


@pytest.fixture
def pythons(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Return the interpreters of a machine: of pyenv, of uv, and one that is broken."""
    pyenv, data = tmp_path / "pyenv", tmp_path / "data"
    monkeypatch.setenv("PATH", str(tmp_path / "shims"))
    monkeypatch.setenv("PYENV_ROOT", str(pyenv))
    monkeypatch.setenv("XDG_DATA_HOME", str(data))
    monkeypatch.delenv("UV_PYTHON_INSTALL_DIR", raising=False)
    _install(tmp_path / "shims", "3.5.1")
    _install(pyenv / "versions" / "broken" / "bin", "&& exit 1")
    return {
        "3.6.15": _install(pyenv / "versions" / "3.6.15" / "bin", "3.6.15"),
        "3.8.18": _install(pyenv / "versions" / "3.8.18" / "bin", "3.8.18"),
        "3.9.19": _install(data / "uv" / "python" / "cpython-3.9.19-linux" / "bin", "3.9.19"),
    }


@pytest.mark.parametrize(
    ("wanted", "version"),
    [
        ("3.8", "3.8.18"),
        ("3.6", "3.6.15"),
        ("=3.9", "3.9.19"),
        ("3.9.19", "3.9.19"),
        ("==3.8.18", "3.8.18"),
        (">=3.7,<3.9", "3.8.18"),
    ],
)
def test_versions_and_conditions(pythons: dict[str, str], wanted: str, version: str) -> None:
    notes: list[str] = []
    assert find_python(wanted, _FILE, notes.append) == pythons[version]
    assert notes == []


def test_the_interpreter_of_the_command_comes_first(pythons: dict[str, str]) -> None:
    assert find_python(">=3.6", _FILE, print) == sys.executable
    assert find_python(_HERE, _FILE, print) == sys.executable
    # A shim of pyenv is no interpreter.
    assert {*installed()} == {_HERE, *pythons}


def test_another_patch_release_is_taken_with_a_note(pythons: dict[str, str]) -> None:
    notes: list[str] = []
    assert find_python("3.8.15", _FILE, notes.append) == pythons["3.8.18"]
    assert notes == ["`python_env.yaml` asks for Python 3.8.15; 3.8.18 is here and is used"]


@pytest.mark.parametrize(
    ("wanted", "says"),
    [
        ("3.10", "Install it (`uv python install 3.10`), ask for another in `python_env.yaml`, or"),
        ("3.5.2", "Ask for another in `python_env.yaml`, or use `--env-manager local`."),
        (">=3.99", "Ask for another in `python_env.yaml`, or use"),
    ],
)
def test_none_is_refused_with_a_way_out(pythons: dict[str, str], wanted: str, says: str) -> None:
    with pytest.raises(InvalidInputError, match="not installed here") as caught:
        find_python(wanted, _FILE, print)
    assert says.lower() in (caught.value.hint or "").lower()
    assert "installed: 3.6, 3.8, 3.9, 3." in caught.value.message
    with pytest.raises(InvalidInputError, match="not a version"):
        find_python("newest", _FILE, print)
