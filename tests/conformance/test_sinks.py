"""What every kind of sink keeps to, through the journal's consumer."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow.dataset
import pytest

from mlops.consumers.base import Context
from mlops.consumers.request_log import RequestLog
from mlops.consumers.runner import Runner
from mlops.journal.consumer_records import Progress
from mlops.journal.records import RevisionEvent
from mlops.journal.sql import SqlJournal
from mlops.protocols.base import Records
from mlops.sinks import SINKS, checked_sinks
from mlops.spec.deployment import Arm, DeploymentSpec, to_dict
from mlops.spec.model import ModelVersion
from mlops.spec.request_log import sink_from, sink_to_dict
from tests.java_servers import Kafka, jars_of, opensearch
from tests.journal.rows import decision, outcome
from tests.minio import Minio
from tests.sinks.receivers import Bulk, Events, Receiver

KEY = b"k" * 32
Table = dict[str, Any]


@dataclass
class Place:
    """A server that a sink sends to.

    Attributes:
        table: The sink's table.
        stop: Ends the server, or makes it refuse.
        start: Starts it again.
        requests: What it holds, id to features of the first row.
        forgets: Whether it can be asked to forget a unit.
    """

    table: Table
    stop: Callable[[], None]
    start: Callable[[], None]
    requests: Callable[[], list[tuple[str, Table]]]
    forgets: bool = False


def _cloudevents(_: pytest.FixtureRequest, stack: ExitStack) -> Place:
    events = Events()
    server = Receiver(events)
    stack.callback(server.stop)

    def requests() -> list[tuple[str, Table]]:
        found = [each for each in events.seen if each["type"].endswith(".request")]
        # Sent again under the same id, it is the same event.
        unique = {each["id"]: each["data"] for each in found}
        rows = [(name, data["instances"][0]) for name, data in unique.items()]
        # Several connections keep no order.
        return sorted(rows, key=lambda pair: float(pair[1]["alcohol"]))

    def answer(status: int) -> Callable[[], None]:
        return lambda: setattr(events, "status", status)

    return Place({"kind": "cloudevents", "to": server.url}, answer(503), answer(200), requests)


def _bulk(_: pytest.FixtureRequest, stack: ExitStack) -> Place:
    bulk = Bulk()
    server = Receiver(bulk)
    stack.callback(server.stop)

    def requests() -> list[tuple[str, Table]]:
        return [
            (name, (document.get("features") or [{}])[0])
            for (index, name), document in bulk.documents.items()
            if index == "mlops-wine-requests"
        ]

    def answer(status: int) -> Callable[[], None]:
        return lambda: setattr(bulk, "status", status)

    return Place({"kind": "elasticsearch", "to": server.url}, answer(503), answer(200), requests)


def _opensearch(request: pytest.FixtureRequest, stack: ExitStack) -> Place:
    import httpx

    jars = jars_of("opensearch")
    folder: Path = request.getfixturevalue("tmp_path_factory").mktemp("opensearch")
    url = stack.enter_context(opensearch(jars, folder))

    def blocked(on: bool) -> Callable[[], None]:
        def put() -> None:
            settings = {"persistent": {"cluster.blocks.read_only": on or None}}
            httpx.put(f"{url}/_cluster/settings", json=settings, timeout=30).raise_for_status()

        return put

    def requests() -> list[tuple[str, Table]]:
        httpx.post(f"{url}/_refresh", timeout=30)
        query = {"size": 1000, "sort": ["nonce.keyword"]}
        answer = httpx.post(f"{url}/mlops-wine-requests/_search", json=query, timeout=30).json()
        return [
            (hit["_id"], (hit["_source"].get("features") or [{}])[0])
            for hit in answer["hits"]["hits"]
        ]

    return Place(
        {"kind": "elasticsearch", "to": url}, blocked(True), blocked(False), requests, True
    )


def _kafka(request: pytest.FixtureRequest, stack: ExitStack) -> Place:
    from confluent_kafka import Consumer

    jars = jars_of("kafka")
    kafka = Kafka(jars, request.getfixturevalue("tmp_path_factory").mktemp("kafka"))
    running = stack.enter_context(ExitStack())
    running.enter_context(kafka.running())

    def requests() -> list[tuple[str, Table]]:
        reader = Consumer(
            {"bootstrap.servers": kafka.brokers, "group.id": os.urandom(4).hex(),
             "auto.offset.reset": "earliest", "enable.partition.eof": True}
        )  # fmt: skip
        reader.subscribe(["mlops.wine"])
        found: Table = {}
        ends: set[int] = set()
        while len(ends) < 3:
            message = reader.poll(20)
            assert message is not None
            if message.error():
                ends.add(message.partition())
                continue
            headers = dict(message.headers())
            if headers["ce_type"] == b"mlops.inference.request":
                document = json.loads(message.value())
                name = headers["ce_id"].decode()
                assert message.key().decode() == (document["unit"] or name)
                found[name] = (document["nonce"], (document.get("features") or [{}])[0])
        reader.close()
        return [(name, row) for name, (_, row) in sorted(found.items(), key=lambda e: e[1][0])]

    def start() -> None:
        running.enter_context(kafka.running())

    table = {"kind": "kafka", "to": kafka.brokers, "timeout_s": 15}
    return Place(table, running.close, start, requests)


def _files(request: pytest.FixtureRequest, _: ExitStack) -> Place:
    folder: Path = request.getfixturevalue("tmp_path_factory").mktemp("log")
    root = folder / "log"

    def requests() -> list[tuple[str, Table]]:
        return _lines(pyarrow.dataset.dataset(root / "wine/requests", partitioning="hive"))

    def stop() -> None:
        # Also root cannot make a folder where there is a file.
        if root.exists():
            root.rename(folder / "away")
        root.touch()

    def start() -> None:
        root.unlink()
        if (folder / "away").exists():
            (folder / "away").rename(root)

    return Place({"kind": "parquet", "to": str(root), "wait_s": 0.001}, stop, start, requests, True)


def _minio(request: pytest.FixtureRequest, stack: ExitStack) -> Place:
    minio: Minio = request.getfixturevalue("own_minio")
    bucket = minio.bucket()
    request.getfixturevalue("monkeypatch").setattr(os, "environ", os.environ | minio.environ)
    table = {
        "kind": "parquet", "to": f"s3://{bucket}/log", "wait_s": 0.001,
        "endpoint_url": minio.url, "region": "us-east-1", "credentials": "environment",
    }  # fmt: skip

    def requests() -> list[tuple[str, Table]]:
        from pyarrow.fs import S3FileSystem

        keys = minio.environ
        store = S3FileSystem(
            access_key=keys["AWS_ACCESS_KEY_ID"], secret_key=keys["AWS_SECRET_ACCESS_KEY"],
            endpoint_override=minio.url, region="us-east-1",
        )  # fmt: skip
        where = f"{bucket}/log/wine/requests"
        return _lines(pyarrow.dataset.dataset(where, filesystem=store, partitioning="hive"))

    return Place(table, minio.server.stop, minio.server.start, requests, True)


def _lines(dataset: Any) -> list[tuple[str, Table]]:
    table = dataset.to_table().sort_by("nonce").to_pylist()
    rows = [line for line in table if line["row"] == 0]
    assert len({line["request_id"] for line in rows}) == len(rows)
    return [
        (line["request_id"], {k: line[k] for k in ("alcohol", "pH", "who") if line.get(k)})
        for line in rows
    ]


#: Where each kind is tried; a real server where there is one.
PLACES: dict[str, Callable[[pytest.FixtureRequest, ExitStack], Place]] = {
    "cloudevents": _cloudevents,
    "elasticsearch": _bulk,
    "elasticsearch, OpenSearch": _opensearch,
    "kafka": _kafka,
    "parquet": _files,
    "parquet, MinIO": _minio,
}


def test_every_sink_is_tested() -> None:
    assert {name.partition(",")[0] for name in PLACES} == set(SINKS)


@dataclass
class Log:
    """A journal whose log goes to a place."""

    journal: SqlJournal
    place: Place
    now: float = 1_800_000_000.0
    made: list[RequestLog] = field(default_factory=list)

    def runner(self, **changes: Any) -> Runner:
        (sink,) = checked_sinks([sink_from("sink", {**self.place.table, **changes})])
        context = Context("wine", self.journal, sink_to_dict(sink), KEY)
        self.made.append(RequestLog(context))
        return Runner(self.journal, sink.consumer, self.made[-1], "one", lambda: self.now)

    def run(self, runner: Runner) -> None:
        """Go on until there is nothing left, or the sink fails."""
        for _ in range(3):
            self.now += 1
            while runner.step() == 0:
                pass
            if self.progress.fault:
                return

    @property
    def progress(self) -> Progress:
        (found,) = self.journal.progress(int(self.now * 1000))
        return found


@pytest.fixture(params=PLACES)
def log(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Log]:
    with ExitStack() as stack:
        place = PLACES[request.param](request, stack)
        journal = SqlJournal(f"sqlite:///{tmp_path}/journal.db")
        arms = tuple(
            Arm(name, ModelVersion(name, f"{name}/1", f"/models/{name}"), 0.5) for name in "ab"
        )
        spec = to_dict(DeploymentSpec("wine", arms))
        journal.record([RevisionEvent(1, 1, "live", spec)])
        found = Log(journal, place)
        yield found
        for each in found.made:
            each.close()
        journal.close()


def _rows(number: int) -> Records:
    return Records([{"alcohol": 9.0 + number, "pH": 3.1, "who": f"u{number}"}])


def test_a_sink_gets_everything_once_whatever_happens(log: Log) -> None:
    """Delivered, selected, down for a while, sent again: one test, as servers take their time."""
    journal = log.journal
    for number in range(6):
        unit = bytes([number // 2]) * 8
        journal.append(
            [decision(number, arm=number % 2, unit=unit, features=_rows(number))],
            [outcome(number, row=0, truth=3.0)],
        )
    runner = log.runner(features=["alcohol", "who"], hash=["who"], drop=["pH"])
    log.run(runner)
    first = log.place.requests()
    assert [row["alcohol"] for _, row in first] == [9.0, 10.0, 11.0, 12.0, 13.0, 14.0]
    assert all(len(row["who"]) == 32 and "pH" not in row for _, row in first)
    assert len({row["who"] for _, row in first}) == 6
    assert (log.progress.sent, log.progress.lag_events, log.progress.fault) == (12, 0, "")

    # Away for a while: it lags and says why, and nothing is lost.
    log.place.stop()
    journal.append([decision(n, features=_rows(n)) for n in range(6, 9)], [])
    log.run(runner)
    assert log.progress.lag_events == 3
    assert log.progress.failed
    assert log.progress.fault
    log.place.start()
    for _ in range(5):
        log.now += 120
        log.run(runner)
        if not log.progress.fault:
            break
    assert [row["alcohol"] for _, row in log.place.requests()] == [9.0 + n for n in range(9)]
    assert (log.progress.sent, log.progress.lag_events, log.progress.fault) == (15, 0, "")

    # Sent again, as after a crash before the offset was stored: nothing comes twice.
    with journal._engine.begin() as connection:
        connection.exec_driver_sql("UPDATE consumers SET decisions = 6, outcomes = 0, until_ms = 0")
    log.run(log.runner(features=["alcohol", "who"], hash=["who"]))
    again = log.place.requests()
    assert len(again) == 9
    assert again[:6] == first

    # A unit is forgotten, and no other one.
    if log.place.forgets:
        sink: Any = log.made[-1]._sink
        assert sink.forget([(b"\1" * 8).hex()]) == 2
        left = log.place.requests()
        assert [row == {} for _, row in left] == [number in (2, 3) for number in range(9)]
        assert [name for name, _ in left] == [name for name, _ in again]
