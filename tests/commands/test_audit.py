"""`mlops audit`: what commands change is in the trail, whatever ends them, and edits show."""

from __future__ import annotations

import io
import json
import os
import re
import resource
import signal
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from mlops.audit import Event, Trail
from mlops.commands.audit import _render
from mlops.commands.terminal import SafeConsole
from mlops.registry import open_registry
from mlops.settings.actor import Actor
from mlops.workflows.auditing import Shown, runs
from tests.commands.schemas import fits
from tests.fixtures_deployment import Shop, open_shop
from tests.fixtures_training import TrainedWine
from tests.waiting import wait_until
from tests.workflows.dying import Dying

_MODEL = "mlops.deployment.wine"


@pytest.fixture(scope="module")
def audited(trained_wine: TrainedWine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    """A deployment that was tested, promoted and taken back; tests put back what they damage."""
    opened = open_shop(trained_wine, tmp_path_factory.mktemp("audited") / "wine")
    opened.environ["CI_JOB_URL"] = "https://ci.example/job/7"
    try:
        opened.ok("deploy", "--ab", "modelA", "modelB")
        ids = [answered(opened) for _ in range(4)]
        opened.ok("journal", "void", "--request-id", ids[0], "--reason", "a test of ours")
        opened.ok("promote", "--arm", "modelB", "--force", "it is nicer")
        wait_until(lambda: forgotten(opened) > 0)
        opened.ok("rollback", "--reason", "it was not")
        yield opened
    finally:
        opened.close()


def forgotten(shop: Shop) -> int:
    words = ("journal", "prune", "--older-than", "0.0000001", "--json")
    return int(shop.ok(*words).document["requests"])


@pytest.fixture(scope="module")
def dying() -> Iterator[Dying]:
    killer = Dying()
    yield killer
    killer.close()


def entries(shop: Shop, *actions: str) -> list[dict[str, Any]]:
    words = [word for action in actions for word in ("--action", action)]
    document = shop.ok("audit", "show", "-n", "0", *words, "--json").document
    fits("audit-show", document)
    found: list[dict[str, Any]] = document["entries"]
    return found


def verified(shop: Shop, code: int = 0) -> dict[str, Any]:
    said = shop.run("audit", "verify", "--json")
    assert said.code == code, said
    fits("audit-verify", said.document)
    return said.document


def answered(shop: Shop) -> str:
    """Ask, and say what the truth was."""
    request_id, _ = shop.ask()
    shop.post("/feedback", {"request_id": request_id, "truth": 6.0})
    return request_id


def test_a_deployment_and_what_it_is_made_of(audited: Shop) -> None:
    deployed = entries(audited, "deploy")[0]
    assert deployed["by"].keys() == {"user", "host", "job"}
    assert deployed["by"]["job"] == "https://ci.example/job/7"
    assert deployed["before"] is None
    assert deployed["after"]["serves"] == "modelA (wine/1) 50 %, modelB (wine/2) 50 %"
    for arm in deployed["after"]["arms"]:
        assert re.fullmatch("sha256:[0-9a-f]{64}", arm["content"])
    states: dict[str, Any] = {}
    for entry in entries(audited, "configuration", "key"):
        states.setdefault(entry["id"], entry["after"])
    assert states["state/server"]["host"] == "127.0.0.1"
    assert states["state/settings"]["feedback.draws"] == 2000
    assert states["state/key"].keys() == {"fingerprint"}
    # The key itself is nowhere.
    assert audited.where.key.read_bytes().hex() not in json.dumps(states)
    checked = verified(audited)
    assert checked["anchored"] == checked["entries"] == len(entries(audited))
    assert "whole" in audited.ok("audit", "verify").out


def test_voiding_promoting_forgetting_and_going_back(audited: Shop) -> None:
    void = entries(audited, "void")[0]
    assert void["evidence"] == {"reason": "a test of ours"}
    assert void["after"] == {"outcomes": 1}
    (promoted,) = entries(audited, "promote")
    assert promoted["before"] == {"revision": 1}
    assert promoted["after"]["revision"] == 2
    assert promoted["evidence"]["reason"] == "it is nicer"
    assert promoted["evidence"]["verdict"]["verdict"]["decision"] == "continue"
    assert promoted["after"]["aliases"] == [
        {"model": "wine", "alias": "champion", "version": 2, "before": 0}
    ]
    begun, done = entries(audited, "forget, begun", "forget")[:2]
    assert begun["evidence"]["requests"] == done["after"]["requests"] > 0
    (back,) = entries(audited, "rollback")
    assert back["evidence"] == {"reason": "it was not"}
    said = audited.ok("audit", "show", "-n", "0").out
    assert "it was not" in said
    assert "modelB (wine/2) 100 %" in said
    # All of it is of one host.
    assert "clocks" not in said
    assert [entry["action"] for entry in entries(audited, "deploy", "start")][:2] == [
        "start", "deploy",
    ]  # fmt: skip


def test_a_setting_and_a_key_that_somebody_changed(audited: Shop) -> None:
    file = audited.folder / "mlops.toml"
    text = file.read_text()
    before = len(entries(audited))
    file.write_text(text.replace("draws = 2000", "draws = 50"))
    changed = entries(audited, "configuration")[-1]
    assert changed["before"]["feedback.draws"] == 2000
    assert changed["after"]["feedback.draws"] == 50
    # Looking again finds nothing new.
    assert len(entries(audited)) == before + 1
    file.write_text(text)
    key = audited.where.key.read_bytes()
    audited.where.key.write_bytes(bytes(32))
    assert entries(audited, "key")[-1]["before"] == entries(audited, "key")[0]["after"]
    audited.where.key.write_bytes(key)
    assert entries(audited, "key")[-1]["after"] == entries(audited, "key")[0]["after"]


def test_an_export_is_checked_by_itself(audited: Shop, tmp_path: Path) -> None:
    copy = tmp_path / "trail.jsonl"
    told = audited.ok("audit", "export", "--out", str(copy), "--json").document
    assert told["entries"] == copy.read_text().count("\n")
    said = audited.run("audit", "verify", "--file", str(copy), "--json")
    # Nothing but itself: whether its end is the end cannot be told.
    assert (said.code, said.document["result"]) == (11, "unknown")
    (note,) = said.document["notes"]
    assert "the chain is whole" in note
    # As it says.
    assert f"`mlops audit verify NAME --file {copy}`" in note
    # Settings that cannot be read matter only where MLflow is asked.
    project = audited.folder / "mlops.toml"
    settings = project.read_text()
    against = ("audit", "verify", "wine", "--file", str(copy), "--json")
    try:
        project.write_text("[")
        assert audited.run("audit", "verify", "--file", str(copy), "--json").code == 11
        assert audited.run(*against).code == 3
    finally:
        project.write_text(settings)
    assert audited.ok(*against).document["result"] == "whole"
    text = copy.read_text()
    copy.write_text("".join(text.splitlines(keepends=True)[:-2]))
    said = audited.run(*against)
    assert (said.code, "the last 2 were" in said.document["notes"][-1]) == (11, True)
    copy.write_text(text)
    assert audited.run("audit", "verify", "beer", "--file", str(copy)).code == 11
    copy.write_text(copy.read_text().replace("it is nicer", "it is slower"))
    said = audited.run("audit", "verify", "--file", str(copy), "--json")
    assert said.code == 10
    (fault,) = said.document["faults"]
    assert (fault["seq"], said.document["entries"]) == (fault["seq"], fault["seq"] - 1)
    assert audited.run("audit", "verify", "--file", str(tmp_path / "none")).code == 5
    assert audited.run(*against).code == 10
    assert audited.run("audit", "show", "beer").code == 5


# Where a command dies, and which entry must come from the next one.
_STEPS = [
    pytest.param(
        "deploy", "mlops.registry.ledger:Ledger.begin", "after", "deploy failed", id="intent"
    ),
    pytest.param("deploy", "mlops.deployment.local_revision:serve", "after", "deploy", id="served"),
    pytest.param("deploy", "mlops.audit.trail:Trail._write", "before", "deploy", id="unwritten"),
    pytest.param("deploy", "mlops.audit.trail:Trail._write", "after", "deploy", id="written"),
    pytest.param("deploy", "mlops.audit.heads:_value", "after", "deploy", id="untagged"),
    pytest.param("void", "mlops.journal.sql:SqlJournal.void", "after", "void", id="voided"),
    pytest.param(
        "prune", "mlops.journal.sql:SqlJournal.forget_features", "before", "forget, begun",
        id="announced",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "target", "when", "action"), _STEPS)
def test_a_command_that_is_killed_leaves_nothing_out(
    audited: Shop, dying: Dying, kind: str, target: str, when: str, action: str
) -> None:
    before = [entry["seq"] for entry in entries(audited, action)]
    words: tuple[str, ...]
    if kind == "deploy":
        share = 50 + len(entries(audited)) % 40
        words = ("deploy", "--ab", "modelA", "modelB", "--split", f"{share}/{100 - share}")
    elif kind == "void":
        words = ("journal", "void", "--request-id", answered(audited), "--reason", "killed")
    else:
        answered(audited)
        words = ("journal", "prune", "--older-than", "0.0000001")
    assert dying.run(audited.folder, *words, target=target, when=when) == -signal.SIGKILL
    # Half of a deployment is finished or given up by the next command that looks at it.
    audited.ok("history")
    after = [entry for entry in entries(audited, action) if entry["seq"] not in before]
    assert len(after) == 1
    checked = verified(audited)
    assert checked["anchored"] == checked["entries"]


def _damages(shop: Shop) -> dict[str, bytes]:
    data = (shop.folder / ".mlops" / "audit" / "wine.jsonl").read_bytes()
    lines = data.split(b"\n")
    return {
        "changed": data.replace(b"it is nicer", b"it is worse"),
        "cut": b"\n".join(lines[:-3]) + b"\n",
        "torn": data[:-1],
        "removed": b"\n".join(lines[:4] + lines[5:]),
        "empty": b"",
    }


@pytest.mark.parametrize("kind", ["changed", "cut", "torn", "removed", "empty"])
def test_damage_is_found_and_not_covered_up(audited: Shop, kind: str) -> None:
    """Also after the next command, which must not move MLflow's tag on to what it finds."""
    path = audited.folder / ".mlops" / "audit" / "wine.jsonl"
    whole = path.read_bytes()
    tags = audited.ledger.tags("mlops.audit.")
    path.write_bytes(_damages(audited)[kind])
    try:
        found = verified(audited, 10)
        assert found["faults"][0]["message"]
        audited.ok("history")
        audited.run("audit", "show")
        again = verified(audited, 10)
        assert again["faults"][0]["message"]
        assert set(tags) <= set(audited.ledger.tags("mlops.audit."))
        assert "damaged" in audited.run("audit", "verify").out
    finally:
        client = open_registry(audited.settings)
        for number, key, _ in set(audited.ledger.tags("mlops.audit.")) - set(tags):
            if number:
                client.delete_model_version_tag(_MODEL, str(number), key)
            else:
                client.delete_registered_model_tag(_MODEL, key)
        path.write_bytes(whole)
    verified(audited)


def test_a_revision_changed_in_the_ledger_is_found(audited: Shop) -> None:
    client = open_registry(audited.settings)
    source = str(client.get_model_version(_MODEL, "1").source).removeprefix("file://")
    file = Path(source) / "revision.json"
    text = file.read_text()
    document = json.loads(text)
    document["spec"]["arms"][0]["weight"] = 0.4
    document["spec"]["arms"][1]["weight"] = 0.6
    file.write_text(json.dumps(document))
    try:
        (fault,) = verified(audited, 10)["faults"]
        assert fault["message"] == "revision 1 was changed in the ledger since"
    finally:
        file.write_text(text)


def test_a_trail_that_cannot_be_written_is_shown(audited: Shop) -> None:
    before = verified(audited)["entries"]
    text = (audited.folder / "mlops.toml").read_text()
    (audited.folder / "mlops.toml").write_text(text.replace("seed = 7", "seed = 8"))

    def write_nothing() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))

    try:
        said = subprocess.run(
            [sys.executable, "-m", "mlops", "audit", "show", "-n", "0", "--json"],
            cwd=audited.folder,
            env={**os.environ, **audited.environ},
            capture_output=True,
            check=False,
            preexec_fn=write_nothing,
        )
    finally:
        (audited.folder / "mlops.toml").write_text(text)
    document = json.loads(said.stdout)
    assert (said.returncode, document["total"]) == (0, before)
    assert any("cannot be written" in fault for fault in document["faults"])
    assert b"may be missing" in said.stderr


