"""A policy that looks at the request: what it learns, and the evidence after it."""

from __future__ import annotations

import itertools
import math
import random
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mlops.consumers.base import Batch, Context
from mlops.consumers.policy_state import PolicyState
from mlops.errors import InvalidInputError
from mlops.evaluation.policy_value import evaluate_policy
from mlops.journal.features import features_of
from mlops.journal.records import WHOLE_REQUEST, Decision, NewOutcome, RevisionEvent
from mlops.journal.sql import SqlJournal
from mlops.monitoring.comparing import importance
from mlops.monitoring.evidence import gather
from mlops.monitoring.report import make_report
from mlops.policies.base import State
from mlops.policies.drawing import Draws, draws_of, is_distribution
from mlops.policies.making import make_policy
from mlops.protocols.base import Records
from mlops.spec.attribution import Attribution
from mlops.spec.deployment import Arm, DeploymentSpec, to_dict
from mlops.spec.model import ModelVersion
from mlops.stats.off_policy import Estimate


def _spec(policy: str, window_s: float = 0.0) -> DeploymentSpec:
    models = [ModelVersion(ref=n, label=f"{n}/1", source=n, name=n, version=1) for n in "ab"]
    arms = tuple(Arm(model.name, model, 0.5) for model in models)
    return DeploymentSpec(
        "shop", arms, policy=policy, reward="given", reward_range=(0.0, 1.0),
        attribution=Attribution(window_s=window_s),
    )  # fmt: skip


class World:
    """A deployment whose second arm is better where x is above 0.4, and worse elsewhere.

    x is uniform in [0, 1]: the first arm earns 0.5, the second 0.1 or 0.8, which is 0.02 more on
    the average of all requests.
    """

    def __init__(self, folder: Path, policy: str, window_s: float = 0.0) -> None:
        self.journal = SqlJournal(f"sqlite:///{folder / 'j.db'}")
        self.policy = make_policy(policy, [0.5, 0.5])
        self.draws = Draws((0.5, 0.5))
        spec = to_dict(_spec(policy, window_s))
        self.journal.record([RevisionEvent(1, 1_000, "live", spec)])
        self.random, self.now_ms, self.best = random.Random(5), 2_000, 0
        self.state = PolicyState(Context("shop", self.journal, {}), lambda: self.now_ms)

    def follow(self) -> None:
        """Learn, and draw by the newest epoch, as a worker does."""
        self.state.consume(Batch(self.journal.decisions(0, 0, 1), []))
        newest = self.journal.newer_epoch(1, self.draws.epoch)
        if newest is not None:
            state = State(newest.epoch, newest.probabilities, newest.parameters or {})
            self.draws = draws_of(self.policy, state, self.draws)

    def serve(self, n: int, *, late: bool = False) -> tuple[list[Decision], list[NewOutcome]]:
        """Serve requests; the best arm of how many is counted in `best`."""
        decisions, outcomes = [], []
        for _ in range(n):
            self.now_ms += 10
            x = self.random.random()
            choice = self.draws.of({"x": x}).choose(self.random.random())
            self.best += choice.arm == (x > 0.4)
            rate = 0.5 if choice.arm == 0 else 0.8 if x > 0.4 else 0.1
            nonce = self.random.randbytes(12)
            decisions.append(
                Decision(
                    nonce=nonce, time_ms=self.now_ms, revision=1, arm=choice.arm,
                    propensity=choice.propensity, n_rows=1, latency_us=1_000, status=200,
                    protocol="v2", epoch=choice.epoch,
                    features=features_of(Records([{"x": x}]), "all"),
                )
            )  # fmt: skip
            outcomes.append(
                NewOutcome(
                    nonce=nonce, client_id=None, row=WHOLE_REQUEST, time_ms=self.now_ms,
                    revision=1, arm=choice.arm, propensity=choice.propensity,
                    reward=float(self.random.random() < rate), truth=None,
                )
            )  # fmt: skip
        if not late:
            self.journal.append(decisions, outcomes)
        return decisions, outcomes


