"""`mlops deploy --policy thompson`: traffic moves to the better model, and back."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from mlops.journal.sql import SqlJournal
from mlops.journal.url import journal_url
from mlops.spec.request_id import read
from tests.fixtures_deployment import Shop
from tests.waiting import wait_until

_AB = ("deploy", "--ab", "modelA", "modelB", "--reward", "given", "--json")


def _visit(shop: Shop, n: int, good: str) -> Counter[str]:
    """Send requests; one arm earns in most of them, the other in few."""
    arms: Counter[str] = Counter()
    for number in range(n):
        request_id, arm = shop.ask()
        arms[arm] += 1
        won = number % 10 < (8 if arm == good else 2)
        shop.post("/feedback", {"request_id": request_id, "reward": float(won)})
    return arms


def _deployment(shop: Shop) -> dict[str, Any]:
    (found,) = shop.ok("status", "--json").document["deployments"]
    deployment: dict[str, Any] = found
    return deployment


@pytest.fixture
def journal(wine_shop: Shop) -> Callable[[], SqlJournal]:
    """Opens the deployment's journal."""
    return lambda: SqlJournal(journal_url(wine_shop.state.launch.journal_url, "wine"))


@pytest.mark.usefixtures("eager_consumers")
def test_traffic_follows_the_rewards(wine_shop: Shop, journal: Callable[[], SqlJournal]) -> None:
    said = wine_shop.ok(*_AB, "--policy", "thompson discount=0.98", "--floor", "0.1")
    assert said.document["revision"] == 1
    history = wine_shop.ok("history", "--json").document["revisions"][0]
    assert history["intent"]["spec"]["policy"] == "thompson discount=0.98 floor=0.1"
    for command in ("history", "status"):
        assert "policy thompson discount=0.98 floor=0.1" in wine_shop.ok(command).out, command
    epochs = journal()

    def share(revision: int = 1) -> float:
        return epochs.epochs([revision])[-1].probabilities[1]

    _visit(wine_shop, 80, "modelB")
    wait_until(lambda: share() > 0.85, what=share)
    # No arm gets less than its floor, and what was in force is logged with each decision.
    assert share() <= 0.9 + 1e-9

    def told() -> list[Sequence[float]]:
        """The shares by the journal, the server and the report."""
        arms = _deployment(wine_shop)["arms"], wine_shop.ok("report", "--json").document["arms"]
        shares = [[arm["weight"] for arm in each] for each in arms]
        return [epochs.epochs([1])[-1].probabilities, *shares]

    def agree() -> bool:
        newest, *others = told()
        return all(each == pytest.approx(newest, abs=0.02) for each in others)

    wait_until(agree, what=told)
    # At a share of 0.85 fewer come once in ten million times.
    assert _visit(wine_shop, 60, "modelB")["modelB"] > 33
    wait_until(agree, what=told)

    # It can be looked up later by which of these probabilities an arm was drawn.
    request_id, _ = wine_shop.ask()
    nonce = read(wine_shop.where.key.read_bytes(), request_id).nonce
    wait_until(lambda: epochs.decision(nonce) is not None, what=lambda: request_id)
    choice = wine_shop.ok("audit", "replay", "--request-id", request_id, "--json").document[
        "choice"
    ]
    assert (choice["result"], choice["how"]) == ("same", "drawn")
    assert choice["epoch"] > 0
    assert choice["propensity"] in choice["shares"]
    words = ("audit", "show", "-n", "0", "--action", "policy", "--json")
    entries = {entry["id"]: entry for entry in wine_shop.ok(*words).document["entries"]}
    entry = entries[f"epoch/1/{choice['epoch']}"]
    assert entry["after"] == choice["shares"] != entry["before"]
    shown = wine_shop.ok(*words[:-1]).out
    assert re.search(r"modelA [\d.]+ → [\d.]+ %, modelB [\d.]+ → [\d.]+ %", shown), shown

    # Files are scored by what is in force, and a job goes on as it began.
    rows = wine_shop.folder / "rows.jsonl"
    request = wine_shop.state.request
    assert request is not None
    split = request["dataframe_split"]
    line = json.dumps(dict(zip(split["columns"], split["data"][0], strict=True)))
    rows.write_text(f"{line}\n" * 40)
    scoring = ("batch", "wine", "--data", str(rows), "--chunk-rows", "20", "--format", "csv",
             "--out", str(wine_shop.folder / "scored"), "--json")  # fmt: skip
    scored = wine_shop.ok(*scoring).document
    assert [*scored["shares"].values()] in [[*each.probabilities] for each in epochs.epochs([1])]
    assert scored["shares"]["modelB"] > 0.7
    part = wine_shop.folder / "scored/part-00000-0000001.csv"
    whole = part.read_bytes()
    part.unlink()

    # The world turns.
    def turned() -> bool:
        _visit(wine_shop, 20, "modelA")
        return share() < 0.2

    wait_until(turned, what=share)
    again = wine_shop.ok(*scoring).document
    assert (again["shares"], again["resumed"]) == (scored["shares"], 20)
    assert part.read_bytes() == whole
    drawn = list(epochs.drawn_requests([1]))
    of = {each.epoch: each.probabilities for each in epochs.epochs([1])}
    assert len(of) > 2
    assert all(each.propensity == of[each.epoch][each.arm] for each in drawn)
    # A favourite by its share of traffic is no winner, and the split is what the policy asked for:
    # the p-value holds at all looks, and is at most this once in a million times.
    report = wine_shop.ok("report", "--json").document
    assert report["sample_ratio"]["p_value"] > 1e-6

    # Another server, and another revision with these arms, go on from what is known.
    before = share()
    wine_shop.kill()
    wine_shop.ok("start")
    _visit(wine_shop, 10, "modelA")
    wine_shop.ok(*_AB, "--policy", "thompson discount=0.98", "--floor", "0.05")
    wait_until(lambda: share(2) < 0.5, what=lambda: (before, epochs.epochs([2])))


