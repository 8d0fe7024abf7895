"""What the request log counts, and what it tells of a sink that cannot be used."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mlops.consumers.__main__ import made
from mlops.consumers.base import Context
from mlops.consumers.request_log import RequestLog
from mlops.consumers.runner import Runner
from mlops.errors import RemoteError
from mlops.journal.consumer_records import Progress
from mlops.journal.sql import SqlJournal
from mlops.sinks import Event, Refused, checked_sinks
from mlops.spec.request_log import sink_from, sink_to_dict
from mlops.spec.unit import cell_hash
from tests.journal.rows import decision, outcome

KEY = b"k" * 32
NOW = 1_800_000_000.0


class Memory:
    """Takes pieces, and fails at some; refuses each event whose offset is a multiple of 50."""

    def __init__(self) -> None:
        self.pieces: list[list[Event]] = []
        self.bad_from = 0

    def send(self, events: Sequence[Event]) -> list[Refused]:
        if self.bad_from and events[0].seq >= self.bad_from:
            raise RemoteError("away")
        self.pieces.append(list(events))
        return [Refused(each.id, "no") for each in events if each.seq % 50 == 0]

    def close(self) -> None:
        pass


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[SqlJournal]:
    opened = SqlJournal(f"sqlite:///{tmp_path}/journal.db")
    yield opened
    opened.close()


def logged(journal: SqlJournal, table: dict[str, Any]) -> RequestLog:
    (sink,) = checked_sinks([sink_from("sink", table)])
    return RequestLog(Context("wine", journal, sink_to_dict(sink), KEY))


def progress(journal: SqlJournal) -> Progress:
    (found,) = journal.progress(int(NOW * 1000))
    return found


def test_what_was_delivered_before_a_failure_is_not_dropped(journal: SqlJournal) -> None:
    log = logged(journal, {"kind": "cloudevents", "to": "http://host/", "sample": 0.5})
    memory = log._sink = Memory()
    log._piece = 100
    journal.append([decision(n) for n in range(1200)], [outcome(n) for n in range(300)])
    runner = Runner(journal, "log:sink", log, "one", lambda: NOW)
    memory.bad_from = 400
    runner.step()
    assert (progress(journal).sent, progress(journal).dropped) == (0, 0)
    memory.bad_from = 0
    while runner.step() == 0:
        pass
    events = [each for piece in memory.pieces for each in piece]
    assert len({each.id for each in events}) == len(events)
    refused = sum(each.seq % 50 == 0 for each in events)
    found = progress(journal)
    assert (found.sent, found.sent + found.dropped) == (len(events) - refused, 1500)
    # More requests do not cut the outcomes otherwise, for who names files by them.
    assert all(len({each.kind for each in piece}) == 1 for piece in memory.pieces)


def test_a_sink_that_cannot_be_opened_says_so_and_is_tried_again(
    journal: SqlJournal, tmp_path: Path
) -> None:
    secret = tmp_path / "secret"
    log = logged(journal, {
        "kind": "elasticsearch", "to": "http://127.0.0.1:9", "api_key": f"file:{secret}",
    })  # fmt: skip
    runner = Runner(journal, "log:sink", log, "one", lambda: NOW)
    assert runner.step() > 0
    assert str(secret) in progress(journal).fault
    secret.write_text("key")
    journal.append([decision(1)], [])
    runner.step()
    assert "does not answer" in progress(journal).fault
    log.close()


@pytest.mark.parametrize("start", ["beginning", "now"])
def test_a_consumer_that_cannot_be_made_says_so(journal: SqlJournal, start: str) -> None:
    journal.append([decision(1)], [])
    table = {"kind": "parquet", "to": "log", "hash": ["age"], "start": start}
    options = sink_to_dict(sink_from("sink", table))
    # Without the deployment's key nothing can be hashed.
    consumer = made("log:sink", Context("wine", journal, options))
    Runner(journal, "log:sink", consumer, "one", lambda: NOW).step()
    found = progress(journal)
    assert "needs the deployment's key" in found.fault
    assert found.offset.decisions == (0 if start == "beginning" else 1)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [(5, 5.0, True), (-0.0, 0, True), (np.float32(5), 5, True), (1e300, 1e300, True),
     (5, 5.5, False), (5, "5", False), (1, True, False)],
)  # fmt: skip
def test_equal_values_have_one_hash(one: object, other: object, same: bool) -> None:
    assert (cell_hash("age", one, KEY) == cell_hash("age", other, KEY)) is same
