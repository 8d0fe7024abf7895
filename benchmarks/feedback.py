"""How fast does feedback come in? Each outcome joined to a logged decision and durably committed.

    python benchmarks/feedback.py [--events 50000]

Prints (a) single-reward outcomes sent in bulk from one client process, (b) `mlops feedback`, which
asks for a prediction and then tells the truth, row by row.
"""

from __future__ import annotations

import argparse
import http.client
import json
import sqlite3
import subprocess
import tempfile
import time
from pathlib import Path

from common import MLOPS, machine, run, state_of, wine_project


def main(events: int) -> None:
    with wine_project() as project:
        run("deploy", "--ab", "wine/1", "wine/2", "--json", cwd=project)
        ids = _predict(project, events)
        with tempfile.NamedTemporaryFile("w", suffix=".ndjson", dir=project) as file:
            file.writelines(json.dumps({"request_id": rid, "reward": 1}) + "\n" for rid in ids)
            file.flush()
            started = time.perf_counter()
            with Path(file.name).open("rb") as lines:
                subprocess.run(
                    [MLOPS, "feedback", "--data", "-"],
                    cwd=project, stdin=lines, capture_output=True, check=True,
                )  # fmt: skip
            took = time.perf_counter() - started
        joined = _joined(project)
        played = json.loads(run("feedback", "--limit", "5000", "--json", cwd=project))
        print(machine())
        print(f"bulk outcomes: {events / took:,.0f}/s, process start included ({events:,} events)")
        print(f"joined to a decision: {joined:,} of {events:,}, synchronous=FULL")
        rate = played["visits"] / played["seconds"]
        print(f"mlops feedback (predict + truth): {rate:,.0f} rows/s")
        if joined != events:
            raise SystemExit(1)


def _predict(project: Path, events: int) -> list[str]:
    """Ask for predictions one by one and keep their request ids."""
    launch = state_of(project)["launch"]
    assert isinstance(launch, dict)
    connection = http.client.HTTPConnection("127.0.0.1", launch["port"])
    state = state_of(project)
    body = json.dumps(state["request"]).encode()
    ids = []
    for _ in range(events):
        connection.request("POST", "/invocations", body, {"content-type": "application/json"})
        response = connection.getresponse()
        response.read()
        ids.append(str(response.headers["x-mlops-request-id"]))
    return ids


def _joined(project: Path) -> int:
    query = "select count(*) from outcomes join decisions using (nonce)"
    with sqlite3.connect(project / ".mlops" / "journal" / "wine.db") as journal:
        return int(journal.execute(query).fetchone()[0])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=50_000)
    main(parser.parse_args().events)