@pytest.mark.usefixtures("eager_consumers")
def test_silence_is_worth_what_is_declared_once_the_window_is_over(
    wine_shop: Shop, journal: Callable[[], SqlJournal]
) -> None:
    words = ("--policy", "thompson", "--feedback-window", "2s", "--missing", "0")
    wine_shop.ok(*_AB, *words)
    # Of one arm only good news is ever told; the other is never heard of.
    for _ in range(60):
        request_id, arm = wine_shop.ask()
        if arm == "modelB":
            wine_shop.post("/feedback", {"request_id": request_id, "reward": 1.0})
    epochs = journal()
    wait_until(
        lambda: epochs.epochs([1])[-1].probabilities[1] > 0.9, what=lambda: epochs.epochs([1])
    )
    seen = epochs.epochs([1])[-1].parameters
    assert seen is not None
    wait_until(
        lambda: sum((epochs.epochs([1])[-1].parameters or {})["seen"]) <= 60,
        what=lambda: epochs.epochs([1])[-1],
    )


@pytest.mark.usefixtures("eager_consumers")
def test_each_request_gets_the_arm_that_earns_most_from_it(
    wine_shop: Shop, journal: Callable[[], SqlJournal]
) -> None:
    policy = ("--policy", "linear-greedy warm-up=5", "--features", "alcohol,fixed acidity")
    wine_shop.ok(*_AB, *policy, "--floor", "0.1")
    history = wine_shop.ok("history", "--json").document["revisions"][0]
    said = "linear-greedy 'features=alcohol,fixed acidity' floor=0.1 warm_up=5"
    assert history["intent"]["spec"]["policy"] == said
    example = wine_shop.state.request
    assert example is not None
    (row,), columns = (example["dataframe_split"][key] for key in ("data", "columns"))
    epochs, sent = journal(), 0

    def send_row(n: int, *, learn: bool = True) -> Counter[bool]:
        """Send requests; strong wine is for one arm, the other is for weak wine."""
        nonlocal sent
        sent += n
        right: Counter[bool] = Counter()
        for number in range(n):
            strong = number % 2 == 0
            wine = {**dict(zip(columns, row, strict=True)), "alcohol": 14.0 if strong else 9.0}
            _, told = wine_shop.post("/invocations", {"dataframe_records": [wine]})
            won = (told["x-mlops-arm"] == "modelB") == strong
            right[won] += 1
            if learn:
                request_id = told["x-mlops-request-id"]
                wine_shop.post("/feedback", {"request_id": request_id, "reward": float(won)})
        return right

    def newest() -> dict[str, Any]:
        return dict(epochs.epochs([1])[-1].parameters or {})

    def in_force() -> bool:
        send_row(1, learn=False)
        last = max(each.epoch for each in epochs.drawn_requests([1]))
        return last >= int(newest()["vectors"])

    send_row(60)
    # It is published again once it has seen 2 % more, and at least one.
    wait_until(lambda: sum(newest().get("seen", ())) >= 59, what=newest)
    wait_until(in_force, what=newest)
    # At a share of 0.9 fewer come once in a million times.
    assert send_row(60, learn=False)[True] > 40
    known = {each.epoch: each.probabilities for each in epochs.epochs([1])}
    wait_until(lambda: epochs.totals()["requests"] == sent, what=epochs.totals)
    drawn = list(epochs.drawn_requests([1]))
    assert len({known[each.epoch] for each in drawn}) == 3
    assert all(each.propensity == known[each.epoch][each.arm] for each in drawn)
    report = wine_shop.ok("report", "--json").document
    assert report["sample_ratio"]["p_value"] > 1e-6


