"""A policy of another package changes its probabilities while a deployment serves."""

from __future__ import annotations

import time
import urllib.request
from collections import Counter
from collections.abc import Callable

import pytest

from mlops.journal.sql import SqlJournal
from mlops.journal.url import journal_url
from tests.fixtures_deployment import Shop

_N = 60


def _served_by(shop: Shop, n: int) -> Counter[str]:
    arms: Counter[str] = Counter()
    for _ in range(n):
        request_id, arm = shop.ask()
        arms[arm] += 1
        # The second arm earns, the first one does not.
        shop.post("/feedback", {"request_id": request_id, "reward": float(arm == "modelB")})
    return arms


def _until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)


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
    _until(lambda: len(list(journal.observations([1]))) == _N)
    # The consumer of the policy learns of them.
    _until(lambda: journal.epochs([1])[-1].epoch > 0)
    epoch = journal.epochs([1])[-1]
    assert epoch.epoch == 1
    assert epoch.probabilities == (0.2, 0.8)

    # In force within a second: no decision after that is drawn by the first epoch.
    time.sleep(1.5)
    _served_by(wine_shop, _N)
    _until(lambda: len(list(journal.drawn_requests([1]))) == 2 * _N)
    in_force = {0: (0.5, 0.5), 1: epoch.probabilities}
    drawn = list(journal.drawn_requests([1]))
    # The consumer may have learned from the first of them before the last was drawn.
    epochs = [each.epoch for each in drawn]
    assert epochs == sorted(epochs)
    assert set(epochs[_N:]) == {1}
    assert all(each.propensity == in_force[each.epoch][each.arm] for each in drawn)
    second = sum(each.arm for each in drawn if each.epoch == 1) / epochs.count(1)
    assert 0.6 < second < 0.95
    journal.close()

    report = wine_shop.run("report", "--json").document
    assert not report["sample_ratio"]["mismatch"]
    with urllib.request.urlopen(f"{wine_shop.state.url}/metrics", timeout=30) as answer:
        metrics = answer.read().decode()
    expected = [
        float(line.split()[-1])
        for line in metrics.splitlines()
        if line.startswith("mlops_expected_requests_total{")
    ]
    assert sorted(round(each, 6) for each in expected) == [
        round(_N * 0.7, 6), round(_N * 1.3, 6)
    ]  # fmt: skip
