"""A policy of another package changes its probabilities while a deployment serves."""

from __future__ import annotations

import urllib.request
from collections import Counter
from collections.abc import Callable

import pytest

from mlops.journal.sql import SqlJournal
from mlops.journal.url import journal_url
from tests.chance import by_chance
from tests.fixtures_deployment import Shop
from tests.waiting import wait_until

_N, _LATER = 60, 300


def _served_by(shop: Shop, n: int) -> Counter[str]:
    arms: Counter[str] = Counter()
    for _ in range(n):
        request_id, arm = shop.ask()
        arms[arm] += 1
        # The second arm earns, the first one does not.
        shop.post("/feedback", {"request_id": request_id, "reward": float(arm == "modelB")})
    return arms


@by_chance
@pytest.mark.usefixtures("eager_consumers")
def test_decisions_carry_what_was_in_force(installed: Callable[..., None], wine_shop: Shop) -> None:
    installed("acme")
    refused = wine_shop.run("deploy", "--ab", "modelA", "modelB", "--policy", "acme-learning")
    assert refused.code == 3
    assert "`acme-leaning`" in refused.err
    words = ("deploy", "--ab", "modelA", "modelB", "--policy", "acme-leaning", "--reward", "given")
    sticky = wine_shop.run(*words, "--sticky-by", "header:user")
    assert "units would change arms" in sticky.err

    wine_shop.ok(*words)
    _served_by(wine_shop, _N)
    journal = SqlJournal(journal_url(wine_shop.state.launch.journal_url, "wine"))
    wait_until(lambda: len(list(journal.observations([1]))) == _N)
    # The consumer of the policy learns of them.
    wait_until(lambda: journal.epochs([1])[-1].epoch > 0)
    epoch = journal.epochs([1])[-1]
    assert epoch.epoch == 1
    assert epoch.probabilities == (0.2, 0.8)

    # In force soon: no decision after that is drawn by the first epoch.
    asked = _N

    def is_in_force() -> bool:
        nonlocal asked
        wine_shop.ask()
        asked += 1
        wait_until(lambda: len(list(journal.drawn_requests([1]))) == asked)
        return list(journal.drawn_requests([1]))[-1].epoch == 1

    wait_until(is_in_force)
    _served_by(wine_shop, _LATER)
    wait_until(lambda: len(list(journal.drawn_requests([1]))) == asked + _LATER)
    in_force = {0: (0.5, 0.5), 1: epoch.probabilities}
    drawn = list(journal.drawn_requests([1]))
    # The consumer may have learned from the first of them before the last was drawn.
    epochs = [each.epoch for each in drawn]
    assert epochs == sorted(epochs)
    assert set(epochs[-_LATER:]) == {1}
    assert all(each.propensity == in_force[each.epoch][each.arm] for each in drawn)
    second = sum(each.arm for each in drawn if each.epoch == 1) / epochs.count(1)
    assert 0.65 < second < 0.93
    journal.close()

    report = wine_shop.run("report", "--json").document
    assert not report["sample_ratio"]["mismatch"], wine_shop.run("report").out
    with urllib.request.urlopen(f"{wine_shop.state.url}/metrics", timeout=30) as answer:
        metrics = answer.read().decode()
    expected = [
        float(line.split()[-1])
        for line in metrics.splitlines()
        if line.startswith("mlops_expected_requests_total{")
    ]
    drawn_by = [epochs.count(each) for each in (0, 1)]
    assert sorted(expected) == pytest.approx(
        [sum(n * in_force[each][arm] for each, n in enumerate(drawn_by)) for arm in (0, 1)]
    )