@pytest.mark.parametrize("name", ["linear-greedy", "linear-thompson"])
def test_each_request_gets_its_arm_and_the_evidence_stays_right(tmp_path: Path, name: str) -> None:
    world = World(tmp_path, f"{name} features=x floor=0.1")
    for _ in range(40):
        world.serve(80)
        world.follow()
    # At most 0.9 by the floor; half of them without features.
    assert world.best > 0.8 * 3_200
    known = {each.epoch: each.probabilities for each in world.journal.epochs([1])}
    drawn = list(world.journal.drawn_requests([1]))
    assert len({each.epoch for each in drawn}) > 2
    assert all(each.propensity == known[each.epoch][each.arm] for each in drawn)
    evidence = gather(world.journal)
    report = make_report(world.journal)
    assert report.sample_ratio is not None
    assert not report.sample_ratio.mismatch
    assert any("drawn by the request" in note for note in evidence.notes)
    # Which requests the difference is of does not depend on how each was drawn.
    weights = np.asarray(importance(evidence, (1, 0)))
    assert np.unique(weights[evidence.strata > 0]).size == 1
    # By what was served the second arm would win by far: it was given where it is good.
    naive = [evidence.rewards[evidence.arms == arm].mean() for arm in range(2)]
    assert naive[1] - naive[0] > 0.15
    (compared,) = report.comparisons
    assert abs(compared.estimate - 0.02) < 0.08
    assert compared.lower < 0.02 < compared.upper
    assert report.verdict.decision == "continue"


def test_of_two_that_learn_at_once_one_publishes(tmp_path: Path) -> None:
    """A lease that one did not see end: both read the same, and the later one more of it."""
    world = World(tmp_path, "linear-thompson features=x")
    for _ in range(4):
        world.serve(40)
        world.follow()
    other = PolicyState(Context("shop", world.journal, {}), lambda: world.now_ms)
    nothing = Batch(world.journal.decisions(0, 0, 1), [])
    other.consume(nothing)
    world.serve(40)
    world.follow()
    before = world.journal.epochs([1])
    world.serve(40)
    # It would publish the next number too, from more rewards.
    other.consume(nothing)
    assert world.journal.epochs([1]) == before
    # And goes on from there, with the rewards that it has not published.
    other.consume(nothing)
    newest = world.journal.epochs([1])[-1]
    assert newest.parameters is not None
    assert sum(newest.parameters["seen"]) == 240


def test_what_is_learnt_is_a_fold_of_the_journal(tmp_path: Path) -> None:
    world = World(tmp_path, "linear-thompson features=x")
    for _ in range(10):
        world.serve(40)
        world.follow()
    (newest,) = world.journal.epochs([1])[-1:]
    assert newest.parameters is not None
    assert sum(newest.parameters["seen"]) > 350
    vectors = [each for each in world.journal.epochs([1]) if each.of_vectors is not None]
    # Once, however often the parameters changed.
    assert len(vectors) == 51
    # Another process goes on from there, with the same numbers.
    world.state = PolicyState(Context("shop", world.journal, {}), lambda: world.now_ms)
    world.serve(80)
    world.follow()
    later = world.journal.epochs([1])[-1]
    assert later.parameters is not None
    assert sum(later.parameters["seen"]) == 480
    assert later.parameters["vectors"] == newest.parameters["vectors"] == vectors[0].epoch
    # What was voided is taken out: all the rest is folded again.
    world.journal.void(
        [each.nonce for each in itertools.islice(world.journal.drawn_requests([1]), 100)],
        time_ms=world.now_ms, reason="test", by="test",
    )  # fmt: skip
    world.now_ms += 2_000
    world.follow()
    folded = world.journal.epochs([1])[-1].parameters
    assert folded is not None
    assert sum(folded["seen"]) == 380
    rewards = np.array([folded["sums"][arm][-1] for arm in range(2)])
    assert np.isfinite(rewards).all()


def test_an_outcome_that_is_there_before_its_decision_is_not_lost(tmp_path: Path) -> None:
    """As where one worker stores the decision, and another one the outcome."""
    world = World(tmp_path, "linear-greedy features=x")
    decisions, outcomes = world.serve(60, late=True)
    world.journal.append([], outcomes)
    world.follow()
    assert world.draws.epoch == 0
    world.journal.append(decisions, [])
    world.follow()
    (newest,) = world.journal.epochs([1])[-1:]
    assert newest.parameters is not None
    assert sum(newest.parameters["seen"]) == 60
    # Of a decision that was shed nothing can be learnt; the learner does not wait for ever.
    world.journal.append([], world.serve(20, late=True)[1])
    world.serve(20)
    world.follow()
    world.now_ms += 10_000
    world.follow()
    later = world.journal.epochs([1])[-1].parameters
    assert later is not None
    assert sum(later["seen"]) == 80


