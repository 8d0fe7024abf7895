from __future__ import annotations

import contextlib
import csv
import hashlib
import json
import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
import yaml

from mlops.deployment.local import running, stay
from mlops.deployment.runtime_files import is_alive
from mlops.runtimes.load import load_model
from mlops.workflows import batch as work
from tests.commands.schemas import fits
from tests.fixtures_deployment import Shop
from tests.waiting import wait_until


def fingerprint(folder: Path) -> dict[str, str]:
    """Every file below `folder`, with a digest of its content.

    But for a journal and its files beside it: the server's consumers note in it how far they are.
    """
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.parent.name != "journal"
    }


def test_the_life_of_a_deployment(wine_shop: Shop) -> None:
    said = wine_shop.ok("deploy", "--ab", "modelA", "modelB")
    assert "wine will be created" in said.err
    assert "+ modelA  wine/1  50 %" in said.err
    assert "modelA is wine/1: alias of wine" in said.err
    assert said.out.startswith(f"wine revision 1 at {wine_shop.state.url}\n")
    assert "mlops feedback\n" in said.out + said.err
    pid = wine_shop.state.pid

    # Twice is once.
    again = wine_shop.ok("deploy", "--ab", "modelA", "modelB", "--json")
    assert again.document["change"] == "nothing"
    assert again.document["revision"] == 1
    assert "nothing to change" in again.err
    assert wine_shop.ledger.numbers() == [1]

    # Files for a Prometheus and a Grafana of this machine.
    watched = wine_shop.ok("deploy", "--ab", "modelA", "modelB", "--with", "monitoring", "--json")
    paths = [wine_shop.folder / path for path in watched.document["monitoring"]]
    assert {path.name for path in paths} == {"prometheus.yml", "rules.yml", "dashboard.json"}
    (job,) = yaml.safe_load((paths[0].parent / "prometheus.yml").read_text())["scrape_configs"]
    assert job["static_configs"] == [{"targets": [wine_shop.state.url.removeprefix("http://")]}]
    wine_shop.ok("deploy", "--ab", "modelA", "modelB", "--with", "monitoring")
    typo = wine_shop.run("deploy", "--model", "wine", "--with", "monitorin", "--json")
    assert (typo.code, typo.error["hint"]) == (2, "Did you mean `monitoring`?")
    paths[0].write_text("by hand")
    kept = wine_shop.run("deploy", "--ab", "modelA", "modelB", "--with", "monitoring", "--json")
    assert kept.code == 7
    assert paths[0].read_text() == "by hand"

    # It does not stay for a server that runs elsewhere, and says so.
    stays = wine_shop.ok("deploy", "--ab", "modelA", "modelB", "--foreground")
    assert f"runs in the background already (process {pid})" in stays.err

    # A dry run shows what would be, and leaves no trace.
    before = fingerprint(wine_shop.folder)
    dry = wine_shop.ok("deploy", "--ab", "modelA", "modelB", "--split", "80/20", "--dry-run")
    assert "wine will be updated" in dry.err
    assert "~ modelA  wine/1  80 %  (was 50 %)" in dry.err
    plan = wine_shop.ok("deploy", "--model", "wine/2", "--dry-run", "--json").document["plan"]
    assert plan["kind"] == "update"
    assert fingerprint(wine_shop.folder) == before
    assert wine_shop.ledger.numbers() == [1]

    # Weights change in the same process, which loads nothing.
    loads = wine_shop.where.log.read_text().count("loading")
    changed = wine_shop.ok("deploy", "--ab", "modelA", "modelB", "--split", "80/20", "--json")
    assert changed.document["change"] == "update"
    assert [arm["weight"] for arm in changed.document["arms"]] == [0.8, 0.2]
    assert wine_shop.state.pid == pid
    assert wine_shop.state.launch.served.revision.number == 2
    assert wine_shop.where.log.read_text().count("loading") >= loads

    # A model that cannot be served leaves what runs, and the ledger says why.
    broken = wine_shop.folder / "broken"
    source = Path(wine_shop.state.launch.served.paths[0])
    shutil.copytree(source, broken)
    (broken / "model.pkl").unlink(missing_ok=True)
    for file in broken.glob("*.skops"):
        file.unlink()
    failed = wine_shop.run("deploy", "--model", "./broken", "--json")
    assert failed.code == 3
    assert failed.error["code"] == "invalid"
    assert wine_shop.state.launch.served.revision.number == 2
    assert wine_shop.ask()[1] in ("modelA", "modelB")
    entry = wine_shop.ledger.entry(3)
    assert entry.state == "failed"
    assert entry.error == failed.error["message"]

    # Its address stays while it runs.
    moved = wine_shop.run("deploy", "--ab", "modelA", "modelB", "--port", "9", "--json")
    assert moved.code == 7
    assert "mlops stop wine" in moved.error["hint"]

    # Stopped, it comes back at the same address with what was live.
    url = wine_shop.state.url
    assert wine_shop.ok("stop", "--json").document["stopped"] is True
    assert wine_shop.ok("stop", "--json").document["stopped"] is False
    start = wine_shop.ok("deploy", "--ab", "modelA", "modelB", "--split", "80/20", "--json")
    assert start.document["change"] == "start"
    assert start.document["revision"] == 2
    assert start.document["url"] == url


