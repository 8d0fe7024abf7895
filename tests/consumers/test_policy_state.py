"""A policy's state is a fold of the journal, whatever was deployed and whoever had the lease."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from mlops.consumers.base import Batch, Context
from mlops.consumers.policy_state import PolicyState
from mlops.consumers.runner import Runner
from mlops.journal.records import PolicyEpoch, RevisionEvent
from mlops.journal.sql import SqlJournal
from mlops.policies.base import State
from mlops.policies.making import make_policy
from mlops.policies.thompson import Thompson
from mlops.spec.attribution import Attribution
from mlops.spec.deployment import Arm, DeploymentSpec, to_dict
from mlops.spec.model import ModelVersion
from tests.journal.rows import T0, decision, outcome


class Past:
    """A journal with what one revision after the other has served."""

    def __init__(self, folder: Path) -> None:
        self.journal = SqlJournal(f"sqlite:///{folder}/journal.db")
        self.now_ms, self.served = T0 + 1_000_000, 0

    def deploy(self, revision: int, names: str, policy: str = "thompson") -> None:
        models = [ModelVersion(ref=n, label=f"{n}/1", source=n, name=n, version=1) for n in names]
        arms = tuple(Arm(model.name, model, 1 / len(models)) for model in models)
        spec = DeploymentSpec(
            "shop", arms, policy=policy, reward="given", reward_range=(0.0, 1.0),
            attribution=Attribution(window_s=0.0),
        )  # fmt: skip
        self.journal.record([RevisionEvent(revision, self.now_ms, "live", to_dict(spec))])

    def serve(self, revision: int, *rewards: float) -> None:
        """Serve 20 requests by each arm, with these rewards."""
        for arm, reward in enumerate(rewards):
            for _ in range(20):
                self.served += 1
                where = {"revision": revision, "arm": arm}
                decided = decision(self.served, **where)
                outcomes = [outcome(self.served, reward=reward, **where)]
                self.journal.append([decided], outcomes)

    def process(self) -> Callable[[], None]:
        """Start a process that learns; call it for what it does in two seconds."""
        state = PolicyState(Context("shop", self.journal, {}), lambda: self.now_ms)

        def work() -> None:
            self.now_ms += 2_000
            state.consume(Batch(self.journal.decisions(0, 0, 1), []))

        return work

    def newest(self, revision: int) -> PolicyEpoch:
        return max(self.journal.epochs([revision]), key=lambda each: each.epoch)

    def seen(self, revision: int) -> list[int]:
        return list((self.newest(revision).parameters or {})["seen"])


def test_an_arm_that_was_away_is_known_when_it_comes_back(tmp_path: Path) -> None:
    past = Past(tmp_path)
    work = past.process()
    for revision, names in ((1, "ab"), (2, "ac"), (3, "ab")):
        past.deploy(revision, names)
        work()
        assert revision < 3 or past.seen(3) == [40, 20]
        past.serve(revision, 1.0, 0.0)
        work()
        work()
    assert past.seen(2) == [40, 20]


def test_a_process_that_gets_the_lease_back_goes_on_from_what_another_published(
    tmp_path: Path,
) -> None:
    past = Past(tmp_path)
    past.deploy(1, "ab")
    work = past.process()
    past.serve(1, 1.0, 0.0)
    work()
    first = past.newest(1)
    past.serve(1, 0.0, 1.0)
    work()
    second = past.newest(1)
    assert (first.epoch, second.epoch) == (1, 2)
    # It had not read as far.
    past.journal.record([replace(first, epoch=3)])
    work()
    assert past.newest(1).epoch == 4
    assert past.newest(1).probabilities == second.probabilities


@pytest.mark.parametrize("policy", ["thompson", "linear-greedy features=x"])
def test_memories_that_differ_little_differ(policy: str) -> None:
    def memory(discount: str) -> str:
        made = make_policy(f"{policy} discount={discount}", [0.5, 0.5])
        return str(getattr(made, "memory"))  # noqa: B009 - not of every policy

    assert memory("0.9999999") != memory("1")
    assert memory("1") == memory("1.0")


def test_what_a_failing_policy_has_not_learnt_from_is_its_lag(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def update(*_: object) -> State:
        raise KeyError("boom")

    past = Past(tmp_path)
    past.deploy(1, "ab")
    past.serve(1, 1.0, 0.0)
    state = PolicyState(Context("shop", past.journal, {}), lambda: past.now_ms)
    runner = Runner(past.journal, "policy", state, "one", lambda: past.now_ms / 1000)
    with monkeypatch.context() as broken:
        broken.setattr(Thompson, "update", update)
        runner.step()
        (progress,) = past.journal.progress(past.now_ms)
        assert (progress.lag_events, progress.failed) == (40, 1)
        assert "boom" in progress.fault
    runner.step()
    (progress,) = past.journal.progress(past.now_ms)
    assert (progress.lag_events, progress.sent, progress.fault) == (0, 40, "")
