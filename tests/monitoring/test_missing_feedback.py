"""What requests without feedback could hide."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mlops.journal.sql import SqlJournal
from mlops.monitoring.comparing import difference
from mlops.monitoring.evidence import Evidence, gather
from mlops.monitoring.gates import Bounds, gates_of
from mlops.monitoring.page import read_page, render_page
from mlops.monitoring.report import make_report
from mlops.monitoring.report_json import read_report, report_document
from mlops.spec.attribution import LEFT_OUT, Attribution
from tests.monitoring.situations import START_MS, Shop

_NOW_MS = START_MS + 10**9


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[SqlJournal]:
    journal = SqlJournal(f"sqlite:///{tmp_path}/shop.db")
    yield journal
    journal.close()


def half_answer(shop: Shop, *, n: int = 4000, lift: float = 0.2) -> None:
    """Every second request has feedback; `b` converts more often by `lift`."""
    shop.live(0.5, 0.5)
    for i, arm in enumerate(shop.draw(n).tolist()):
        nonce = shop.ask(arm, shop.now_ms + i)
        if i % 2:
            shop.tell(nonce, arm, shop.now_ms + i + 1, shop.rng.random() < 0.5 + lift * arm)
    shop.flush()


def learning(shop: Shop, *, lift: float = 0.0) -> tuple[float, float]:
    """A hundred short revisions give `b` ever more traffic, and nobody answers the later half.

    Returns:
        Manski's bounds by brute force, from what each request would have earned under either arm.
    """
    ends = np.zeros((2, 2))
    requests = 0
    for step in range(100):
        shop.live(0.9 - step / 125, 0.1 + step / 125)
        for i, arm in enumerate(shop.draw(60).tolist()):
            nonce = shop.ask(arm, shop.now_ms + i)
            earns = shop.rng.random(2) < [0.3, 0.3 + lift]
            told = step < 50
            ends += np.stack([earns, earns]) if told else [[0, 0], [1, 1]]
            requests += 1
            if told:
                shop.tell(nonce, arm, shop.now_ms + i + 1, earns[arm])
        shop.now_ms += 1000
    shop.flush()
    low, high = ends / requests
    return low[1] - high[0], high[1] - low[0]


def shop_of(journal: SqlJournal, rules: Attribution | None = None) -> Shop:
    return Shop(journal, np.random.default_rng(3), rules=rules or Attribution())


def test_bounds_are_those_of_the_silent_at_their_worst(journal: SqlJournal) -> None:
    half_answer(shop_of(journal))
    report = make_report(journal, now_ms=_NOW_MS)
    (found,) = report.silent
    means = [arm.mean for arm in report.arms]
    shares = found.baseline_answered, found.answered
    assert [arm.n / arm.requests for arm in report.arms] == pytest.approx(shares)
    # Those without feedback earned 0 under `b` and 1 under `a`, and the other way round.
    worst = means[1] * shares[1] - (means[0] * shares[0] + 1 - shares[0])
    best = means[1] * shares[1] + 1 - shares[1] - means[0] * shares[0]
    assert found.manski == pytest.approx((worst, best))
    assert (found.lowest, found.highest, found.declared) == (0.0, 1.0, False)
    assert found.lee is not None
    assert found.manski[0] < found.lee[0] < means[1] - means[0] < found.lee[1] < found.manski[1]
    assert read_report(report_document(report)).silent == report.silent
    page = render_page(read_page(journal))
    assert "Manski" in page
    assert "Answered, weighted by the probabilities of the arms where these changed" in page


def test_under_changing_probabilities_the_silent_keep_their_share(journal: SqlJournal) -> None:
    brute = learning(shop_of(journal))
    report = make_report(journal, now_ms=_NOW_MS)
    (found,) = report.silent
    # Half of the requests are silent: nothing is known of half of either arm's rewards.
    assert found.manski[1] - found.manski[0] == pytest.approx(1.0, abs=0.05)
    assert found.manski == pytest.approx(brute, abs=0.06)
    assert (found.answered, found.baseline_answered) == pytest.approx((0.5, 0.5), abs=0.03)
    (gate,) = [gate for gate in report.gates if gate.name == "feedback"]
    assert gate.passed
    first, weighted = gate.text.split("weighted by their probabilities: ")
    assert "`a` 70.7 %, `b` 28.6 %" in first
    assert "Arms had their requests at different times" in first
    shares = [float(part.split()[1]) for part in weighted.split(", ")]
    assert shares == pytest.approx([50, 50], abs=3)


@pytest.mark.parametrize(
    ("weights", "asked", "told", "passed", "said"),
    [
        # An arm that is added later compares where both were on.
        (
            [[1.0, 0.0], [0.5, 0.5]], [[1000, 0], [500, 500]], [[900, 0], [200, 200]], True,
            ("`a` 73.3 %, `b` 40.0 %. Arms had their requests at different times; weighted by "
            "their probabilities: `a` 40.0 %, `b` 40.0 %."),
        ),
        # The share of `a` is the same all the time, and few silent requests count for many.
        (
            [[0.5, 0.5], [0.98, 0.02]], [[100, 100], [980, 20]], [[90, 90], [882, 16]], True,
            "`a` 90.0 %, `b` 88.3 %.",
        ),
        # Time is no reason where arms differ whenever both are on, or never are.
        (
            [[0.9, 0.1], [0.1, 0.9]], [[9000, 1000], [1000, 9000]], [[8100, 700], [300, 1800]],
            False, "`a` 84.0 %, `b` 25.0 %. They are not a random sample.",
        ),
        ([[1.0, 0.0], [0.0, 1.0]], [[99, 0], [0, 98]], [[66, 0], [0, 98]], True, "`b` 100.0 %."),
    ],
)  # fmt: skip
def test_time_is_said_to_make_shares_differ_only_where_it_does(
    journal: SqlJournal,
    weights: list[list[float]],
    asked: list[list[int]],
    told: list[list[int]],
    passed: bool,
    said: str,
) -> None:
    shop = shop_of(journal)
    shop.live(0.5, 0.5)
    evidence = gather(journal, now_ms=_NOW_MS)
    of, some = np.array(asked), np.array(told)
    counts = replace(evidence.asked, all=of, closed=of, failed=of - some, answered=some, told=some)
    evidence = replace(evidence, weights=np.array(weights), asked=counts)

    failures, feedback = gates_of(evidence, [])

    assert (failures.passed, feedback.passed) == (passed, passed)
    assert feedback.text.endswith(said)
    assert ("at different times" in failures.text) is ("at different times" in said)


def test_so_many_silent_ones_would_open_the_decision_again(journal: SqlJournal) -> None:
    half_answer(shop_of(journal))
    report, evidence = make_report(journal, now_ms=_NOW_MS), gather(journal, now_ms=_NOW_MS)
    (found,), (comparison,) = report.silent, report.comparisons
    assert report.verdict.decision == "promote"
    assert found.tipping is not None
    said = f"If {100 * found.tipping:.2g} % of the requests of `b` without feedback had a reward"
    assert said in report.verdict.weakest
    # That share of them at 0 and the rest like the others takes the lower bound to 0.
    lowered = lowered_mean(evidence, found.tipping)
    assert comparison.lower - (report.arms[1].mean - lowered) == pytest.approx(0, abs=0.002)


def lowered_mean(evidence: Evidence, share: float) -> float:
    told = evidence.rewards[evidence.arms == 1]
    silent = int((evidence.asked.closed - evidence.asked.answered)[:, 1].sum())
    bad = round(share * silent)
    return float((told.sum() + (silent - bad) * told.mean()) / (told.size + silent))


def lopsided_ramp(evidence: Evidence, *, silent: float) -> Evidence:
    """20,000 requests at 95/5 and 2,000 at 50/50: of `b`'s bad ones in these, some are silent."""
    rng = np.random.default_rng(9)
    strata, weights = np.repeat([0, 1], [20_000, 2_000]), evidence.weights
    arms = (rng.random(strata.size) < weights[strata, 1]).astype(np.int64)
    rewards = (rng.random(strata.size) < 0.95 + 0.012 * arms).astype(np.float64)
    bad = (strata == 1) & (arms == 1) & (rewards == 0)
    told = ~(bad & (rng.random(strata.size) < silent))
    asked, answered = np.zeros((2, 2), dtype=np.int64), np.zeros((2, 2), dtype=np.int64)
    np.add.at(asked, (strata, arms), 1)
    np.add.at(answered, (strata[told], arms[told]), 1)
    return replace(
        evidence,
        bounds=(0.0, 1.0),
        arms=arms[told],
        rewards=rewards[told],
        strata=strata[told],
        propensities=weights[strata, arms][told],
        asked=replace(
            evidence.asked, all=asked, closed=asked, failed=0 * asked, answered=answered,
            told=answered,
        ),
    )  # fmt: skip