def test_a_dry_run_before_anything_was_deployed(wine_shop: Shop) -> None:
    before = fingerprint(wine_shop.folder)
    assert "will be created" in wine_shop.ok("deploy", "--model", "wine", "--dry-run").err
    assert fingerprint(wine_shop.folder) == before
    assert wine_shop.run("status", "wine").code == 5


def test_a_first_model_that_fails(wine_shop: Shop, free_port: int) -> None:
    (wine_shop.folder / "empty").mkdir()
    missing = wine_shop.run("deploy", "--model", "./empty", "--json")
    assert missing.code == 5
    (wine_shop.folder / "empty" / "MLmodel").write_text("flavors: {}\n")
    said = wine_shop.run("deploy", "--model", "./empty", "--port", str(free_port), "--json")
    assert said.code == 3, said.error
    assert "Its last words:" in said.error["message"]
    assert "ERROR" in said.error["message"]
    assert [entry.state for entry in wine_shop.ledger.history()] == ["failed"]
    assert running(wine_shop.where) is None
    # What it said stands below its entry, line by line, and not among the entries.
    _, first, *others = wine_shop.ok("history", "wine").out.splitlines()
    assert "failed" in first
    assert len(others) > 3
    assert all(line.startswith("      ") for line in others if line.strip())
    # The next attempt says nothing of this one.
    with socket.create_server(("127.0.0.1", free_port)):
        taken = wine_shop.run("deploy", "--model", "wine", "--port", str(free_port), "--json")
    assert taken.code == 7
    assert taken.error["code"] == "conflict"
    assert f"Port {free_port} on 127.0.0.1" in taken.error["message"]
    assert "taken by another program" in taken.error["message"]
    assert "--port" in taken.error["hint"]
    assert "empty" not in taken.error["message"]
    # Nothing was written down: it was known before.
    assert [entry.state for entry in wine_shop.ledger.history()] == ["failed"]


