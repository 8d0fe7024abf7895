"""The consumers' process beside a server."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from mlops.serving import consumer_process
from mlops.serving.journal_limits import MAX_BYTES
from mlops.spec.server import Launch
from tests.serving.server import Server, make_launch, served
from tests.waiting import wait_until

_ROW = [{"fixed acidity": 7.4, "alcohol": 9.4, "sulphates": 0.56}]


def _children(pid: int) -> list[int]:
    """Processes of consumers that a server has started."""
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
                words = (folder / "cmdline").read_text()
            except OSError:
                continue
            if parent == pid and "mlops.consumers" in words:
                found.append(int(folder.name))
    return found


def test_it_is_watched_and_ends_with_the_server(
    models: dict[str, Path],
    tmp_path: Path,
    start: Callable[[Launch], Server],
    eager_consumers: None,
) -> None:
    server = start(replace(make_launch(tmp_path, served(models)), journal_max_mb=1))
    pid = server.process.pid
    assert server.predict(_ROW).status == 200

    def status() -> dict[str, Any]:
        found: dict[str, Any] = server.admin("GET", "/status").json
        return found

    wait_until(lambda: len(status()["consumers"]) == 5)
    (child,) = _children(pid)
    for _ in range(3):
        server.predict(_ROW)
    wait_until(lambda: all(each["lag_events"] == 0 for each in status()["consumers"]))
    told = {each["name"]: each for each in status()["consumers"]}
    assert told.keys() == {"drift", "journal-size", "policy", "quality", "ramp"}
    for each in told.values():
        assert (each["failed"], each["dropped"], each["fault"]) == (0, 0, None)
    labels = (("consumer", "journal-size"),)
    assert server.metrics()["mlops_consumer_sent_total", labels] == 0
    assert server.metrics()["mlops_consumer_lag_events", labels] >= 0
    # Ten times `max_mb` is as far as features go.
    large: list[dict[str, Any]] = [{**_ROW[0], "note": "x" * (MAX_BYTES - 1_000)}]
    assert [server.predict(large).status for _ in range(4)] == [200] * 4
    assert status()["features_left_out"] >= 1
    assert "ten times `[journal] max_mb`" in " ".join(status()["warnings"])
    # It dies, and is started again; no request fails.
    os.kill(child, signal.SIGKILL)
    assert server.predict(_ROW).status == 200
    wait_until(lambda: bool(_children(pid)) and _children(pid) != [child])
    (again,) = _children(pid)
    assert server.stop() == 0
    wait_until(lambda: not Path(f"/proc/{again}").exists())


def test_none_where_there_is_nothing_to_read(tmp_path: Path, models: dict[str, Path]) -> None:
    launch = make_launch(tmp_path, served(models))
    state = {"state_file": launch.state_file, "season": "none"}
    ours = {"policy": {}, "ramp": {}, "drift": state, "quality": state}
    assert consumer_process.consumers_of(launch) == ours
    launch = replace(launch, watch=())
    assert consumer_process.consumers_of(launch) == {"policy": {}, "ramp": {}}
    named = replace(launch, consumers=("mine",), journal_max_mb=5)
    assert consumer_process.consumers_of(named) == {
        "mine": {},
        "policy": {},
        "ramp": {},
        "journal-size": {"max_mb": 5},
    }
    assert consumer_process.consumers_of(replace(named, journal_url="none:")) == {}