def test_a_window_that_closes_meanwhile_waits_for_the_decision_too(tmp_path: Path) -> None:
    world = World(tmp_path, "thompson", window_s=1.0)
    decisions, outcomes = world.serve(60, late=True)
    # Those of one worker are there, those of another one come when the window is over.
    world.journal.append(decisions[30:], outcomes)
    world.now_ms += 2_000
    world.follow()
    world.journal.append(decisions[:30], [])
    world.now_ms += 2_000
    world.follow()
    (newest,) = world.journal.epochs([1])[-1:]
    assert newest.parameters is not None
    assert sum(newest.parameters["seen"]) == 60


def test_what_such_a_policy_would_have_earned_is_estimated(tmp_path: Path) -> None:
    world = World(tmp_path, "weighted")
    world.serve(3_000)
    evidence = gather(world.journal)

    def value(policy: str) -> Estimate:
        found = evaluate_policy(
            evidence, policy, world.journal.rows_of, alpha=0.05, min_effective=100
        )
        assert not found.refused
        assert found.unsupported == ()
        return next(each for each in found.estimates if each.estimator == "DR")

    told = value("linear-greedy features=x floor=0.1")
    # Nine in ten requests get the better arm, once it is known: 0.68 or 0.34.
    assert 0.58 < told.value < 0.68
    assert told.lower > 0.55
    # Nothing is to be known by what no request has.
    assert abs(value("linear-greedy features=y floor=0.1").value - 0.51) < 0.05
    with pytest.raises(InvalidInputError, match="none is named"):
        value("linear-greedy")


@pytest.mark.parametrize("policy", ["linear-greedy features=x floor=0.1", "thompson floor=0.1"])
def test_a_policy_is_frozen_goes_on_and_forgets(tmp_path: Path, policy: str) -> None:
    world = World(tmp_path, policy)

    def deploy(revision: int, text: str) -> None:
        world.journal.record([RevisionEvent(revision, world.now_ms, "live", to_dict(_spec(text)))])
        world.now_ms += 2_000
        world.state.consume(Batch(world.journal.decisions(0, 0, 1), []))

    def newest(revision: int) -> tuple[int, tuple[float, ...]]:
        found = world.journal.epochs([revision])[-1]
        return sum((found.parameters or {}).get("seen", ())), found.probabilities

    def earn(arm: int) -> None:
        draws, world.draws = world.draws, Draws((float(arm == 0), float(arm == 1)))
        world.serve(60)
        world.draws = draws
        world.state.consume(Batch(world.journal.decisions(0, 0, 1), []))

    earn(0)
    earn(1)
    known, shares = newest(1)
    assert known == 120
    assert shares != (0.5, 0.5)
    # Another revision of the same arms, which learns nothing.
    deploy(2, f"{policy} freeze=true")
    assert newest(2) == (120, shares)
    earn(0)
    assert newest(2) == (120, shares)
    assert world.journal.totals()["outcomes"] == 180
    # What was earned meanwhile is learnt from then.
    deploy(3, f"{policy} batch=50")
    assert newest(3)[0] == 180
    world.serve(30)
    world.state.consume(Batch(world.journal.decisions(0, 0, 1), []))
    assert newest(3)[0] == 180
    earn(0)
    assert newest(3)[0] == 270
    deploy(4, f"{policy} reset=1")
    assert newest(4) == (0, (0.5, 0.5))
    decisions, outcomes = world.serve(100, late=True)
    here = [each._replace(revision=4) for each in decisions]
    world.journal.append(here, [replace(each, revision=4) for each in outcomes])
    world.state.consume(Batch(world.journal.decisions(0, 0, 1), []))
    assert newest(4)[0] in range(20, 101)


@pytest.mark.parametrize(
    ("policies", "read_again"),
    [
        (("thompson", "thompson floor=0.2 warm-up=5"), False),
        (("thompson", "ucb1"), False),
        (("softmax window=90", "epsilon-greedy window=90"), False),
        (("linear-greedy features=x", "linear-ucb features=x c=2"), False),
        (("thompson", "weighted", "linear-greedy features=x", "ucb1"), False),
        (("thompson", "thompson discount=0.99"), True),
        (("thompson", "thompson rewards=binary"), True),
        (("ucb1", "linear-ucb features=x"), True),
        (("linear-ucb", "linear-ucb features=x"), True),
    ],
)
def test_another_policy_goes_on_from_what_is_remembered(
    tmp_path: Path, policies: tuple[str, ...], read_again: bool
) -> None:
    world = World(tmp_path, policies[0])
    for arm in range(2):
        world.draws = Draws((float(arm == 0), float(arm == 1)))
        world.serve(60)
        world.state.consume(Batch(world.journal.decisions(0, 0, 1), []))
    for revision, text in enumerate(policies[1:], start=2):
        world.journal.record([RevisionEvent(revision, world.now_ms, "live", to_dict(_spec(text)))])
        world.now_ms += 2_000
        taken = world.state.consume(Batch(world.journal.decisions(0, 0, 1), [])).sent
        newest = world.journal.epochs([revision])[-1]
        if "weighted" not in text:
            assert sum((newest.parameters or {})["seen"]) == 120
    assert taken == (120 if read_again else 0)