def test_sticky_by_and_a_name_of_its_own(wine_shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """A unit has one arm: in serving, after the weights have changed, and in files."""
    named = Shop(wine_shop.folder, "tasting")
    words = (
        *("deploy", "--ab", "modelA", "modelB", "--name", "tasting"),
        *("--sticky-by", "field:alcohol", "--reward", "absolute-error"),
    )
    said = named.ok(*words, "--json")
    assert said.document["name"] == "tasting"
    assert "VALUE" not in said.document["curl"]
    # Beside the project's own deployment a bare `mlops feedback` would mean that one.
    again = named.ok(*words)
    for step in ("mlops feedback tasting", "mlops report tasting", "mlops stop tasting"):
        assert step in again.out + again.err
    number = named.state.launch.served.revision.number
    spec = named.state.launch.served.revision.spec
    assert (spec.sticky_by, spec.reward) == ("field:alcohol", "absolute-error")
    request = named.state.request
    assert request is not None
    names, row = request["dataframe_split"]["columns"], request["dataframe_split"]["data"][0]

    def arm(unit: int) -> str:
        cells = [unit if name == "alcohol" else cell for name, cell in zip(names, row, strict=True)]
        body = {"dataframe_split": {"columns": names, "data": [cells]}}
        return named.post("/invocations", body)[1]["x-mlops-arm"]

    arms = {unit: arm(unit) for unit in [*range(40), *range(4)]}
    assert set(arms.values()) == {"modelA", "modelB"}
    assert {unit: arm(unit) for unit in range(4)} == {unit: arms[unit] for unit in range(4)}

    def score(out: str) -> tuple[list[dict[str, Any]], int]:
        words = ("batch", "tasting", "--data", "units.csv", "--chunk-rows", "30", "--out", out)
        said = named.ok(*words, "--keep", "alcohol", "--format", "jsonl", "--json")
        fits("batch", said.document)
        parts = sorted((named.folder / out).glob("part-*"))
        lines = [json.loads(line) for part in parts for line in part.read_text().splitlines()]
        return lines, said.document["kept"]

    with (named.folder / "units.csv").open("w", newline="") as file:
        csv.writer(file).writerows(
            [names, *([unit if name == "alcohol" else 1.5 for name in names] for unit in range(90))]
        )

    def load_late(*words: Any, **options: Any) -> Any:
        monkeypatch.setattr(work, "load_model", load_model)
        named.ok("deploy", "--name", "tasting", "--split", "99/1")
        return load_model(*words, **options)

    # Another revision, while the models of the one that is scored are loaded.
    monkeypatch.setattr(work, "load_model", load_late)
    lines, kept = score("before")
    assert named.state.launch.served.revision.number > number
    assert (kept, {line["propensity"] for line in lines}) == (0, {0.5})
    lines, kept = score("scored")
    assert kept == 40
    assert {line["alcohol"]: line["arm"] for line in lines[:40]} == arms
    assert [(line["unit_kept"], line["propensity"]) for line in lines[:40]] == [(True, 0.5)] * 40
    assert not any(line["unit_kept"] for line in lines[40:])
    assert {line["propensity"] for line in lines[40:]} <= {0.99, 0.01}
    assert [line["arm"] for line in lines] == [arm(unit) for unit in range(90)]
    # What a job began with is part of it, whatever the journal has by then.
    (named.folder / "scored" / "part-00000-0000000.jsonl").unlink()
    at = named.folder / ".mlops" / "journal" / "tasting.db"
    with contextlib.closing(sqlite3.connect(at, timeout=60)) as journal, journal:
        journal.execute("delete from decisions")
    assert score("scored") == (lines, 30)
    assert score("later")[1] == 0
    (named.folder / "scored" / "_units.npz").write_bytes(b"")
    damaged = named.run("batch", "tasting", "--data", "units.csv", "--out", "scored", "--json")
    assert (damaged.code, "_units.npz" in damaged.error["message"]) == (7, True)


@pytest.mark.cold
def test_in_the_foreground(wine_shop: Shop, free_port: int) -> None:
    environ = {k: v for k, v in os.environ.items() if not k.startswith(("MLFLOW_", "MLOPS_"))}
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "mlops", "deploy", "--model", "wine/1"),
            *("--foreground", "--port", str(free_port)),
        ],
        cwd=wine_shop.folder,
        env=environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        wait_until(lambda: running(wine_shop.where) is not None, 180)
        wait_until(lambda: wine_shop.ledger.live_number() == 1)
        assert wine_shop.run("logs").code == 5
        # As a supervisor would: only us, not the whole process group.
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=180)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 130, err
    assert f"wine revision 1 at http://127.0.0.1:{free_port}" in out
    # What the server logs came to this terminal.
    assert "serving wine at" in err
    assert not is_alive(wine_shop.where)
    assert wine_shop.state.stopped_ms is not None


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signals_are_passed_on(number: signal.Signals) -> None:
    code = (
        "import signal, sys, time\n"
        f"signal.signal({number}, lambda *_: sys.exit(5))\n"
        "print('ready', flush=True)\n"
        "time.sleep(180)\n"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        child.stdout.readline()
        handler = signal.getsignal(number)

        def kill_once_handled() -> None:
            wait_until(lambda: signal.getsignal(number) is not handler)
            os.kill(os.getpid(), number)

        threading.Thread(target=kill_once_handled).start()
        if number is signal.SIGINT:
            with pytest.raises(KeyboardInterrupt):
                stay(child)
        else:
            assert stay(child) == 5
    assert child.returncode == 5
    assert signal.getsignal(number) is handler
