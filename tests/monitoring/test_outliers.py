"""Outliers as a fold of a real journal."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from mlops.journal.features import Hiding, features_of
from mlops.journal.records import RevisionEvent
from mlops.journal.sql import SqlJournal
from mlops.monitoring.outliers import OutlierFold, find_outliers
from mlops.protocols.base import Records
from mlops.spec.deployment import Arm, to_dict
from mlops.stats.outlier_document import RowDetector, fit_rows
from mlops.stats.row_codes import codings
from mlops.workflows.outliers import notes_on
from tests.monitoring.drift_journal import PROFILES, decision, row
from tests.monitoring.journals import START_MS, spec_of


@pytest.fixture(scope="module")
def detector() -> RowDetector:
    rng = np.random.default_rng(1)
    rows = [row(rng) for _ in range(1_200)]
    columns = {name: [each[name] for each in rows] for name in PROFILES}
    return fit_rows(columns, codings(PROFILES))


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[SqlJournal]:
    opened = SqlJournal(f"sqlite:///{tmp_path / 'journal.db'}")
    document = to_dict(spec_of(["a", "b"], (0.5, 0.5), "exact", ""))
    opened.record([RevisionEvent(1, START_MS, "started", document)])
    yield opened
    opened.close()


def test_strange_rows_are_listed_and_counted(journal: SqlJournal, detector: RowDetector) -> None:
    def detectors(arm: Arm) -> RowDetector | None:
        return detector if arm.name == "a" else None

    fold = OutlierFold(journal, detectors)
    assert fold.follow()
    rng = np.random.default_rng(2)
    calm = [decision(i, [row(rng), row(rng)], arm=i % 2) for i in range(1_000)]
    strange = {**row(rng), "alcohol": 99.0}
    journal.append(calm, [])
    journal.append(
        [
            decision(2_000, [row(rng), strange]),
            decision(2_001, [strange], propensity=0.0),
            decision(2_002, [strange], arm=1),
            decision(2_003, [{**row(rng), "colour": "orange"}]),
            decision(2_004, [strange], features=None),
        ],
        [],
    )
    found = find_outliers(journal, detectors, 0.01, 10_000)
    assert found is not None
    assert found.unknown == ("b",)
    assert found.requests == 1_004
    assert found.shares["a"].rows == 1_003
    nonce = decision(2_000, [strange]).nonce
    (worst,) = (each for each in found.flagged if each.nonce == nonce)
    assert (worst.row, worst.arm, worst.features[0]) == (1, "a", ("alcohol", 99.0))
    assert worst.p_value == found.flagged[0].p_value
    assert any(each.features[0] == ("colour", "orange") for each in found.flagged)
    assert 2 <= len(found.flagged) < 30
    # Beside the server the same is counted, over restarts too.
    for limit in (300, 301, 5_000):
        fold.read(journal.end().decisions, limit)
        fold.save(0, {})
        fold = OutlierFold(journal, detectors)
        assert fold.follow()
    (share,) = fold.shares.values()
    assert (share.rows, share.flagged) == (1_003, len(found.flagged))
    assert share.lately == pytest.approx(share.flagged / share.rows, rel=0.7)


@pytest.mark.parametrize(
    ("hidden", "lacking"),
    [
        (Hiding(dropped=("alcohol",)), "`alcohol`"),
        (Hiding(hashed=("colour",), key=b"k"), "`colour`"),
    ],
)
def test_rows_without_a_feature_that_was_not_kept_are_left_out(
    journal: SqlJournal, detector: RowDetector, hidden: Hiding, lacking: str
) -> None:
    rng = np.random.default_rng(3)
    fold = OutlierFold(journal, lambda _: detector)
    assert fold.follow()
    calm = [[row(rng)] for _ in range(300)]
    kept = [features_of(Records(rows), "all", hiding=hidden) for rows in calm[:200]]
    journal.append([decision(i, calm[i], features=kept[i]) for i in range(200)], [])
    journal.append([decision(i, calm[i]) for i in range(200, 300)], [])
    found = find_outliers(journal, lambda _: detector, 0.01, 10_000)
    assert found is not None
    share = found.shares["a"]
    assert (share.rows, share.incomplete, len(found.flagged) < 10) == (100, 200, True)
    (note,) = notes_on(found, 0.01)
    assert note.startswith("200 rows of `a` were left out")
    assert f"their feature {lacking}: not kept" in note
    fold.read(journal.end().decisions, 5_000)
    assert max(each.rows for each in fold.shares.values()) == 100


def test_a_level_at_which_nothing_can_be_flagged_is_told(
    journal: SqlJournal, detector: RowDetector
) -> None:
    strange = {"alcohol": 1e9, "colour": "orange"}
    journal.append([decision(0, [strange])], [])
    found = find_outliers(journal, lambda _: detector, 0.001, 10_000)
    assert found is not None
    assert found.flagged == ()
    first, second = notes_on(found, 0.001)
    assert "No row of `a` can be flagged at `--level 0.001`" in first
    assert "600 calibration rows, so the smallest p-value is 0.0017" in first
    assert "No row of `b`" in second
    found = find_outliers(journal, lambda _: detector, 0.0017, 10_000)
    assert found is not None
    assert (len(found.flagged), list(notes_on(found, 0.0017))) == (1, [])