@pytest.mark.parametrize("before", ["thompson floor=0.1", "thompson floor=0.1 discount=0.9"])
def test_a_frozen_policy_keeps_what_there_was_whatever_was_voided(
    tmp_path: Path, before: str
) -> None:
    world = World(tmp_path, before)
    look = Batch(world.journal.decisions(0, 0, 1), [])
    decisions, _ = world.serve(200)
    world.state.consume(look)
    [*_, newest] = world.journal.epochs([1])
    assert newest.probabilities != (0.5, 0.5)
    gone = [each.nonce for each in decisions if each.arm == 1][::2]
    world.journal.void(gone, time_ms=world.now_ms, reason="a test", by="ana")
    for revision, policy in ((2, "thompson floor=0.1 freeze=true"), (3, "thompson floor=0.1")):
        world.now_ms += 2_000
        event = RevisionEvent(revision, world.now_ms, "live", to_dict(_spec(policy)))
        world.journal.record([event])
        world.state.consume(look)
    [*_, kept] = world.journal.epochs([2])
    assert kept.probabilities == pytest.approx(newest.probabilities, abs=0.05)
    # It learns again, and without what was voided.
    [*_, thawed] = world.journal.epochs([3])
    assert sum((thawed.parameters or {})["seen"]) == 200 - len(gone)


def test_a_cap_counts_no_reward_twice_after_a_frozen_policy(tmp_path: Path) -> None:
    def spec(text: str) -> dict[str, object]:
        return to_dict(replace(_spec(text), attribution=Attribution(max_per_key=1_000)))

    world = World(tmp_path, "thompson")
    look = Batch(world.journal.decisions(0, 0, 1), [])
    world.journal.record([RevisionEvent(2, world.now_ms, "live", spec("thompson"))])
    decisions, outcomes = world.serve(120, late=True)
    rated = [replace(each, revision=2, key_id="shop") for each in outcomes]
    world.journal.append([each._replace(revision=2) for each in decisions], rated)
    for revision, policy in ((2, ""), (3, " freeze=true"), (4, "")):
        world.now_ms += 2_000
        if policy or revision == 4:
            event = RevisionEvent(revision, world.now_ms, "live", spec(f"thompson{policy}"))
            world.journal.record([event])
        world.state.consume(look)
        [*_, newest] = world.journal.epochs([revision])
        assert sum((newest.parameters or {})["seen"]) == 120


def test_what_is_known_is_not_kept_waiting_for_a_batch(tmp_path: Path) -> None:
    world = World(tmp_path, "thompson")
    look = Batch(world.journal.decisions(0, 0, 1), [])
    decisions, _ = world.serve(200)
    world.state.consume(look)
    [*_, learnt] = world.journal.epochs([1])
    event = RevisionEvent(2, world.now_ms, "live", to_dict(_spec("thompson batch=500")))
    world.journal.record([event])
    for _ in range(2):
        world.now_ms += 2_000
        world.state.consume(look)
    [*_, inherited] = world.journal.epochs([2])
    assert inherited.probabilities == learnt.probabilities
    # Nor is what was voided waited for.
    gone = [each.nonce for each in decisions if each.arm == 0]
    world.journal.void(gone, time_ms=world.now_ms, reason="a test", by="ana")
    world.now_ms += 2_000
    world.state.consume(look)
    [*_, without] = world.journal.epochs([2])
    assert without.probabilities == (0.5, 0.5)


def test_an_epoch_without_probabilities_is_followed_by_one_that_has_them(tmp_path: Path) -> None:
    """As an earlier version published them, which no server could draw by."""
    world = World(tmp_path, "thompson")
    world.serve(100)
    world.follow()
    known = world.journal.epochs([1])[-1]
    broken = replace(known, epoch=known.epoch + 1, probabilities=(math.nan, math.nan))
    world.journal.record([broken])
    world.state = PolicyState(Context("shop", world.journal, {}), lambda: world.now_ms)
    world.serve(20)
    world.follow()
    newest = world.journal.epochs([1])[-1]
    assert newest.epoch == broken.epoch + 1
    assert is_distribution(newest.probabilities)
    assert sum((newest.parameters or {})["seen"]) == 120
