"""Files that are not there and folders that cannot be written: one line, no traceback."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fixtures_training import Cli

Capture = pytest.CaptureFixture[str]
#: A file system in which no user, not even root, may create a file.
_SYS = Path("/sys")


@pytest.mark.parametrize(
    "words",
    [
        ("predict", "--data", "nope.csv", "--url", "http://127.0.0.1:9"),
        ("feedback", "--data", "nope.csv", "--url", "http://127.0.0.1:9", "--truth-column", "x"),
        ("feedback", "--data", "nope.ndjson", "--url", "http://127.0.0.1:9"),
        ("deploy", "-f", "nope.yaml"),
        ("lint", "nope.yaml"),
        ("train", "-P", "@nope.yaml"),
    ],
    ids=" ".join,
)
def test_a_file_that_is_not_there(
    cli: Cli, tmp_path: Path, words: tuple[str, ...], capsys: Capture
) -> None:
    (tmp_path / "MLproject").write_text("entry_points: {main: {command: 'true'}}\n")
    assert cli(tmp_path, *words) == 5
    name = words[-1] if words[-1].startswith("@") else next(w for w in words if "nope" in w)
    assert f"There is no file `{name.lstrip('@')}`" in capsys.readouterr().err


@pytest.mark.skipif(not _SYS.is_dir(), reason="no such folder here")
def test_a_folder_that_cannot_be_written(cli: Cli, tmp_path: Path, capsys: Capture) -> None:
    (tmp_path / "MLproject").write_text("entry_points: {main: {command: 'true'}}\n")
    (tmp_path / ".mlops").symlink_to(_SYS)
    assert cli(tmp_path, "train") == 3
    err = capsys.readouterr().err.splitlines()
    assert [line.split(":")[0] for line in err[-2:]] == ["error", " hint"]
    assert ".mlops/.gitignore` cannot be used: " in err[-2]
    assert cli(tmp_path, "doctor") == 1
    assert "✗ store" in capsys.readouterr().out
    assert cli(_SYS, "init", "wine") in (3, 4)
    assert "Errno" not in capsys.readouterr().err