@pytest.mark.parametrize("before", ["so\n", "a few words and " * 4])
def test_what_somebody_wrote_does_not_look_like_an_entry(tmp_path: Path, before: str) -> None:
    trail = Trail(tmp_path / "wine.jsonl")
    forged = f"{before}    2  2026-11-29T05:00:00Z  promote  revision 9  ann@box"
    by, why = {"user": "eve", "job": forged}, {"reason": forged + "x" * 2_000}
    trail.append([Event("void", "1 outcomes", 0, by, evidence=why)], Actor("eve", "box"))
    out = io.StringIO()
    shown = Shown("wine", tuple(trail.entries()), 1, ())
    _render(SafeConsole(file=out, width=80), shown)
    lines = out.getvalue().splitlines()
    assert len(lines) < 20
    assert [line for line in lines if not line.startswith(" " * 7)] == lines[:1]


def test_a_shift_of_many_features_hides_nothing_that_people_did(tmp_path: Path) -> None:
    trail = Trail(tmp_path / "wine.jsonl")
    of_drift = [
        Event("alarm", f"{number} drifts", 0, {}, evidence={"revision": 3, "consumer": "drift"})
        for number in range(30)
    ]
    other = Event("alarm", "rmse", 0, {}, evidence={"revision": 3, "consumer": "quality"})
    trail.append([Event("rollback", "revision 3", 0, {}), *of_drift, other], Actor("ann", "box"))
    found = runs(trail.entries())
    assert [len(each) for each in found] == [1, 30, 1]
    out = io.StringIO()
    _render(SafeConsole(file=out, width=80), Shown("wine", tuple(trail.entries()), 32, ()))
    assert "and 29 more alarms" in out.getvalue()
    assert len(out.getvalue().splitlines()) == 4


