"""What every command has in common: its help, `-q`, and output that no terminal chokes on."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from mlops.__main__ import run
from mlops.commands.app import program
from mlops.commands.terminal import SafeConsole, Trimmed
from tests.fixtures_training import Cli

Capture = pytest.CaptureFixture[str]


def _commands(group: Any, words: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    yield words
    for name, command in getattr(group, "commands", {}).items():
        if not command.hidden:
            yield from _commands(command, (*words, name))


_ALL = list(_commands(typer.main.get_command(program())))


@pytest.mark.parametrize("words", _ALL, ids=" ".join)
def test_help(words: tuple[str, ...], capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert run([*words, "--help"]) == 0
    text = capsys.readouterr().out
    assert not re.search(r"<[a-z]+[\[>]|\[\[|\]\]|[{}]", text), "types in brackets, braces"
    # A value's name stays whole: nothing ends with a bar or a hyphen at the end of its cell.
    assert not re.search(r"\|\s{2,}\S.*│$|\S\|\s*│$", text, re.MULTILINE)
    assert max(len(line) for line in text.splitlines()) <= 80


def test_brackets_in_help_are_not_markup(capsys: Capture) -> None:
    assert run(["stores", "secret", "--help"]) == 0
    assert "[artifacts]" in capsys.readouterr().out
    assert run(["journal", "prune", "--help"]) == 0
    assert "[journal]" in capsys.readouterr().out


def test_a_usage_error_names_the_command_with_the_help(tmp_path: Path, capsys: Capture) -> None:
    assert run(["models", "show"]) == 2
    assert "`mlops models show --help`" in capsys.readouterr().err


def test_quiet_anywhere(tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for words in (["-q", "stop", "x"], ["stop", "x", "--quiet"]):
        assert run(words) == 5
        assert "error:" in capsys.readouterr().err


def test_control_characters_are_shown() -> None:
    import io

    from rich.table import Table

    stream = io.StringIO()
    console = SafeConsole(file=Trimmed(stream), width=60)
    table = Table(box=None)
    table.add_row("a\x1b]0;title\x07", "b\x9b2J\rc")
    console.print(table, "plain \x1b[2J text \u00e9\u6f22", markup=False)
    console.print("wine :wine_glass:")
    console.print("\u202egpj.exe\u202c \u2066x\u2069 \u2028", markup=False)
    text = stream.getvalue()
    assert "a\\x1b]0;title\\x07" in text
    assert "wine :wine_glass:" in text
    assert "b\\x9b2J\\x0dc" in text
    assert "plain \\x1b[2J text \u00e9\u6f22" in text
    assert "\\u202egpj.exe\\u202c \\u2066x\\u2069 \\u2028" in text
    assert not re.search(r"[\u202a-\u202e\u2066-\u2069\u2028]", text)
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f]", text)
    assert not re.search(r" $", text, re.MULTILINE)


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_an_encoding_without_our_signs(encoding: str, tmp_path: Path) -> None:
    words = ("doctor", "--help"), ("models", "show", "\u6f22\u5b57")
    for command in words:
        said = subprocess.run(
            [sys.executable, "-m", "mlops", *command],
            cwd=tmp_path,
            env=os.environ | {"PYTHONIOENCODING": encoding},
            capture_output=True,
            check=False,
        )
        assert b"Traceback" not in said.stderr, said.stderr
        assert said.returncode == (0 if "--help" in command else 5)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--ab", "ridge", "--json"), "takes two models, and `--json` is no model but an option"),
        (("--ab", "a", "b", "--split", "90/20", "--json"), "sum to 110, not 100"),
        (("--ab", "a", "b", "--split", "90", "--json"), "not a split among 2 arms"),
        (("--model", "a", "--shadow", "b@", "--json"), "names no alias"),
    ],
)
def test_models_of_deploy_that_are_none_are_refused_before_the_work(
    cli: Cli, tmp_path: Path, capsys: Capture, words: tuple[str, ...], said: str
) -> None:
    (tmp_path / "mlops.toml").write_text("[tracking]\nuri = 'http://127.0.0.1:9'\n")
    assert cli(tmp_path, "deploy", *words) == 2
    shown = capsys.readouterr()
    assert said in json.loads(shown.out)["error"]["message"]
    assert "Reading the live revision" not in shown.err
