"""A caller that may predict cannot fill the journal's disk with features."""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path

import pytest

from mlops.serving.journal_limits import MAX_BYTES, JournalLimits
from tests.requirements import require
from tests.serving.models import ROWS, records
from tests.serving.server import Server

_GB = 1_000_000_000


def test_features_of_one_request_are_bounded(server: Server) -> None:
    roomy = JournalLimits(server.folder, lambda: None).admits_features(1)
    require("free space", roomy, "this disk is nearly full, and no features are kept at all")
    status = server.admin("GET", "/status").json
    lost = _losses(server)
    row = records(ROWS[:1])[0]
    # No model asks for it, and it would be kept.
    large = server.predict([{**row, "note": "x" * (MAX_BYTES + 1)}])
    small = server.predict([{**row, "note": "x"}])
    assert [large.status, small.status] == [200, 200]
    answer = server.post("/feedback", {"request_id": large.request_id, "reward": 1})
    assert answer.json["counts"] == {"accepted": 1}
    assert _losses(server) - lost == 1
    with contextlib.closing(sqlite3.connect(server.folder / "journal.db")) as database:
        newest = database.execute("select features from decisions order by seq desc limit 2")
        assert [features is None for (features,) in newest] == [False, True]
    now = server.admin("GET", "/status").json
    assert now["features_left_out"] - status["features_left_out"] == 1
    assert "larger than 4 MiB" in now["warnings"][0]


def _losses(server: Server) -> int:
    with contextlib.closing(server.journal()) as journal:
        return journal.losses().get("features", 0)


def test_features_of_one_request_are_bounded_on_any_disk() -> None:
    limits = JournalLimits(Path("/"), lambda: None, space=lambda _: (100 * _GB, 50 * _GB))
    assert [limits.admits_features(size) for size in (MAX_BYTES, MAX_BYTES + 1, 1)] == [
        True,
        False,
        True,
    ]
    assert "larger than 4 MiB" in limits.warnings(limits.left_out)[0]


@pytest.mark.parametrize(
    ("total", "free", "kept"),
    [
        (100 * _GB, 1 * _GB, True),
        (100 * _GB, _GB // 4, False),
        # A small disk, of which 500 MB are half.
        (_GB, _GB // 10, True),
        (_GB, _GB // 25, False),
    ],
)
def test_features_are_the_first_to_go(total: int, free: int, kept: bool) -> None:
    counted: list[int] = []
    limits = JournalLimits(Path("/"), lambda: counted.append(1), space=lambda _: (total, free))
    assert limits.admits_features(100) is kept
    assert len(counted) == limits.left_out == int(not kept)
    assert bool(limits.warnings(limits.left_out)) is not kept


def test_the_disk_is_looked_at_again() -> None:
    now, space = [0.0], [0]
    limits = JournalLimits(
        Path("/"), lambda: None, space=lambda _: (10 * _GB, space[0]), clock=lambda: now[0]
    )
    assert not limits.admits_features(1)
    space[0] = 5 * _GB
    assert not limits.admits_features(1)
    now[0] = 1.5
    assert limits.admits_features(1)
    # Sooner, where much is kept: an attacker does not wait for a second.
    space[0] = _GB // 4
    assert [limits.admits_features(MAX_BYTES) for _ in range(6)] == [True] * 3 + [False] * 3
    assert "nearly full" in limits.warnings(2)[0]


@pytest.mark.parametrize(
    ("total", "free", "recorded"),
    [
        (100 * _GB, _GB // 4, True),
        (100 * _GB, _GB // 20, False),
        # A small disk, of which 100 MB are a tenth.
        (_GB, _GB // 50, True),
        (_GB, _GB // 200, False),
    ],
)
def test_the_last_of_a_disk_is_for_feedback(total: int, free: int, recorded: bool) -> None:
    limits = JournalLimits(Path("/"), lambda: None, space=lambda _: (total, free))
    assert limits.has_space() is recorded
    assert ("wait in memory" in limits.warnings(0)[0]) is not recorded


def test_a_journal_of_ten_times_its_size_takes_no_more_features() -> None:
    """Also one in PostgreSQL, whose disk is not seen from here."""
    limits = JournalLimits(None, lambda: None, 20_000)
    for size, kept in ((10_000, True), (30_000, False), (9_000, True)):
        limits.take_size(size)
        assert limits.admits_features(0) is kept
        assert limits.has_space()
    # What is kept before its size is known again counts.
    assert [limits.admits_features(4_000) for _ in range(4)] == [True, True, True, False]
    assert "ten times `[journal] max_mb`" in limits.warnings(1)[0]
