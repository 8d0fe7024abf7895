"""`.mlops` is its owner's alone, whatever the umask and whatever it was before."""

from __future__ import annotations

import logging
import os
import shutil
import stat
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from mlops.journal.sql import SqlJournal
from mlops.settings import load_settings
from tests.journal.rows import decision, outcome
from tests.requirements import require


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that every user may enter, unlike those of pytest."""
    made = Path(tempfile.mkdtemp(prefix="private-"))
    made.chmod(0o755)
    yield made
    shutil.rmtree(made)


@pytest.fixture
def lax() -> Iterator[None]:
    before = os.umask(0)
    yield
    os.umask(before)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


def _warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    """What was said to everyone, whatever level another test left the logger at."""
    return [each.getMessage() for each in caplog.records if each.levelno >= logging.WARNING]


def test_made_closed(folder: Path, lax: None, caplog: pytest.LogCaptureFixture) -> None:
    home = load_settings(folder, environ={}).make_home()
    assert mode(home) == 0o700
    assert not _warnings(caplog)


def test_an_open_one_is_closed_and_that_is_said_once(
    folder: Path, lax: None, caplog: pytest.LogCaptureFixture
) -> None:
    settings = load_settings(folder, environ={})
    (settings.home / "journal").mkdir(parents=True)
    file, elsewhere = settings.home / "journal/wine.db", folder / "data.csv"
    file.touch()
    elsewhere.touch()
    (settings.home / "link").symlink_to(elsewhere)
    settings.make_home()
    settings.make_home()
    assert [mode(each) for each in (settings.home, file.parent, file)] == [0o700, 0o700, 0o600]
    assert mode(elsewhere) == 0o666
    (said,) = _warnings(caplog)
    assert "is private now" in said


def test_another_user_can_neither_read_the_journal_nor_lock_it(folder: Path, lax: None) -> None:
    require("root", os.geteuid() == 0, "only root can be another user")
    settings = load_settings(folder, environ={})
    home = settings.make_home()
    journal = SqlJournal(f"sqlite:///{home / 'journal/wine.db'}")
    journal.append([decision(1)], [])
    hold = "import fcntl, sys; fcntl.lockf(open(sys.argv[1]), fcntl.LOCK_SH, 1, 120); print(1)"
    for name in ("wine.db", "wine.db-shm", "wine.db-wal"):
        tried = subprocess.run(
            ["/usr/bin/env", "python3", "-c", hold, str(home / "journal" / name)],
            user=65534, group=65534, extra_groups=[], capture_output=True, text=True, check=False,
            cwd="/", env={"PATH": os.environ["PATH"]},
        )  # fmt: skip
        assert "PermissionError" in tried.stderr
        assert str(home) in tried.stderr
    assert journal.append([], [outcome(1)])
    journal.close()
