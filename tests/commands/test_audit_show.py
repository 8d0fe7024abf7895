"""`mlops audit show` says what changed, in words, and buries nothing that people did."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

from mlops.audit import Entry, Event, State, Trail
from mlops.audit.sources import SERVER
from mlops.commands.audit import _render
from mlops.commands.terminal import SafeConsole
from mlops.deployment.keeping import resets_of
from mlops.deployment.recording import record, trail_of
from mlops.registry import open_registry
from mlops.registry.ledger import LOCAL, Intent, Ledger
from mlops.settings import load_settings
from mlops.settings.actor import Actor
from mlops.spec.attribution import Attribution
from mlops.spec.deployment import Arm, DeploymentSpec
from mlops.spec.model import ModelVersion
from mlops.workflows.auditing import Shown, revision_changes, runs

ANN = Actor("ann", "box")
MONTH_S, WEEK_S = 30 * 86_400.0, 7 * 86_400.0


def shown(entries: list[Entry], **more: Any) -> list[str]:
    """Return the lines that a terminal shows of these entries."""
    out = io.StringIO()
    changes = revision_changes(entries)
    found = Shown(
        "wine", tuple(entries), len(entries), (), changes=changes, kept=resets_of(LOCAL), **more
    )
    _render(SafeConsole(file=out, width=200), found)
    return [line.strip() for line in out.getvalue().splitlines()]


def test_what_a_revision_declares_is_in_its_entry(ready_folder: Path) -> None:
    settings = load_settings(ready_folder, environ={})
    ledger = Ledger(open_registry(settings), settings, "wine")
    arm = Arm("a", ModelVersion("wine/1", "wine/1", "/models/1"), 1.0)
    spec = DeploymentSpec(
        "wine",
        (arm,),
        reward="cost",
        costs=(("0", "1", 200.0), ("1", "0", 5000.0)),
        sticky_by="field:customer_id",
        attribution=Attribution(MONTH_S),
    )
    shorter = DeploymentSpec("wine", (arm,), reward="exact", attribution=Attribution(WEEK_S))
    for number, each in enumerate((spec, shorter)):
        ledger.commit(ledger.begin(Intent("deploy", each), number), 1_700_000_000_000 + number)
    record(settings, "wine")
    entries = [e for e in trail_of(settings, "wine").entries() if e.id.startswith("revision/")]
    declared = entries[0].document["after"]["declared"]
    assert declared["costs"] == [["0", "1", 200], ["1", "0", 5000]]
    assert declared["attribution"]["window_s"] == MONTH_S
    assert (declared["reward"], declared["sticky_by"]) == ("cost", "field:customer_id")
    lines = shown(entries)
    second = next(number for number, line in enumerate(lines) if "revision 2" in line)
    assert set(lines[:second]) >= {
        "reward: cost",
        "sticky_by: field:customer_id",
        "feedback: window 30d",
        "costs: 0 as 1 200, 1 as 0 5000",
    }
    assert set(lines[second:]) >= {
        "reward: cost → exact",
        "sticky_by: field:customer_id → none",
        "feedback: window 30d → window 1w",
        "costs: 0 as 1 200, 1 as 0 5000 → none",
    }


def test_times_are_dates_and_what_is_empty_is_left_out(tmp_path: Path) -> None:
    trail = Trail(tmp_path / "wine.jsonl")
    key = {
        "created_ms": 1_796_013_892_849, "expires_ms": None, "id": "1e38", "name": "shop",
        "rate": "", "revoked_ms": None, "scopes": ["predict"],
    }  # fmt: skip
    trail.append([State("key", "API key shop", "api-key 1e38", key)], ANN)
    revoked = {**key, "revoked_ms": 1_796_013_900_000}
    trail.append([State("key", "API key shop", "api-key 1e38", revoked)], ANN)
    lines = shown(trail.entries())
    made = ["created: 2026-11-30T04:44:52Z", "id: 1e38", "name: shop", "scopes: predict"]
    assert lines[1:5] == made
    assert lines[6:] == ["revoked: none → 2026-11-30T04:45:00Z"]


def test_a_setting_that_left_the_file_is_not_called_null(tmp_path: Path) -> None:
    trail = Trail(tmp_path / "wine.jsonl")
    for value in ({"feedback.window": "30d", "cache.max_mb": 5, "report.alpha": 0.1}, {}):
        trail.append([State("configuration", "project file", "settings", value or None)], ANN)
        kept = {k: v for k, v in value.items() if k == "report.alpha"}
        trail.append([State("configuration", "project file", "settings", kept or None)], ANN)
    lines = shown(trail.entries())
    assert "cache.max_mb: 5 → not in the file any more" in lines
    kept_by = "a deploy keeps it, `--reset feedback-window` does not"
    assert f"feedback.window: 30d → not in the file any more; {kept_by}" in lines
    assert "report.alpha: 0.1 → not in the file any more" in lines
    assert not [line for line in lines if "null" in line]


def test_what_is_forgotten_is_counted(tmp_path: Path) -> None:
    trail = Trail(tmp_path / "wine.jsonl")
    begun = Event("forget, begun", "features of units", 0, {}, evidence={"units": 1})
    done = Event("forget", "features of units", 0, {}, after={"requests": 1_234})
    nobody = Event("forget", "features of units", 0, {}, after={"requests": 0})
    trail.append([begun, done, nobody], ANN)
    assert shown(trail.entries())[1::2] == ["units: 1", "requests: 1,234", "requests: 0"]


def test_policy_epochs_are_one_entry_unless_asked_for(tmp_path: Path) -> None:
    trail = Trail(tmp_path / "wine.jsonl", lambda: 100_000)
    shares = [[0.5 - n / 200, 0.5 + n / 200] for n in range(74)]
    epochs = [
        Event(
            "policy", f"revision 1, epoch {n}", n * 1_000, SERVER, f"epoch/1/{n}",
            before=shares[n - 1], after=shares[n],
        )
        for n in range(1, 74)
    ]  # fmt: skip
    people = {"user": "ann"}
    promoted = Event("promote", "revision 2", 80_000, people)
    trail.append([Event("deploy", "revision 1", 0, people), *epochs, promoted], ANN)
    entries = trail.entries()
    assert [len(run) for run in runs(entries)] == [1, 73, 1]
    lines = shown(entries, arms={1: ["old", "new"]})
    assert lines[2:4] == [
        "old 50 → 13.5 %, new 50 → 86.5 %",
        "and 72 more epochs, to 73 at 1970-01-01T00:01:13Z; `--action policy` shows each",
    ]
    assert "promote" in lines[4]
    assert len(shown(entries, arms={1: ["old", "new"]}, each_epoch=True)) == 2 + 2 * 73
