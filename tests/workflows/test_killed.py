"""Killed at any point, a command leaves something that the next command understands."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from mlops.deployment.runtime_files import is_alive
from mlops.registry import open_registry
from mlops.registry.ledger import Ledger
from mlops.registry.refs import look_up_model
from tests.fixtures_deployment import Shop, open_shop
from tests.fixtures_training import TrainedWine
from tests.waiting import wait_until
from tests.workflows.dying import Dying

_SERVE = "mlops.deployment.local_revision:serve"
_LEDGER = "mlops.registry.ledger:Ledger"
_ALIAS = "mlflow:MlflowClient.set_registered_model_alias"
# From the first thing that is written to the last.
_DEPLOY_STEPS = [
    pytest.param(
        "mlflow:MlflowClient.create_run", "after", 1, False, "history", id="after the run"
    ),
    pytest.param(f"{_LEDGER}.begin", "after", 1, False, "deploy", id="after the intent"),
    pytest.param(_SERVE, "after", 1, True, "history", id="after serving"),
    pytest.param(f"{_LEDGER}._tag", "before", 1, True, "deploy", id="before the time"),
    pytest.param(_ALIAS, "before", 1, True, "history", id="before live"),
    pytest.param(f"{_LEDGER}._tag", "before", 2, True, "deploy", id="before the state"),
    pytest.param(f"{_LEDGER}.commit", "after", 1, True, "history", id="at the end"),
]
# Different models: champion moves on two of them, so there is a between.
_PROMOTE_STEPS = [
    pytest.param(f"{_LEDGER}.begin", "after", 1, False, id="after the intent"),
    pytest.param(_SERVE, "after", 1, True, id="after serving"),
    pytest.param(f"{_LEDGER}._move", "after", 1, True, id="between the aliases"),
    pytest.param(f"{_LEDGER}._move", "after", 2, True, id="after the aliases"),
    pytest.param(f"{_LEDGER}._tag", "before", 2, True, id="before the state"),
]


@pytest.fixture(scope="module")
def dying() -> Iterator[Dying]:
    killer = Dying()
    yield killer
    killer.close()


@pytest.fixture(scope="module")
def busy(trained_wine: TrainedWine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    """A running deployment of two different models, each its own champion or none."""
    opened = open_shop(trained_wine, tmp_path_factory.mktemp("busy") / "wine")
    client = open_registry(opened.settings)
    source = client.get_model_version("wine", "2").source
    client.create_registered_model("beer")
    client.create_model_version("beer", source=source)
    opened.ok("deploy", "--arm", "a=wine/1:50", "--arm", "b=beer/1:50")
    yield opened
    opened.close()


def champions(shop: Shop) -> dict[str, int]:
    client = open_registry(shop.settings)
    found = {name: look_up_model(client, name) for name in ("wine", "beer")}
    return {name: int(model.aliases.get("champion", 0)) for name, model in found.items() if model}


def assert_agreed(ledger: Ledger, shop: Shop) -> None:
    """Ledger and server tell the same, and nothing is left to do."""
    assert ledger.pending() == []
    entries = ledger.history()
    assert [entry.state for entry in entries].count("live") == 1
    live = ledger.live()
    assert live is not None
    assert is_alive(shop.where)
    served = shop.state.launch.served.revision
    assert (served.number, served.spec) == (live.number, live.intent.spec)
    arms = {shop.ask()[1] for _ in range(20)}
    assert arms <= {arm.name for arm in live.intent.spec.arms}


@pytest.mark.parametrize(("target", "when", "call", "taken", "then"), _DEPLOY_STEPS)
def test_an_update_killed(
    busy: Shop, dying: Dying, target: str, when: str, call: int, taken: bool, then: str
) -> None:
    before = busy.state
    # Weights that no other case has.
    share = 10 + len(busy.ledger.numbers())
    wanted = ("--arm", f"a=wine/1:{share}", "--arm", f"b=beer/1:{100 - share}")
    status = dying.run(busy.folder, "deploy", *wanted, target=target, when=when, call=call)
    assert status == -signal.SIGKILL
    # Whatever happened, callers are served by the same process.
    assert busy.ok("status", "--json").document["deployments"][0]["state"] == "running"
    assert busy.state.pid == before.pid
    if then == "history":
        entries = busy.ok("history", "--json").document["revisions"]
        assert "pending" not in {entry["state"] for entry in entries}
        assert_agreed(busy.ledger, busy)
        weight = busy.state.launch.served.revision.spec.arms[0].weight
        assert (weight == share / 100) is taken
    again = busy.ok("deploy", *wanted, "--json").document
    assert again["change"] == ("nothing" if taken else "update")
    assert_agreed(busy.ledger, busy)
    assert busy.state.launch.served.revision.spec.arms[0].weight == share / 100


@pytest.mark.parametrize(("target", "when", "call", "taken"), _PROMOTE_STEPS)
def test_a_promotion_killed(
    busy: Shop, dying: Dying, target: str, when: str, call: int, taken: bool
) -> None:
    busy.ok("deploy", "--arm", "a=wine/1", "--arm", "b=beer/1")
    client = open_registry(busy.settings)
    client.set_registered_model_alias("wine", "champion", "1")
    client.delete_registered_model_alias("beer", "champion")
    words = ("promote", "--arm", "b", "--force", "a test")
    status = dying.run(busy.folder, *words, target=target, when=when, call=call)
    assert status == -signal.SIGKILL
    # The second try does the rest, or all of it, and says the same.
    moved = busy.ok(*words, "--json").document
    assert (moved["changed"], moved["reason"]) == (True, "a test")
    assert {(a["model"], a["version"]) for a in moved["aliases"]} == {("beer", 1), ("wine", 0)}
    assert [arm["name"] for arm in moved["spec"]["arms"]] == ["b"]
    assert_agreed(busy.ledger, busy)
    assert champions(busy) == {"wine": 0, "beer": 1}
    failed = [e for e in busy.ledger.history() if e.state == "failed" and e.intent.reason]
    assert bool(failed and failed[0].number == moved["revision"] - 1) is not taken
    # And a rollback takes all of it back.
    back = busy.ok("rollback", "--json").document
    assert champions(busy) == {"wine": 1, "beer": 0}
    assert [arm["name"] for arm in back["spec"]["arms"]] == ["a", "b"]


def test_a_rollback_killed_is_not_done_twice(busy: Shop, dying: Dying) -> None:
    busy.ok("deploy", "--arm", "a=wine/1:70", "--arm", "b=beer/1:30")
    busy.ok("deploy", "--arm", "a=wine/1:80", "--arm", "b=beer/1:20")
    status = dying.run(busy.folder, "rollback", target=_SERVE, when="after")
    assert status == -signal.SIGKILL
    assert busy.ok("rollback", "--json").document["action"] == "rollback"
    assert busy.state.launch.served.revision.spec.arms[0].weight == 0.7
    assert_agreed(busy.ledger, busy)


def test_taken_and_then_the_machine_went_down(busy: Shop, dying: Dying) -> None:
    """The server took the revision and died before the ledger knew: it is finished all the same."""
    wanted = ("--arm", "a=wine/1:99", "--arm", "b=beer/1:1")
    dying.run(busy.folder, "deploy", *wanted, target=_SERVE, when="after")
    busy.kill()
    assert busy.ok("status", "--json").document["deployments"][0]["state"] == "crashed"
    entries = busy.ok("history", "--json").document["revisions"]
    assert entries[0]["state"] == "live"
    assert busy.ok("deploy", *wanted, "--json").document["change"] == "start"
    assert busy.state.launch.served.revision.number == busy.ledger.live_number()


def test_a_version_deleted_meanwhile_does_not_block(busy: Shop, dying: Dying) -> None:
    """An intent that cannot be carried out any more must not stand in the way for ever."""
    client = open_registry(busy.settings)
    source = client.get_model_version("wine", "2").source
    extra = client.create_model_version("beer", source=source).version
    busy.ok("deploy", "--arm", "a=wine/1", "--arm", f"c=beer/{extra}")
    words = ("promote", "--arm", "c", "--force", "x")
    dying.run(busy.folder, *words, target=_SERVE, when="after")
    client.delete_model_version("beer", extra)
    busy.ok("history")
    assert busy.ledger.pending() == []
    assert busy.ledger.live_number() == busy.state.launch.served.revision.number


@pytest.mark.parametrize("then", ["deploy", "stop"])
def test_a_first_start_killed(
    trained_wine: TrainedWine, dying: Dying, tmp_path: Path, then: str
) -> None:
    """The server goes on starting without its parent, and is found."""
    opened = open_shop(trained_wine, tmp_path / "wine")
    try:
        status = dying.run(
            opened.folder,
            "deploy",
            "--model",
            "wine/1",
            target="mlops.deployment.local:_start",
            when="after",
        )
        assert status == -signal.SIGKILL
        assert is_alive(opened.where)
        if then == "stop":
            wait_until(opened.where.state.exists)
            assert opened.ok("stop", "--json").document["stopped"] is True
            assert not is_alive(opened.where)
            assert opened.ok("deploy", "--model", "wine/1", "--json").document["change"] == "start"
        else:
            second = opened.ok("deploy", "--model", "wine/1", "--json").document
            assert (second["change"], second["revision"]) == ("nothing", 1)
        assert opened.ledger.numbers() == [1]
        assert opened.ledger.pending() == []
    finally:
        opened.close()


def test_killed_at_any_moment(busy: Shop) -> None:
    """The real command, at random moments."""
    environ = {k: v for k, v in os.environ.items() if not k.startswith(("MLFLOW_", "MLOPS_"))}
    for number, delay_s in enumerate((2.0, 2.6)):
        share = 2 + number
        wanted = ("--arm", f"a=wine/1:{share}", "--arm", f"b=beer/1:{100 - share}")
        process = subprocess.Popen(
            [sys.executable, "-m", "mlops", "deploy", *wanted],
            cwd=busy.folder,
            env=environ,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        time.sleep(delay_s)
        process.kill()
        process.wait()
        busy.ok("deploy", *wanted)
        assert_agreed(busy.ledger, busy)
        assert busy.state.launch.served.revision.spec.arms[0].weight == share / 100
