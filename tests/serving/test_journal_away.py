"""A server whose journal cannot be used when it starts."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import os
import signal
import sqlite3
import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mlops.audit.sources import journal_events
from mlops.journal.base import JournalUnavailableError
from mlops.journal.outage import AWAY
from mlops.journal.records import RevisionEvent
from mlops.journal.sql import SqlJournal
from mlops.journal.writer import JournalWriter
from mlops.serving.past import Past
from mlops.serving.revision import LiveRevision, load_revision
from mlops.spec.deployment import to_dict
from mlops.spec.request_id import fingerprint
from mlops.spec.server import Launch
from tests.serving.server import KEY, Server, make_launch, served
from tests.waiting import until, wait_until

_ROW = [{"fixed acidity": 7.4, "alcohol": 9.4, "sulphates": 0.56}]


def test_it_answers_says_so_and_recovers(
    models: dict[str, Path], tmp_path: Path, start: Callable[[Launch], Server]
) -> None:
    launch = make_launch(tmp_path, served(models))
    path = tmp_path / "journal.db"
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("CREATE TABLE t (x)")
        other.execute("BEGIN EXCLUSIVE")
        server = start(launch)
        ids = [server.predict(_ROW).request_id for _ in range(5)]
        refused = server.post("/feedback", {"request_id": ids[0], "reward": 1.0})
        assert refused.status == 503
        assert refused.json["error"] == AWAY
        assert "locked" in server.log
        (warning,) = server.admin("GET", "/status").json["warnings"]
        assert "locked" in warning
        assert "Predictions go on" in warning
        assert server.predict(_ROW).status == 200
        time.sleep(1.1)  # a shorter one is no alarm
        other.execute("ROLLBACK")
    wait_until(
        lambda: server.post("/feedback", {"request_id": ids[0], "reward": 1.0}).status == 200
    )
    wait_until(lambda: not server.admin("GET", "/status").json["warnings"])
    journal = server.journal()
    events = journal.revision_events()
    assert [event.event for event in events] == ["started", "unwritable", "writable"]
    assert events[2].time_ms - events[1].time_ms >= 1_000
    alarms = [event.action for event in journal_events(journal)]
    assert alarms == ["start", "alarm", "alarm over"]
    assert sum(traffic.drawn for traffic in journal.traffic()) == 6
    journal.close()


def test_a_damaged_journal_that_is_removed(
    models: dict[str, Path], tmp_path: Path, start: Callable[[Launch], Server]
) -> None:
    """A running server goes on with a new one, in which it records what it serves."""
    launch, path = _apart(make_launch(tmp_path, served(models)), tmp_path)
    server = start(launch)
    first = server.predict(_ROW).request_id
    assert server.post("/feedback", {"request_id": first, "reward": 1.0}).status == 200
    _damage(server, path)
    second = server.predict(_ROW).request_id
    assert server.post("/feedback", {"request_id": second, "reward": 1.0}).status == 503
    path.parent.rename(tmp_path / "aside")
    wait_until(
        lambda: server.post("/feedback", {"request_id": second, "reward": 1.0}).status == 200
    )
    journal = server.journal()
    assert "started" in [event.event for event in journal.revision_events()]
    assert sum(traffic.drawn for traffic in journal.traffic()) == 1
    journal.close()


def test_a_damaged_journal_whose_backup_is_put_back(
    models: dict[str, Path], tmp_path: Path, start: Callable[[Launch], Server]
) -> None:
    """As documented: between a stop and a start, since a server opens the damaged file again."""
    launch, path = _apart(make_launch(tmp_path, served(models)), tmp_path)
    backup = tmp_path / "backup.db"
    server = start(launch)
    first = server.predict(_ROW).request_id
    assert server.post("/feedback", {"request_id": first, "reward": 1.0}).status == 200
    with contextlib.closing(server.journal()), contextlib.closing(sqlite3.connect(path)) as source:
        source.execute("VACUUM INTO ?", [str(backup)])
    for _ in range(20):
        server.predict(_ROW)
    _damage(server, path)
    server.predict(_ROW)
    assert server.stop() == 0
    for name in ("journal.db", "journal.db-wal", "journal.db-shm"):
        (path.parent / name).unlink(missing_ok=True)
    backup.replace(path)
    server = start(launch)
    assert server.post("/feedback", {"request_id": first, "reward": 1.0}).status == 200
    server.predict(_ROW)
    journal = server.journal()
    assert sum(traffic.drawn for traffic in journal.traffic()) == 2
    journal.close()
    with contextlib.closing(sqlite3.connect(path)) as found:
        assert found.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


def test_a_journal_that_is_replaced_while_nothing_fails(
    models: dict[str, Path], tmp_path: Path, start: Callable[[Launch], Server]
) -> None:
    """Whichever worker writes first records what all serve, also one that was started again."""
    launch, path = _apart(replace(make_launch(tmp_path, served(models)), workers=2), tmp_path)
    server = start(launch)
    server.predict(_ROW)
    server.journal().close()
    for worker in server.admin("GET", "/status").json["workers"]:
        os.kill(worker["pid"], signal.SIGKILL)
        wait_until(functools.partial(_is_again, server, worker["pid"]))
    server.hang_up()
    path.parent.rename(tmp_path / "aside")
    request_id = server.predict(_ROW).request_id
    assert server.post("/feedback", {"request_id": request_id, "reward": 1.0}).status == 200
    journal = server.journal()
    assert {event.event for event in journal.revision_events()} == {"started"}
    assert sum(traffic.drawn for traffic in journal.traffic()) == 1
    journal.close()


def _is_again(server: Server, pid: int) -> bool:
    """Whether another process is in place of a worker, and all serve."""
    workers = server.admin("GET", "/status").json["workers"]
    return all(each["state"] == "running" and each["pid"] != pid for each in workers)


def _apart(launch: Launch, folder: Path) -> tuple[Launch, Path]:
    """Give a journal a folder of its own: moved away, it takes all files in one step."""
    path = folder / "journal" / "journal.db"
    return replace(launch, journal_url=f"sqlite:///{path}"), path


def _damage(server: Server, path: Path) -> None:
    journal = server.journal()
    journal.drain_log()
    journal.close()
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(b"\xff" * (path.stat().st_size - 4096))


@pytest.mark.parametrize("workers", [1, 2])
def test_a_key_that_is_not_the_journals(
    models: dict[str, Path], tmp_path: Path, start: Callable[[Launch], Server], workers: int
) -> None:
    """One that cannot know it at its start says so once it can."""
    launch = replace(make_launch(tmp_path, served(models)), workers=workers)
    path = tmp_path / "journal.db"
    journal = SqlJournal(launch.journal_url)
    journal.settle("request ids", "key/wine", fingerprint(bytes(32)), 0)
    journal.close()
    refused = Server(launch, tmp_path)
    assert refused.process.wait(timeout=240) == 7, refused.log
    assert "is not the key of the request ids" in refused.log
    assert "MLOPS_DEPLOY_NEW_KEY" in refused.log
    refused.kill()

    aside = path.rename(tmp_path / "aside.db")
    path.write_bytes(b"no database" * 1_000)
    server = start(launch)
    request_id = server.predict(_ROW).request_id
    aside.replace(path)
    wait_until(lambda: "is not the key" in "".join(_warnings(server)))
    assert server.post("/feedback", {"request_id": request_id, "reward": 1.0}).status == 200
    server.kill()

    # On purpose.
    server = start(replace(launch, new_key=True))
    assert _warnings(server) == []
    assert server.journal().remembered("request ids", ["key/wine"]) == {
        "key/wine": fingerprint(KEY)
    }


def test_a_journal_that_goes_away_between_two_looks_at_the_start(
    models: dict[str, Path], tmp_path: Path
) -> None:
    """Workers read their past first, and one of them checks the key when all are ready."""
    launch = make_launch(tmp_path, served(models))
    journal = _AwayOnce(launch.journal_url)
    writer = JournalWriter(journal, lambda _: None)
    live = load_revision(launch.served)

    async def serve() -> None:
        past = Past(journal, writer, launch, KEY)
        past.recall(live)
        following = asyncio.create_task(past.catch_up(lambda: live, lambda _: None))
        await asyncio.sleep(0)
        await asyncio.to_thread(past.record_start, live)
        assert past.fault == "It is away."
        await asyncio.to_thread(wait_until, lambda: not past.fault)
        following.cancel()

    asyncio.run(serve())
    assert journal.remembered("request ids", ["key/wine"]) == {"key/wine": fingerprint(KEY)}
    writer.close(10.0)
    journal.close()


def test_a_number_that_was_another_revisions_is_told(
    models: dict[str, Path], tmp_path: Path
) -> None:
    launch = make_launch(tmp_path, served(models))
    live = load_revision(launch.served)
    revision = live.served.revision
    other = replace(revision.spec, sticky_by="header:X-User")
    journal = SqlJournal(launch.journal_url)
    writer = JournalWriter(journal, lambda _: None)
    warnings = {}
    for spec in (revision.spec, other):
        journal.record([RevisionEvent(revision.number, 0, "started", to_dict(spec))])
        past = Past(journal, writer, launch, KEY)
        past.fault = "It was away."
        asyncio.run(_caught_up(past, live))
        warnings[spec.sticky_by] = past.warning
    assert warnings[""] == ""
    assert f"another revision {revision.number}" in warnings["header:X-User"]
    writer.close(10.0)
    journal.close()


async def _caught_up(past: Past, live: LiveRevision) -> None:
    done: list[LiveRevision] = []
    following = asyncio.create_task(past.catch_up(lambda: live, done.append))
    await until(lambda: done)
    following.cancel()
    await asyncio.gather(following, return_exceptions=True)


class _AwayOnce(SqlJournal):
    """Cannot be read the first time that it is asked for its key."""

    away = True

    def remembered(self, consumer: str, parts: Iterable[str]) -> dict[str, Any]:
        if self.away:
            self.away = False
            raise JournalUnavailableError("It is away.")
        return super().remembered(consumer, parts)


def _warnings(server: Server) -> list[str]:
    found: list[str] = server.admin("GET", "/status").json["warnings"]
    return found
