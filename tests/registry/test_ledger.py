from __future__ import annotations

import threading
from pathlib import Path

import pytest

from mlops.errors import ConflictError, NotFoundError
from mlops.registry import open_registry
from mlops.registry.ledger import AliasMove, Intent, Ledger
from mlops.registry.models import list_versions
from mlops.settings import load_settings
from mlops.spec.deployment import Arm, DeploymentSpec
from mlops.spec.model import ModelVersion


def spec(weight: float = 0.5) -> DeploymentSpec:
    models = [ModelVersion(f"wine/{n}", f"wine/{n}", f"/models/{n}", "wine", n) for n in (1, 2)]
    return DeploymentSpec("wine", (Arm("a", models[0], weight), Arm("b", models[1], 1 - weight)))


def deploy(weight: float = 0.5, *moves: AliasMove) -> Intent:
    return Intent("deploy", spec(weight), reason="a test", evidence={"n": 3}, aliases=moves)


@pytest.fixture
def ledger(ready_folder: Path) -> Ledger:
    settings = load_settings(ready_folder, environ={})
    return Ledger(open_registry(settings), settings, "wine")


def states(ledger: Ledger) -> list[tuple[int, str]]:
    return [(entry.number, entry.state) for entry in ledger.history()]


def test_empty(ledger: Ledger) -> None:
    assert (ledger.numbers(), ledger.live_number(), ledger.history()) == ([], 0, [])
    assert (ledger.live(), ledger.pending()) == (None, [])
    with pytest.raises(NotFoundError):
        ledger.entry(1)


def test_the_life_of_a_revision(ledger: Ledger) -> None:
    assert ledger.begin(deploy(), 0) == 1
    (entry,) = ledger.pending()
    assert (entry.number, entry.state, entry.live_ms, entry.error) == (1, "pending", 0, "")
    # What comes back is what was written.
    assert entry.intent == deploy()
    assert "@" in entry.author
    assert entry.place == ledger.place
    assert ledger.live_number() == 0

    ledger.commit(1, 5_000)
    ledger.commit(1, 6_000)
    live = ledger.live()
    assert live is not None
    assert (live.number, live.state, live.live_ms) == (1, "live", 5_000)
    assert ledger.pending() == []

    assert ledger.begin(deploy(0.9), 1) == 2
    ledger.abandon(2, "a model failed")
    ledger.abandon(2, "a model failed")
    assert ledger.begin(deploy(0.8), 2) == 3
    ledger.commit(3, 7_000)
    assert states(ledger) == [(3, "live"), (2, "failed"), (1, "replaced")]
    assert ledger.entry(2).error == "a model failed"
    assert ledger.entry(2).live_ms == 0


def test_the_second_of_two_is_told_the_difference(ledger: Ledger) -> None:
    """Both saw the same newest revision; numbers are given atomically, so one sees the other."""
    ledger.begin(deploy(0.9), 0)
    with pytest.raises(ConflictError) as caught:
        ledger.begin(deploy(0.2), 0)
    assert "revision 1 by " in caught.value.message
    assert "a (wine/1) 90 %, b (wine/2) 10 %" in caught.value.message
    assert "yours was to be a (wine/1) 20 %, b (wine/2) 80 %" in caught.value.message
    assert states(ledger) == [(2, "failed"), (1, "pending")]
    # The first is not forgotten behind the second.
    assert [entry.number for entry in ledger.pending()] == [1]


def test_numbers_are_given_once(ledger: Ledger) -> None:
    ledger.begin(deploy(), 0)
    given: list[int] = []
    refused: list[ConflictError] = []

    def begin() -> None:
        try:
            given.append(ledger.begin(deploy(), 1))
        except ConflictError as error:
            refused.append(error)

    threads = [threading.Thread(target=begin) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(ledger.numbers()) == [1, 2, 3, 4]
    # At most one may go on, and the smallest number does.
    assert given == [2]
    assert len(refused) == 2


def test_aliases_move_with_the_commit(ledger: Ledger, ready_folder: Path) -> None:
    client = open_registry(load_settings(ready_folder, environ={}))
    for model in ("wine", "beer"):
        client.create_registered_model(model)
        client.create_model_version(model, source=f"{ready_folder}/{model}")
    client.set_registered_model_alias("beer", "champion", "1")
    moves = (
        AliasMove("wine", "champion", 1, 0),
        AliasMove("beer", "champion", 0, 1),
        # What somebody deleted meanwhile cannot stand in the way.
        AliasMove("wine", "old", 7, 0),
        AliasMove("water", "champion", 1, 0),
    )
    ledger.begin(deploy(0.5, *moves), 0)
    assert "champion" not in client.get_registered_model("wine").aliases
    ledger.commit(1, 1)
    assert client.get_registered_model("wine").aliases == {"champion": 1}
    assert client.get_registered_model("beer").aliases == {}
    # Repeated after somebody moved the name on, it does not take it back.
    client.delete_registered_model_alias("wine", "champion")
    ledger.commit(1, 2)
    assert client.get_registered_model("wine").aliases == {}


def test_hidden_from_the_models(ledger: Ledger, ready_folder: Path) -> None:
    ledger.begin(deploy(), 0)
    assert list_versions(load_settings(ready_folder, environ={})) == ()


def test_names_do_not_mix(ledger: Ledger, ready_folder: Path) -> None:
    settings = load_settings(ready_folder, environ={})
    other = Ledger(open_registry(settings), settings, "wine-2")
    ledger.begin(deploy(), 0)
    assert other.numbers() == []
    assert other.begin(deploy(), 0) == 1


def test_what_others_gave_up_or_replaced_does_not_go_live(ledger: Ledger) -> None:
    assert ledger.begin(deploy(), 0) == 1
    ledger.abandon(1, "stopped before it was ready")
    with pytest.raises(ConflictError, match="was given up: stopped before it was ready"):
        ledger.commit(1, 5_000)
    assert ledger.live_number() == 0
    for number in (2, 3):
        assert ledger.begin(deploy(), number - 1) == number
        ledger.commit(number, number)
    with pytest.raises(ConflictError, match=r"Revision 2 of .* was replaced"):
        ledger.commit(2, 9)
    assert ledger.live_number() == 3
