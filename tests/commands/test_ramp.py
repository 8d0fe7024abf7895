"""`mlops ramp` and `mlops promote --auto`, against a server."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest

from mlops.deployment.local_revision import apply, prepare
from mlops.deployment.runtime_files import is_alive, places
from mlops.errors import ConflictError
from mlops.registry import open_registry
from mlops.registry.ledger import Intent
from tests.commands.schemas import fits
from tests.fixtures_deployment import Shop, open_shop
from tests.fixtures_training import TrainedWine
from tests.waiting import wait_until

_CANARY = ("deploy", "--model", "wine/1", "--canary", "wine/2=50")
_PLAN = ("--reward", "given", "--reward-range", "0..1", "--guardrail", "reward=0.4")
_RAMP = (*_CANARY, "--ramp", "50,60,100", "--every", "1s", *_PLAN)
# A bound, for machines that are busy.
_AUTO_S = 600.0

#: The first of them starts the server.
pytestmark = pytest.mark.usefixtures("eager_consumers")


@pytest.fixture(scope="module")
def market(trained_wine: TrainedWine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    """A project whose deployment each test sets up."""
    opened = open_shop(trained_wine, tmp_path_factory.mktemp("market") / "wine")
    yield opened
    opened.close()


def reward(shop: Shop, requests: Iterator[tuple[str, str]], of_canary: float) -> None:
    for number, (request_id, arm) in enumerate(requests):
        mean = of_canary if arm == "wine-2" else 0.8
        told = {"request_id": request_id, "reward": mean + (number % 7) / 50}
        shop.post("/feedback", told)


def verdict(shop: Shop) -> dict[str, Any]:
    with urllib.request.urlopen(f"{shop.state.url}/verdict.json", timeout=60) as answer:
        found: dict[str, Any] = json.loads(answer.read())
    return found


def weights(shop: Shop) -> list[float]:
    live = shop.ledger.live()
    assert live is not None
    return [arm.weight for arm in live.intent.spec.arms]


def test_a_good_canary_gets_everything(market: Shop) -> None:
    plan = market.ok(*_RAMP, "--dry-run", "--json").document
    assert plan["plan"]["after"]["ramp"]["steps"] == [50.0, 60.0, 100.0]
    assert "ramp 50, 60, 100 % every 1s if not worse" in market.ok(*_RAMP).out
    said = market.run("ramp", "--json")
    assert (said.code, said.document["outcome"]) == (11, "waiting")
    fits("ramp", said.document)
    assert market.ok("ramp", "--exit-zero").out.startswith("wine waiting")
    reward(market, market.ask_evenly(200), of_canary=0.8)
    # A step takes a second at least.
    wait_until(lambda: "cannot end before" not in market.run("ramp", "--dry-run", "--json").out)
    dry = market.run("ramp", "--dry-run", "--json")
    assert (dry.code, dry.document["moved"]["changed"]) == (0, False)
    assert weights(market) == [0.5, 0.5]
    assert verdict(market)["result"] == 1
    said = market.run("ramp", "--json")
    assert (said.code, said.document["outcome"]) == (0, "moved"), said.out
    fits("ramp", said.document)
    assert weights(market) == pytest.approx([0.4, 0.6])
    # The next step has no requests yet, whatever time it is.
    wait_until(lambda: "of the 30 requests" in market.run("ramp", "--json").document["reason"])
    reward(market, market.ask_evenly(90, (0.4, 0.6)), of_canary=0.8)
    wait_until(lambda: market.run("ramp", "--dry-run", "--json").code == 16)
    said = market.run("ramp", "--json")
    assert (said.code, said.document["outcome"]) == (16, "finished"), said.out
    assert said.document["moved"]["aliases"][0]["version"] == 2
    assert weights(market) == [1.0]
    aliases = open_registry(market.settings).get_registered_model("wine").aliases
    assert int(aliases["champion"]) == 2
    over = verdict(market)
    assert (over["result"], over["ramp"], over["finished"]["arm"]) == (1, None, "wine-2")
    # Asked again, it says the same, and nothing moves.
    again = market.run("ramp", "--json")
    assert (again.code, again.document["look"]) == (16, None)
    fits("ramp", again.document)
    newest, moved, _ = market.ok("history", "--json").document["revisions"][:3]
    assert (newest["intent"]["action"], moved["intent"]["action"]) == ("promote", "ramp")
    assert "50 % to 60 %" in moved["intent"]["reason"]
    look = newest["intent"]["evidence"]["ramp"]
    assert look["decision"] == "finish"
    assert look["guardrails"][0]["state"] == "passes"
    # Its ramp would take the canary there again.
    back = market.ok("rollback", "--to", "1", "--json").document
    assert (back["reason"], back["spec"]["ramp"]) == ("back to revision 1 without its ramp", None)


def test_a_bad_canary_is_taken_back_by_the_deployment_itself(market: Shop) -> None:
    market.ok(*_RAMP, "--auto", "--every", "1h")
    reward(market, market.ask_evenly(120), of_canary=0.0)
    wait_until(lambda: weights(market) == [1.0], _AUTO_S)
    live = market.ledger.live()
    assert live is not None
    assert (live.intent.action, live.intent.spec.arms[0].name) == ("rollback", "wine-1")
    assert live.intent.evidence is not None
    assert live.intent.evidence["ramp"]["evidence"] >= 20
    said = market.run("ramp")
    assert said.code == 10
    assert "wine rolled back" in said.out
    assert "Guardrail `reward`" in said.out
    # In the trail, too, with the numbers.
    entries = market.ok("audit", "show", "--json").document["entries"]
    rolled = [each for each in entries if each["action"] == "rollback"][-1]
    assert "20 is enough" in json.dumps(rolled["evidence"])


def test_auto_promotes_the_verdict_and_nothing_else(market: Shop) -> None:
    market.ok("deploy", "--ab", "wine/1", "wine/2", "--reward", "given", "--reset", "ramp",
              "--reset", "guardrail", "--reward-range", "0..2")  # fmt: skip
    revision = market.ledger.live_number()
    said = market.run("promote", "--auto", "--json")
    assert (said.code, said.document["decision"], said.document["changed"]) == (
        11, "continue", False,
    )  # fmt: skip
    assert "stays as it is: continue" in market.run("promote", "--auto").out
    assert market.ledger.live_number() == revision
    assert market.run("promote", "--auto", "--arm", "wine-2").code == 2
    assert verdict(market) == verdict(market) | {"result": 0, "decision": "continue", "ramp": None}
    assert market.run("ramp", "--json").code == 7
    reward(market, market.ask_evenly(200), of_canary=1.6)
    moved = market.ok("promote", "--auto", "--json").document
    assert (moved["changed"], moved["revision"]) == (True, revision + 1)
    assert market.run("promote", "--auto").code == 16


def test_what_a_person_does_ends_a_ramp(market: Shop) -> None:
    market.ok(*_RAMP)
    market.ok("promote", "--arm", "wine-2", "--force", "it is fine")
    said = market.run("ramp", "--json")
    assert (said.code, said.document["outcome"], said.document["reason"]) == (
        16, "finished", "it is fine",
    )  # fmt: skip
    market.ok(*_RAMP)
    market.ok("stop")
    said = market.run("ramp", "--json")
    assert (said.code, said.document["look"], weights(market)) == (11, None, [0.5, 0.5])
    fits("ramp", said.document)
    assert "does not run" in said.document["reason"]
    where = places(market.settings, "wine")
    assert not is_alive(where)
    # Also where it was stopped after the look.
    live = market.ledger.live()
    assert live is not None
    move = Intent("ramp", live.intent.spec.with_share(0.6), "", {"ramp": {}})
    prepared = prepare(market.settings, move.spec)
    with pytest.raises(ConflictError, match="stopped in the meantime"):
        apply(market.settings, prepared, move)
    assert not is_alive(where)
    assert market.ledger.pending() == []


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--ramp", "5,25"), "goes with `--canary"),
        (("--canary", "wine/2=5", "--ramp", "25,5"), "is not a ramp"),
        (("--canary", "wine/2=5", "--ramp", "10,50"), "begins with 10 %"),
        (("--canary", "wine/2=5", "--ramp", "5,50", "--advance", "fast"), "--advance"),
        (("--canary", "wine/2=5", "--auto"), "go with `--ramp"),
        (("--canary", "wine/2=5", "--ramp", "5,50", "--policy", "thompson"), "moves the weights"),
        (("--canary", "wine/2=5", "--ramp", "5,50", "--auto", "--target", "kubernetes"), "--auto"),
    ],
)
def test_a_wrong_ramp_is_said(market: Shop, words: tuple[str, ...], said: str) -> None:
    refused = market.run("deploy", "--model", "wine/1", *words, "--name", "other", "--json")
    assert refused.code in (2, 3), refused
    assert said in refused.error["message"]
    assert ("`--policy weighted`" in refused.error["message"]) == (said == "moves the weights")