def test_what_cannot_be_learnt_is_refused(wine_shop: Shop) -> None:
    for words, said in {
        ("--policy", "thompson", "--sticky-by", "header:user"): "units would change arms",
        ("--policy", "thompson", "--split", "100/0"): "weight above 0",
        ("--policy", "thompson", "--floor", "0.7"): "at most 0.5",
        ("--policy", "thompson flor=0.1"): "Did you mean `floor`?",
        ("--policy", "thompson", "--repeated", "last"): "--feedback-window",
        ("--policy", "linear-greedy"): "--features alcohol,pH",
    }.items():
        refused = wine_shop.run(*_AB, *words, "--dry-run")
        assert refused.code == 3, words
        error = refused.error
        assert said in f"{error['message']} {error['hint']}"
    assert wine_shop.run(*_AB, "--floor", "0.1").code == 2
    assert wine_shop.run(*_AB, "--features", "pH").code == 2
    linear = ("--policy", "linear-greedy", "--features", "alcohl")
    for more in ((), ("--dry-run",), ("--dry-run", "--target", "kserve", "--router")):
        mistaken = wine_shop.run(*_AB, *linear, *more).error
        assert "`alcohl`, which is no column" in mistaken["message"]
        assert mistaken["hint"] == "Did you mean `alcohol`?"
    wine_shop.environ["MLOPS_JOURNAL_FEATURES"] = "pH"
    unkept = wine_shop.run(*_AB, *linear, "--dry-run").error
    assert "does not keep: `alcohl`" in unkept["message"]


def test_features_of_the_live_policy_can_be_changed(wine_shop: Shop) -> None:
    linear = ("--policy", "linear-greedy warm-up=5", "--features", "alcohol")
    wine_shop.ok(*_AB, *linear, "--floor", "0.1")
    planned = wine_shop.ok("deploy", "--features", "pH", "--dry-run", "--json").document["plan"]
    assert planned["after"]["policy"] == "linear-greedy features=pH floor=0.1 warm_up=5"
    # The plan is the result of a dry run, which `-q` does not silence.
    quiet = wine_shop.ok("-q", "deploy", "--features", "pH", "--floor", "0.2", "--dry-run")
    assert quiet.out.startswith("wine will be updated\n")
    assert "features=pH floor=0.2" in quiet.out
    assert "will be updated" not in quiet.err
    reset = wine_shop.run("deploy", "--features", "pH", "--reset", "policy", "--dry-run", "--json")
    assert reset.code == 2
    assert "`--features` goes with `--policy NAME`" in reset.error["message"]


def test_a_running_server_that_keeps_too_little_is_named(wine_shop: Shop) -> None:
    wine_shop.environ["MLOPS_JOURNAL_FEATURES"] = "pH"
    wine_shop.ok(*_AB)
    wine_shop.environ["MLOPS_JOURNAL_FEATURES"] = "all"
    linear = (*_AB, "--policy", "linear-greedy", "--features", "alcohol,pH")
    refused = wine_shop.run(*linear, "--json")
    assert refused.code == 7
    assert "without keeping `alcohol`" in refused.error["message"]
    wine_shop.ok("stop")
    wine_shop.ok(*linear)