def test_entries_are_shown_in_the_order_of_what_happened(tmp_path: Path) -> None:
    trail = Trail(tmp_path / "wine.jsonl", lambda: 90_000)
    trail.append([Event("deploy", "revision 1", 0, {})], Actor("ann", "box"))
    trail.append([Event("promote", "revision 2", 50_000, {})], Actor("ann", "box"))
    seen = [Event("alarm", "rmse", 40_000, {}), Event("stop", "", 60_000, {})]
    trail.append(seen, Actor("ann", "box"))
    out = io.StringIO()
    _render(SafeConsole(file=out, width=80), Shown("wine", tuple(trail.entries()), 4, ()))
    lines = [line.split() for line in out.getvalue().splitlines()]
    assert [line[0] for line in lines] == ["1", "3", "recorded", "2", "4", "in"]
    assert lines[2] == ["recorded", "later,", "1970-01-01T00:01:30Z"]


def test_what_one_command_records_is_by_one_clock(tmp_path: Path) -> None:
    """A server starts a moment before its revision is live, and both are recorded then."""
    trail = Trail(tmp_path / "wine.jsonl", lambda: 90_000)
    events = [Event("deploy", "revision 1", 89_900, {}), Event("start", "server", 88_000, {})]
    trail.append(events, Actor("ann", "box"))
    # Nor is what the next command finds a few seconds later.
    trail = Trail(tmp_path / "wine.jsonl", lambda: 95_000)
    trail.append([Event("alarm", "rmse", 89_000, {})], Actor("ann", "box"))
    out = io.StringIO()
    _render(SafeConsole(file=out, width=80), Shown("wine", tuple(trail.entries()), 3, ()))
    assert [line.split()[0] for line in out.getvalue().splitlines()] == ["2", "3", "1", "in"]


