"""Does the journal keep what it acknowledged? Through kill -9, and through a full disk.

    python benchmarks/durability.py [--kills 20] [--seconds 2]
    python benchmarks/durability.py --disk-full [--seconds 4]

Customers ask for predictions and send feedback without a pause, and write down what they are told.
The server is killed at random points, `--seconds` apart on average, and deployed again, now and
then with other weights. After each kill, before anybody else touches the journal, what the report
would say is held against a fold of what customers were told was stored. With `--disk-full` the
journal lies on a disk that fills up instead. At the end the journal and the evidence of the report
are held against the customers' notes; exits with 1 if anything acknowledged is lost, doubled,
altered, or credited to an arm that did not answer.

The report's evidence is all the state there is: a fold over the journal, made anew at each look.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import json
import os
import random
import signal
import socket
import statistics
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

from audit import audit, audit_copy
from common import machine, wine_project
from customers import Crowd, Diary
from disk_full import fill_up

from mlops.deployment.admin_client import get_status
from mlops.deployment.deploy import deploy
from mlops.deployment.local import stop
from mlops.deployment.request import read_request
from mlops.deployment.runtime_files import Places, is_alive, places, read_server_state, socket_path
from mlops.errors import MlopsError
from mlops.settings import load_settings
from mlops.spec.server import ServerState

_CUSTOMERS = 4
_ENDS_WITHIN_S = 10.0
# Every fifth start has other weights, so that feedback arrives late and revisions mix.
_SPLITS = ("50/50", "70/30")
_STARTS_PER_SPLIT = 5


def main(project: Path, kills: int, seconds: float) -> bool:
    """Kill again and again; return whether all promises were kept."""
    # Random points of the load; the machine's own noise makes each run another one.
    chance = random.Random(7)
    restarts, unsound = [], 0
    with _deployment(project) as (where, started):
        state = started
        crowd = Crowd(state.launch.port, bodies(project), _CUSTOMERS)
        with crowd.at_work():
            for count in range(1, kills + 1):
                time.sleep(chance.uniform(0, 2 * seconds))
                _kill(state.pid, where)
                found = audit_copy(_journal(project, where), crowd.so_far())
                if not found.sound:
                    print(f"after kill {count}: {found}")
                unsound += not found.sound
                died = time.perf_counter()
                state = up(project, count // _STARTS_PER_SPLIT)
                restarts.append(time.perf_counter() - died)
            time.sleep(seconds)
        stop(where)
        print(machine())
        print(f"kills: {kills}")
        print(f"reports held against a fold of what was acknowledged, after a kill: {kills}")
        print(f"reports that differed from it: {unsound}")
        print(f"restart time: {statistics.median(restarts):.1f} s in the median")
        return _judge(where, project, crowd.diary()) and not unsound


def disk_full(project: Path, seconds: float) -> bool:
    """Fill the journal's disk; return whether all promises were kept."""
    with fill_up(project / ".mlops" / "journal") as disk, _deployment(project) as (where, state):
        crowd = Crowd(state.launch.port, bodies(project), _CUSTOMERS)
        print(machine())
        with crowd.at_work():
            times = disk.through_a_full_disk(crowd, seconds, lambda: _try(project, where))
            same = is_alive(where) and up(project, 1).pid == state.pid
        told = crowd.diary()
        stop(where)
        kept = times.figures(told)
        print(f"restarted: {'no' if same else 'yes'}")
        return _judge(where, project, told) and same and kept and disk.accounts(told)


def _judge(where: Places, project: Path, told: Diary) -> bool:
    print(f"predictions answered: {len(told.told):,}; by status {dict(told.statuses)}")
    print(f"feedback sent about: {len(told.sent):,}; unanswered about: {len(told.doubtful):,}")
    print(f"feedback acknowledged: {len(told.acknowledged):,}; by fate {dict(told.fates)}")
    found = audit(_journal(project, where), told, print)
    for name, count in asdict(found).items():
        print(f"{name}: {count:,}")
    log = where.log.read_text()
    failures = log.count("Traceback")
    print(f"tracebacks in the server's log: {failures}")
    if failures:
        print(log[log.index("Traceback") :][:4000])
    refused = sum(count for status, count in told.statuses.items() if status != 200)
    return found.sound and not failures and not refused and bool(told.acknowledged)


def _journal(project: Path, where: Places) -> Path:
    return project / ".mlops" / "journal" / f"{where.name}.db"


@contextlib.contextmanager
def _deployment(project: Path) -> Iterator[tuple[Places, ServerState]]:
    """Deploy both models; stop the server that runs at the end, whichever it is."""
    state = up(project, 0)
    where = places(load_settings(project), state.launch.name)
    try:
        yield where, state
    finally:
        stop(where)


def up(project: Path, turn: int) -> ServerState:
    """Do what `mlops deploy` does, and return what the server says."""
    settings = load_settings(project)
    split = _SPLITS[turn % len(_SPLITS)]
    request = read_request(settings, ab=("wine/1", "wine/2"), split=split)
    state: ServerState = deploy(settings, request, "local").state
    return state


def _try(project: Path, where: Places) -> None:
    """Deploy other weights; the server takes them or refuses, and says what it did."""
    try:
        taken = up(project, 1).launch.served.revision.number
        print(f"deployed meanwhile: revision {taken}")
    except MlopsError as error:
        print(f"not deployed meanwhile: {error.message}")
        state = read_server_state(where)
        assert state is not None
        taken = state.launch.served.revision.number
    if get_status(socket_path(where).as_posix())["revision"] != taken:
        raise SystemExit("the server serves another revision than it says") from None


def _kill(pid: int, where: Places) -> None:
    os.kill(pid, signal.SIGKILL)
    deadline = time.monotonic() + _ENDS_WITHIN_S
    while is_alive(where):
        if time.monotonic() > deadline:
            raise SystemExit(f"process {pid} outlives kill -9")
        time.sleep(0.001)


def bodies(project: Path) -> list[bytes]:
    """The wines of the project, each as a request of one row."""
    with (project / "data" / "customers.csv").open(newline="") as file:
        wines = [
            {k: float(v) for k, v in row.items() if k != "quality"} for row in csv.DictReader(file)
        ]
    return [json.dumps({"dataframe_records": [wine]}).encode() for wine in wines]


def quiet_port() -> int:
    """A free port that neither other deployments nor outgoing connections are given."""
    while True:
        port = random.randrange(20_000, 30_000)
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--disk-full", action="store_true")
    parser.add_argument("--project", type=Path, help="with wine/1 and wine/2, and nothing deployed")
    chosen = parser.parse_args()
    # No other process may take the port while the server is dead.
    os.environ["MLOPS_DEPLOY_PORT"] = str(quiet_port())
    with contextlib.ExitStack() as stack:
        folder = chosen.project or stack.enter_context(wine_project())
        if chosen.disk_full:
            kept = disk_full(folder, chosen.seconds)
        else:
            kept = main(folder, chosen.kills, chosen.seconds)
    sys.exit(0 if kept else 1)
