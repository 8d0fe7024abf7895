"""The key of the request ids as a command finds it, before a server starts."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest

from mlops.deployment.lost_state import check_key_of_journal, check_nothing_lost
from mlops.deployment.runtime_files import key_print, places
from mlops.errors import ConflictError, InvalidInputError
from mlops.journal.key_print import is_key_of
from mlops.journal.sql import SqlJournal
from mlops.settings import load_settings
from mlops.spec.request_id import fingerprint


@pytest.mark.parametrize("driver", ["sqlite", "sqlite+pysqlite"])
def test_looking_creates_no_journal(tmp_path: Path, driver: str) -> None:
    url = f"{driver}:///{tmp_path / 'far/journal.db'}"
    settings = load_settings(tmp_path, environ={"MLOPS_JOURNAL_URL": url})
    where = places(settings, "wine")
    check_key_of_journal(settings, where)
    (tmp_path / "far").mkdir()
    check_key_of_journal(settings, where)
    assert list((tmp_path / "far").iterdir()) == []

    journal = SqlJournal(url)
    assert is_key_of(journal, "wine", fingerprint(bytes(32)), adopt=False, now_ms=0)
    journal.close()
    with pytest.raises(ConflictError, match="is not there"):
        check_key_of_journal(settings, where)
    check_key_of_journal(settings, places(settings, "other"))


def test_a_server_without_a_journal(tmp_path: Path) -> None:
    settings = load_settings(tmp_path, environ={"MLOPS_JOURNAL_URL": "none:"})
    where = places(settings, "wine")
    check_key_of_journal(settings, where)
    where.folder.mkdir(parents=True)
    where.key.write_bytes(bytes(32))
    check_nothing_lost(settings, where, known=True)


@pytest.mark.parametrize("kind", ["short", "folder"])
def test_a_file_that_is_no_key(tmp_path: Path, kind: str) -> None:
    where = places(load_settings(tmp_path, environ={}), "wine")
    where.folder.mkdir(parents=True)
    if kind == "short":
        where.key.write_bytes(base64.b64encode(bytes(32)))
    else:
        where.key.mkdir()
    with pytest.raises(InvalidInputError, match=r"has 44 bytes|cannot be read"):
        key_print(where)
