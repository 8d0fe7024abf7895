"""Evidence of a policy that changes its probabilities: weighed by what was in force."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import pytest

from mlops.journal.base import Journal
from mlops.journal.records import WHOLE_REQUEST, Decision, NewOutcome, PolicyEpoch, RevisionEvent
from mlops.journal.sql import SqlJournal
from mlops.monitoring.evidence import gather
from mlops.monitoring.report import make_report
from mlops.policies.drawing import Draws
from mlops.spec.deployment import Arm, DeploymentSpec, to_dict
from mlops.spec.model import ModelVersion

#: Probabilities of each epoch: a policy that finds out that the second arm is better.
EPOCHS = ((0.5, 0.5), (0.35, 0.65), (0.2, 0.8), (0.1, 0.9), (0.25, 0.75))
PER_EPOCH = 800
#: Of the first arm, in each epoch: it gets better with time, as does the share of the second.
BASE = (0.1, 0.2, 0.3, 0.4, 0.5)


def journal_of(
    folder: Path,
    *,
    effect: float,
    drawn_by: Callable[[tuple[float, ...]], tuple[float, ...]] = lambda shares: shares,
    shed: float = 0.0,
) -> Journal:
    """Write what such a policy leaves behind.

    Args:
        folder: Where the journal is.
        effect: How much more the second arm earns.
        drawn_by: The shares that arms really get, given those that are logged.
        shed: Share of the decisions that were lost.
    """
    generator = random.Random(11)
    journal = SqlJournal(f"sqlite:///{folder / 'j.db'}")
    model = [
        ModelVersion(ref=name, label=f"{name}/1", source=name, name=name, version=1)
        for name in "ab"
    ]
    spec = DeploymentSpec(
        "shop", (Arm("a", model[0], 0.5), Arm("b", model[1], 0.5)), policy="acme", reward="given",
        reward_range=(0.0, 1.0),
    )  # fmt: skip
    journal.record([RevisionEvent(1, 1_000, "live", to_dict(spec))])
    time_ms = 2_000
    for epoch, shares in enumerate(EPOCHS):
        if epoch:
            journal.record([PolicyEpoch(1, epoch, time_ms, shares, {"seen": epoch})])
        draws = Draws(drawn_by(shares), epoch)
        decisions, outcomes = [], []
        for _ in range(PER_EPOCH):
            time_ms += 10
            arm = draws.choose(generator.random()).arm
            nonce = generator.randbytes(12)
            rate = BASE[epoch] + effect * arm
            if generator.random() >= shed:
                decisions.append(
                    Decision(
                        nonce=nonce, time_ms=time_ms, revision=1, arm=arm, propensity=shares[arm],
                        n_rows=1, latency_us=1_000, status=200, protocol="v2", client_id=None,
                        unit=None, features=None, predictions=None, epoch=epoch,
                    )
                )  # fmt: skip
            outcomes.append(
                NewOutcome(
                    nonce=nonce, client_id=None, row=WHOLE_REQUEST, time_ms=time_ms + 5,
                    revision=1, arm=arm, propensity=shares[arm],
                    reward=float(generator.random() < rate), truth=None,
                )
            )  # fmt: skip
        journal.append(decisions, outcomes)
    return journal


@pytest.mark.parametrize("shed", [0.0, 0.3])
def test_the_split_follows_what_was_in_force(tmp_path: Path, shed: float) -> None:
    journal = journal_of(tmp_path, effect=0.0, shed=shed)
    evidence = gather(journal)
    assert evidence.epochs == tuple((1, epoch) for epoch in range(len(EPOCHS)))
    assert evidence.weights.tolist() == [list(shares) for shares in EPOCHS]
    # Also of a unit whose decision was shed.
    in_force = evidence.weights[evidence.strata, evidence.arms]
    assert in_force == pytest.approx(evidence.propensities)
    report = make_report(journal)
    assert report.sample_ratio is not None
    assert not report.sample_ratio.mismatch
    # Pooled, the second arm would seem better by far: it had most requests when both earned most.
    naive = [evidence.rewards[evidence.arms == arm].mean() for arm in range(2)]
    assert naive[1] - naive[0] > 0.05
    assert report.verdict.decision in ("continue", "keep")


def test_a_better_arm_is_found(tmp_path: Path) -> None:
    report = make_report(journal_of(tmp_path, effect=0.25))
    assert report.sample_ratio is not None
    assert not report.sample_ratio.mismatch
    assert (report.verdict.decision, report.verdict.winner) == ("promote", "b")


def test_arms_that_are_drawn_otherwise_than_logged_are_a_mismatch(tmp_path: Path) -> None:
    def tilted(shares: tuple[float, ...]) -> tuple[float, ...]:
        return shares[0] + 0.08, shares[1] - 0.08

    report = make_report(journal_of(tmp_path, effect=0.25, drawn_by=tilted))
    assert report.sample_ratio is not None
    assert report.sample_ratio.mismatch
    assert report.verdict.decision == "invalid"
