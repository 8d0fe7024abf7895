"""Evidence of requests that are counted as they are read equals that of all of them in memory."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mlops.journal.records import (
    WHOLE_REQUEST,
    Decision,
    NewOutcome,
    PolicyEpoch,
    RevisionEvent,
    Value,
)
from mlops.journal.sql import SqlJournal
from mlops.monitoring import columns
from mlops.monitoring import evidence as module
from mlops.monitoring.columns import StickyError
from mlops.monitoring.evidence import Evidence, gather
from mlops.monitoring.report import make_report
from mlops.monitoring.truths import Truths
from mlops.spec.attribution import LEFT_OUT, Attribution
from mlops.spec.deployment import to_dict
from tests.monitoring.journals import START_MS, spec_of

_DAY_MS = 86_400_000
_RULES = [
    Attribution(),
    Attribution(repeated="last"),
    Attribution(repeated="sum", missing=LEFT_OUT),
]
#: What a model answers for a row, and what it should have.
_PAIRS: list[tuple[Value, Value]] = [
    (5.5, 6.0), (5.0, 5.0), (1e200, -1e200), (5.5, None), (None, 6.0), (2, 3), (True, False),
    ("6", 6.0), ("red", "red"), ("red", "white"), (5.5, "white"), (7.25, 7),
]  # fmt: skip


def write(journal: SqlJournal, seed: int, *, reward: str, rules: Attribution, bounds: bool) -> None:
    """Whatever can happen to requests that are their own units, at random."""
    chance = np.random.default_rng(seed)
    numeric = [pair for pair in _PAIRS if not any(isinstance(one, str) for one in pair)]
    pairs = numeric if seed % 2 else _PAIRS
    sent: list[tuple[bytes, int, int, float, int]] = []
    now_ms, nonces = START_MS, list[bytes]()
    for revision in (1, 2, 3):
        share = float(chance.choice([0.5, 0.8]))
        spec = spec_of(("a", "b"), (share, 1 - share), reward, "", (-4.0, 3.0) if bounds else None)
        spec = replace(spec, attribution=rules)
        journal.record([RevisionEvent(revision, now_ms, "live", to_dict(spec))])
        if revision == 2:
            journal.record([PolicyEpoch(2, 1, now_ms, (0.3, 0.7))])
        decisions, outcomes = [], []
        for _ in range(120):
            now_ms += int(chance.integers(0, 3) * 1_000)
            epoch = int(chance.integers(0, 2)) if revision == 2 else 0
            weights = (0.3, 0.7) if epoch else (share, 1 - share)
            arm = int(chance.random() > weights[0])
            retried = bool(nonces) and chance.random() < 0.1
            nonce = nonces[int(chance.integers(len(nonces)))] if retried else chance.bytes(12)
            nonce = nonce[:11] + bytes([nonce[11] | 1])
            nonces.append(nonce)
            propensity = 0.0 if chance.random() < 0.05 else weights[arm]
            rows = int(chance.integers(1, 4))
            values = [pairs[int(chance.integers(len(pairs)))][0] for _ in range(rows)]
            answer = None if None in values else values
            status = 200 if answer else int(chance.choice([400, 500]))
            # Writers commit in turns, so that times are not quite in order.
            at = now_ms - int(chance.integers(0, 5_000))
            sent.append((nonce, revision, arm, propensity, rows))
            if chance.random() < 0.9:
                decisions.append(
                    Decision(nonce, at, revision, arm, propensity, rows,
                             int(chance.integers(9_000_000)), status, "mlflow",
                             predictions=answer, epoch=epoch)
                )  # fmt: skip
        for _ in range(150):
            now_ms += int(chance.integers(0, 2) * 500)
            nonce, number, arm, propensity, rows = sent[int(chance.integers(len(sent)))]
            row = WHOLE_REQUEST if chance.random() < 0.1 else int(chance.integers(rows))
            given = float(chance.choice([0.0, 1.0, -7.5, 1e60])) if chance.random() < 0.3 else None
            truth = pairs[int(chance.integers(len(pairs)))][1]
            if truth is None and given is None:
                given = 1.0
            outcomes.append(
                NewOutcome(nonce, None, row, now_ms, number, arm, propensity, given, truth,
                           outcome_id=str(now_ms), repeatable=bool(chance.random() < 0.6))
            )  # fmt: skip
        half = len(outcomes) // 2
        journal.append([], outcomes[:half])
        journal.append(decisions, outcomes[half:])
        if seed % 3 == 0 and revision == 1:
            now_ms += 40 * _DAY_MS
    voided = [sent[int(chance.integers(len(sent)))][0] for _ in range(8)]
    journal.void(voided, time_ms=now_ms, reason="a test", by="me")


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[SqlJournal]:
    opened = SqlJournal(f"sqlite:///{tmp_path / 'journal.db'}")
    yield opened
    opened.close()


def same(one: Any, other: Any) -> bool:
    """Whether two values are equal to the last digit; NaN equals NaN."""
    if isinstance(one, np.ndarray):
        return bool(one.shape == other.shape) and (
            one.tobytes() == other.astype(one.dtype).tobytes()
        )
    if isinstance(one, Truths):
        return [repr(each) for each in one] == [repr(each) for each in other]
    return repr(one) == repr(other)


def compare(one: Any, other: Any) -> None:
    for field in fields(one):
        ours, theirs = getattr(one, field.name), getattr(other, field.name)
        if field.name in ("asked", "judged"):
            compare(ours, theirs)
        elif field.name != "everybody":
            assert same(ours, theirs), (field.name, ours, theirs)


def in_memory(journal: SqlJournal, patch: pytest.MonkeyPatch, **options: Any) -> Evidence:
    with patch.context() as here:
        here.setattr(module, "are_requests", lambda *_: False)
        return gather(journal, **options)


@pytest.mark.parametrize("seed", range(12))
def test_whatever_happens_it_is_the_same(
    journal: SqlJournal, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    reward = ("squared-error", "exact", "absolute-error", "given")[seed % 4]
    write(journal, seed, reward=reward, rules=_RULES[seed % 3], bounds=seed % 5 == 0)
    for options in ({"whole": True}, {"whole": False, "baseline": "b"}):
        fixed: dict[str, Any] = {"now_ms": START_MS + 100 * _DAY_MS, **options}
        found, expected = gather(journal, **fixed), in_memory(journal, monkeypatch, **fixed)
        assert found.everybody is None
        assert expected.everybody is not None
        compare(found, expected)
    assert found.arms.size > 20
    report = make_report(journal, now_ms=START_MS + 100 * _DAY_MS)
    monkeypatch.setattr(module, "are_requests", lambda *_: False)
    assert repr(report) == repr(make_report(journal, now_ms=START_MS + 100 * _DAY_MS))


def test_units_of_a_revision_that_was_sticky_are_kept_together(
    journal: SqlJournal, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(journal, 1, reward="given", rules=Attribution(), bounds=False)
    unit = b"somebody"
    journal.append(
        [
            Decision(bytes(11) + bytes([number]), START_MS + number, 3, 0, 0.5, 1, 1, 200, "mlflow",
                     unit=unit)
            for number in (1, 2)
        ],
        [],
    )  # fmt: skip
    raised = []
    counting = columns.count_requests

    def watched(*args: Any, **options: Any) -> Any:
        try:
            return counting(*args, **options)
        except StickyError as error:
            raised.append(error)
            raise

    monkeypatch.setattr(module, "count_requests", watched)
    found = gather(journal, whole=True)
    assert raised
    assert found.everybody is not None
