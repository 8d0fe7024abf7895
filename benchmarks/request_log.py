"""How fast each sink takes the request log, and what is lost when senders and sinks are killed.

    python -m benchmarks.request_log                 rates, in processor time of the sender
    python -m benchmarks.request_log --kills 20      kill -9 of the sender and of the sink

Sinks are receivers of this program on loopback, which answer at once; Parquet goes to a folder.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections import Counter
from typing import Any

from mlops.consumers.base import Context
from mlops.consumers.request_log import RequestLog
from mlops.consumers.runner import Runner
from mlops.journal.records import Decision
from mlops.journal.sql import SqlJournal
from mlops.protocols.base import Records
from mlops.sinks import checked_sinks
from mlops.spec.request_log import sink_from, sink_to_dict
from tests.journal.rows import decision
from tests.sinks.receivers import Bulk, Events, Receiver

_FEATURES = 11


def _journal(folder: str, requests: int) -> SqlJournal:
    journal = SqlJournal(f"sqlite:///{folder}/journal.db")
    for start in range(0, requests, 5_000):
        some = range(start, min(requests, start + 5_000))
        journal.append([_decision(number) for number in some], [])
    return journal


def _decision(number: int) -> Decision:
    row = {f"f{at}": number * 0.1 + at for at in range(_FEATURES)}
    return decision(number, unit=number.to_bytes(8, "big"), features=Records([row]))


def _rate(name: str, table: dict[str, Any], requests: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        if table["kind"] == "parquet":
            table = {**table, "to": f"{folder}/lake"}
        journal = _journal(folder, requests)
        (sink,) = checked_sinks([sink_from("sink", table)])
        log = RequestLog(Context("wine", journal, sink_to_dict(sink), b"k" * 32))
        runner = Runner(journal, sink.consumer, log, "benchmark")
        started = time.thread_time()
        while runner.step() == 0:
            pass
        spent = time.thread_time() - started
        (progress,) = journal.progress(0)
        assert progress.sent == requests, progress
        log.close()
        journal.close()
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    sys.stdout.write(f"{name:34} {requests / spent:10,.0f} requests/s of one core\n")
    sys.stdout.write(f"{'':34} {memory:10,.0f} MiB at most so far\n")


def _kills(kills: int, requests: int) -> None:
    """Kill the sender and the sink by turns, and compare what arrived with the journal."""
    events = Events()
    receiver = Receiver(events)
    port = receiver.port
    with tempfile.TemporaryDirectory() as folder:
        journal = _journal(folder, requests)
        (sink,) = checked_sinks([sink_from("sink", {"kind": "cloudevents", "to": receiver.url})])
        asked = {
            "deployment": "wine",
            "journal_url": f"sqlite:///{folder}/journal.db",
            "consumers": {sink.consumer: sink_to_dict(sink)},
        }
        for number in range(2 * kills):
            child = _start(asked)
            before = len(events.seen)
            while len(events.seen) == before and child.poll() is None:
                time.sleep(0.01)
            time.sleep(random.Random(number).uniform(0, 0.3))
            if number % 2:
                # A sink that is killed in the middle of answers takes its connections with it.
                receiver.stop()
                time.sleep(0.2)
                receiver = Receiver(events, port)
            child.kill()
            child.wait()
            with journal._engine.begin() as connection:  # the holder of the lease is dead
                connection.exec_driver_sql("UPDATE consumers SET until_ms = 0")
        child = _start(asked)
        while _lag(journal):
            time.sleep(0.1)
        child.kill()
        child.wait()
        journal.close()
    receiver.stop()
    counts = Counter(each["id"] for each in events.seen if each["type"].endswith(".request"))
    twice = sum(counts.values()) - len(counts)
    sys.stdout.write(
        f"{kills} kills of the sender, {kills} of the sink: {len(counts):,} of {requests:,} "
        f"requests arrived, {twice:,} of them again under the same id\n"
    )
    assert len(counts) == requests


def _lag(journal: SqlJournal) -> int:
    found = journal.progress(0)
    return found[0].lag_events if found else 1


def _start(asked: dict[str, Any]) -> subprocess.Popen[bytes]:
    child = subprocess.Popen(
        [sys.executable, "-P", "-m", "mlops.consumers"],
        stdin=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    assert child.stdin is not None
    with contextlib.suppress(BrokenPipeError):
        child.stdin.write(json.dumps(asked).encode() + b"\n")
        child.stdin.flush()
    return child


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=20_000)
    parser.add_argument("--kills", type=int, default=0)
    given = parser.parse_args()
    if given.kills:
        _kills(given.kills, given.requests)
        return
    with contextlib.ExitStack() as stack:
        events, bulk = Receiver(lambda *_: (200, b"")), Receiver(Bulk())
        stack.callback(events.stop)
        stack.callback(bulk.stop)
        posted = {"kind": "cloudevents", "to": events.url}
        _rate("CloudEvents, two POSTs a request", posted, given.requests // 4)
        _rate("CloudEvents, 100 events a POST", {**posted, "batch": 100}, given.requests)
        _rate("_bulk", {"kind": "elasticsearch", "to": bulk.url}, given.requests)
        _rate("Parquet", {"kind": "parquet", "wait_s": 0.001}, given.requests)


if __name__ == "__main__":
    main()