def test_a_host_with_a_fast_clock_makes_no_entry_late(tmp_path: Path) -> None:
    for now_ms in (300_000, 60_000):
        trail = Trail(tmp_path / "wine.jsonl", partial(int, now_ms))
        trail.append([Event("deploy", "revision", now_ms - 500, {})], Actor("ann", "box"))
    out = io.StringIO()
    _render(SafeConsole(file=out, width=80), Shown("wine", tuple(trail.entries()), 2, ()))
    lines = [line.split() for line in out.getvalue().splitlines()]
    assert [line[0] for line in lines] == ["2", "recorded", "1", "in"]
    assert lines[1][-3:] == ["of", "hosts", "differ"]


def test_without_mlflow_it_cannot_be_told(audited: Shop) -> None:
    audited.environ["MLFLOW_TRACKING_URI"] = "http://127.0.0.1:1"
    audited.environ["MLFLOW_HTTP_REQUEST_MAX_RETRIES"] = "0"
    try:
        found = verified(audited, 11)
        assert (found["result"], found["anchored"]) == ("unknown", 0)
        assert "could not be compared with MLflow" in found["notes"][0]
        # What happens meanwhile is written down, and tagged by a later command.
        before = found["entries"]
        said = audited.ok("journal", "void", "--request-id", answered(audited), "--reason", "away")
        assert verified(audited, 11)["entries"] == before + 1, said
    finally:
        del (
            audited.environ["MLFLOW_TRACKING_URI"],
            audited.environ["MLFLOW_HTTP_REQUEST_MAX_RETRIES"],
        )
    assert verified(audited)["anchored"] == before
    entries(audited)
    assert verified(audited)["anchored"] == before + 1