def test_silence_counts_where_the_verdict_counts(journal: SqlJournal) -> None:
    shop = shop_of(journal)
    for weights in ((0.95, 0.05), (0.5, 0.5)):
        shop.live(*weights)
        shop.tell(shop.ask(0, shop.now_ms), 0, shop.now_ms + 1, 1.0)
        shop.now_ms += 1000
    shop.flush()
    evidence = gather(journal, now_ms=_NOW_MS)

    partly = lopsided_ramp(evidence, silent=0.15)
    found, whole = (
        difference(each, 1, 0.05) for each in (partly, lopsided_ramp(evidence, silent=0.0))
    )

    # Those who are missing make the difference, and are too few for the test to see them.
    assert found.lower[-1] > 0 > whole.lower[-1]
    bounds = Bounds(1, float(found.lower[-1]), float(found.upper[-1]))
    (gate,) = [each for each in gates_of(partly, [bounds]) if each.name == "feedback"]
    assert gate.p_value is not None
    assert gate.p_value > 0.01
    assert not gate.passed
    assert "could by itself make `b` look so" in gate.text


@pytest.mark.parametrize("rules", [Attribution(60.0, 0.0), Attribution(missing=LEFT_OUT)])
def test_where_silence_has_a_meaning_it_hides_nothing(
    journal: SqlJournal, rules: Attribution
) -> None:
    half_answer(shop_of(journal, rules), n=400)
    assert make_report(journal, now_ms=_NOW_MS).silent == ()


