"""Drift of models and arms: whose rows count, also where a policy chooses."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from mlops.journal.records import Decision, NewOutcome, RevisionEvent
from mlops.journal.sql import SqlJournal
from mlops.monitoring.drift import PREDICTION, DriftFold
from mlops.spec.deployment import to_dict
from tests.monitoring.drift_journal import DAY_MS, PROFILES, decision, look, row, stream
from tests.monitoring.journals import START_MS, spec_of


def test_a_model_that_comes_back_is_known(journal: SqlJournal) -> None:
    rng = np.random.default_rng(5)
    journal.append([decision(i, [row(rng)], i % 2) for i in range(200)], [])
    fold = DriftFold(journal, lambda _: PROFILES)
    one, two = spec_of(["a"], (1.0,), "exact", ""), spec_of(["a", "b"], (0.5, 0.5), "exact", "")
    live = {2: to_dict(one), 3: to_dict(two)}
    for revision in (1, 2, 3):
        if revision > 1:
            journal.record([RevisionEvent(revision, START_MS, "live", live[revision])])
            new = [decision(200 * revision + i, [row(rng)], i % 2) for i in range(100)]
            journal.append([each._replace(revision=revision) for each in new], [])
        assert fold.follow()
        fold.read(journal.end().decisions, 1_000)
        fold.save(0, {})
        list(journal.forget_features(2**60))
        assert fold.revision == revision
    found = fold.report("wine", 0.01)
    assert [stream(found, "alcohol", arm).rows for arm in ("a", "b")] == [200, 150]


def test_whose_rows_count(journal: SqlJournal) -> None:
    rng = np.random.default_rng(9)
    one, two = [row(rng)], [row(rng), row(rng)]
    ann, bob = b"ann.....", b"bob....."
    journal.append(
        [
            decision(0, two),
            decision(1, one, propensity=0.0),
            decision(2, one, status=400, predictions=None),
            decision(3, two, unit=ann),
            decision(4, one, unit=ann),
            decision(5, one, unit=bob),
            decision(6, one, unit=ann, time_ms=START_MS + DAY_MS),
        ],
        [],
    )
    found = look(journal)
    # Two without a unit; Ann's first on each of two days; Bob's.
    assert stream(found, "alcohol").rows == 5
    assert found.left_out == 2
    assert found.requests == 5


def test_the_same_model_on_both_arms_and_by_another_name(journal: SqlJournal) -> None:
    spec = spec_of(["a", "b"], (0.5, 0.5), "exact", "")
    (first, second) = spec.arms
    twin = replace(second, model=replace(first.model, ref="wine/1", chosen_by="newest version"))
    journal.record([RevisionEvent(2, START_MS, "live", to_dict(replace(spec, arms=(first, twin))))])
    rng = np.random.default_rng(3)
    earlier = [decision(i, [row(rng)]) for i in range(4)]
    journal.append(
        [*earlier, *(decision(i, [row(rng)], i % 2, revision=2) for i in range(4, 8))], []
    )
    found = look(journal)
    assert [stream(found, "alcohol", arm).rows for arm in ("a", "b")] == [6, 2]


def test_a_new_version_begins_with_its_first_request(journal: SqlJournal) -> None:
    rng = np.random.default_rng(14)
    told = [NewOutcome(decision(0, [row(rng)]).nonce, None, 0, START_MS, 1, 0, 0.5, 1.0, None)]
    journal.append([decision(i, [row(rng)]) for i in range(50)], told)
    assert journal.begin([1]) == (0, 0)
    assert journal.begin([2]) == (50, 1)
    fold = DriftFold(journal, lambda _: PROFILES)
    fold.follow()
    fold.read(50, 100)
    spec = spec_of(list("abcd"), (0.0, 0.0, 0.5, 0.5), "exact", "")
    new = replace(spec, arms=spec.arms[2:])
    journal.record([RevisionEvent(2, START_MS, "live", to_dict(new))])
    journal.append([decision(i, [row(rng)], i % 2, revision=2) for i in range(50, 60)], [])
    # A server of the revision before was slower.
    journal.append([decision(60, [row(rng)])], [])
    for watched in (fold, DriftFold(journal, lambda _: PROFILES)):
        watched.follow()
        assert watched.offset == 50
        assert watched.read(100, 100) == 11
        assert [stream(watched.report("wine", 0.01), "alcohol", a).rows for a in "cd"] == [5, 5]


def chosen_by_alcohol(index: int, rng: np.random.Generator, strength: float = 10.0) -> Decision:
    """A request as `linear-ucb` sends it: strong wines to `b` with 0.95, others to `a`."""
    asked = {**row(rng), "alcohol": round(float(rng.normal(strength, 1)), 1)}
    arm = int((asked["alcohol"] > 10) == (rng.random() < 0.95))
    # What an arm answers depends on what it is asked.
    return decision(index, [asked], arm, revision=2, predictions=[asked["alcohol"] / 10])


def test_what_a_policy_sends_to_an_arm_is_no_drift(journal: SqlJournal) -> None:
    rng = np.random.default_rng(15)
    journal.append([decision(i, [row(rng)], arm=i % 2) for i in range(400)], [])
    spec = spec_of(["a", "b"], (0.5, 0.5), "exact", "")
    by_alcohol = to_dict(replace(spec, policy="linear-ucb features=alcohol"))
    journal.record([RevisionEvent(2, START_MS, "live", by_alcohol)])
    journal.append([chosen_by_alcohol(i, rng) for i in range(400, 4_000)], [])
    # In parts, each by another process.
    for limit in (1_700, 5_000):
        fold = DriftFold(journal, lambda _: PROFILES)
        assert fold.follow()
        fold.read(journal.end().decisions, limit)
        fold.save(0, {})
    calm = look(journal)
    assert calm.drifted == ()
    # Each of its own 200 before, and all of them since.
    assert [stream(calm, "alcohol", arm).rows for arm in "ab"] == [3_800, 3_800]
    assert (calm.requests, calm.left_out, calm.without_features) == (4_000, 0, 0)
    (note,) = calm.notes
    assert note.startswith("In revision 2 the policy chose the arm by the request")
    held = "not compared, as the policy chooses the arm by the request"
    assert [stream(calm, PREDICTION, arm).why_not for arm in "ab"] == [held, held]
    # A real shift is found, at both.
    journal.append([chosen_by_alcohol(i, rng, 10.7) for i in range(4_000, 6_000)], [])
    assert {(each.arm, each.feature) for each in look(journal).drifted} == {
        ("a", "alcohol"), ("b", "alcohol"),
    }  # fmt: skip
    # Answers are compared again under fixed weights.
    journal.record([RevisionEvent(3, START_MS, "live", to_dict(spec))])
    journal.append([decision(6_000 + i, [row(rng)], i % 2, revision=3) for i in range(100)], [])
    for arm in "ab":
        assert stream(look(journal), PREDICTION, arm).why_not.endswith("of which 250 came")


def test_a_unit_counts_once_a_day_where_a_policy_chooses(journal: SqlJournal) -> None:
    rng, ann = np.random.default_rng(16), b"ann....."
    # A policy that is not installed here may look at the request too.
    spec = replace(spec_of(["a", "b"], (0.5, 0.5), "exact", ""), policy="of-another-package")
    journal.record([RevisionEvent(2, START_MS, "live", to_dict(spec))])
    sent = [decision(i, [row(rng)], i % 2, revision=2, unit=ann) for i in range(4)]
    for each in sent:
        journal.append([each], [])
        fold = DriftFold(journal, lambda _: PROFILES)
        assert fold.follow()
        fold.read(journal.end().decisions, 100)
        fold.save(0, {})
    found = fold.report("wine", 0.01)
    assert [stream(found, "alcohol", arm).rows for arm in "ab"] == [1, 1]
    # Of the four only the first is compared; each is left out where it was answered.
    assert (found.requests, found.left_out) == (4, 3)