@pytest.mark.parametrize("shed", [0, 1])
def test_of_an_arm_whose_decisions_were_all_shed_nothing_is_bounded(
    journal: SqlJournal, shed: int
) -> None:
    shop, other = shop_of(journal), 1 - shed
    shop.live(*((0.02, 0.98) if other else (0.98, 0.02)))
    for i in range(60):
        nonce = shop.ask(other, shop.now_ms + i)
        if i % 3 == 0:
            shop.tell(nonce, other, shop.now_ms + i + 1, i % 2)
    shop.tell(shop.rng.bytes(12), shed, shop.now_ms + 1, 1.0)
    shop.flush()
    report = make_report(journal, now_ms=_NOW_MS)
    assert [arm.n for arm in report.arms] == ([20, 1] if shed else [1, 20])
    assert report.silent == ()


def test_while_every_window_is_open_nothing_is_tested(journal: SqlJournal) -> None:
    shop = shop_of(journal, Attribution(window_s=3600.0, missing=LEFT_OUT))
    half_answer(shop, n=100)
    (gate,) = [
        gate
        for gate in make_report(journal, now_ms=START_MS + 1000).gates
        if gate.name == "feedback"
    ]
    assert (gate.text, gate.p_value) == (
        "Requests with feedback: none can be judged yet.", None,
    )  # fmt: skip


def test_a_spec_by_hand_may_have_whole_numbers() -> None:
    rules = Attribution(60, 0, -1)
    assert (rules.missing, rules.failed, rules.fills_silence) == (0.0, -1.0, True)
    assert isinstance(replace(rules, missing=1).missing, float)
