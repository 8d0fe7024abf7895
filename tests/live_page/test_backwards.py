"""The newest requests are the newest, with archived parts, and with large rows."""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from mlops.journal import archiving
from mlops.journal.records import Decision, RevisionEvent
from mlops.journal.sql import SqlJournal
from mlops.live_page.history import history
from mlops.live_page.looking import Look
from mlops.live_page.requests import requests
from mlops.spec.deployment import to_dict
from tests.live_page.test_parts import desk_of
from tests.monitoring.journals import spec_of

_REQUESTS, _ARCHIVED = 700, 300
_EVERY_S, _POINTS = 5, 180


def _fill(journal: SqlJournal, cell: str) -> None:
    """Write requests of the last minutes, one a second."""
    now_ms = int(time.time() * 1000)
    times = [now_ms - 1000 * (_REQUESTS - n) for n in range(_REQUESTS)]
    spec = spec_of(["a", "b"], [0.5, 0.5], "squared-error", "")
    journal.record([RevisionEvent(1, times[0] - 1, "started", to_dict(spec))])
    features = b'["x"]\n' + f'[["{cell}"]]'.encode()
    journal.append(
        [
            Decision(
                nonce=n.to_bytes(12, "big"), time_ms=time_ms, revision=1, arm=n % 2, propensity=0.5,
                n_rows=1, latency_us=900, status=200, protocol="mlflow", features=features,
                predictions=[float(n)],
            )
            for n, time_ms in enumerate(times)
        ],
        [],
    )  # fmt: skip


def _archive(journal: SqlJournal, store: Path, folder: Path) -> None:
    found = journal.write_part(int(time.time() * 1000), _ARCHIVED, str(store), folder)
    assert found is not None

    def put(file: Path, key: str) -> None:
        (store / key).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, store / key)

    part = archiving.store_files(found.part, found.files, "wine/id", put)
    journal.note_part(part, found)
    assert journal.remove_rows(part)


@pytest.fixture(params=["archived", "large"])
def journal(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[SqlJournal]:
    def fetch(location: str, key: str, target: Path) -> None:
        shutil.copy(Path(location) / key, target)

    made = SqlJournal(f"sqlite:///{tmp_path / 'journal.db'}", fetch=fetch)
    # Beyond the 16 MB of features that one read of the journal gives.
    _fill(made, "x" * 40_000 if request.param == "large" else "x")
    if request.param == "archived":
        (tmp_path / "part").mkdir()
        _archive(made, tmp_path / "store", tmp_path / "part")
    yield made
    made.close()


def test_requests_are_listed_to_the_end(journal: SqlJournal) -> None:
    for arm, expected in (("", _REQUESTS), ("a", _REQUESTS // 2)):
        seen: list[str] = []
        before = ""
        for _ in range(_REQUESTS):
            text = requests(desk_of(journal), "", arm, "", before)["html"]
            seen += re.findall(r'href="requests/([A-Za-z0-9_-]{48})"', text)
            older = re.search(r"before=(\d+)", text)
            if not older:
                break
            before = older[1]
        assert (len(seen), len(set(seen))) == (expected, expected)


def test_the_newest_are_drawn(journal: SqlJournal) -> None:
    batches = Look(desk_of(journal), journal).newest
    seqs = np.concatenate([each.seqs for each in batches])
    assert sorted(seqs.tolist(), reverse=True) == list(range(_REQUESTS, 0, -1))
    assert sum(len(table.column("x")) for each in batches for table in each.features()) == len(seqs)


def test_the_traffic_of_the_last_minutes_is_whole(journal: SqlJournal) -> None:
    points = history(desk_of(journal), _EVERY_S, _POINTS)["points"]
    drawn = sum(cells[0] * _EVERY_S for point in points for cells in point["arms"].values())
    # The newest seconds are not over yet.
    assert _REQUESTS - 2 * _EVERY_S <= drawn <= _REQUESTS
    # No point in between is empty; there may be some since the newest request.
    filled = [any(cells[0] for cells in point["arms"].values()) for point in points]
    assert all(filled[filled.index(True) : len(filled) - filled[::-1].index(True)])


def test_traffic_of_revisions_before_is_drawn_by_the_name_of_its_arm(tmp_path: Path) -> None:
    now_ms = int(time.time() * 1000)
    journal = SqlJournal(f"sqlite:///{tmp_path / 'journal.db'}")
    for revision, names in ((1, ["gone", "a"]), (2, ["a", "new"])):
        spec = spec_of(names, [0.5, 0.5], "squared-error", "")
        from_ms = now_ms - 300_000 + 100_000 * revision
        journal.record([RevisionEvent(revision, from_ms, "live", to_dict(spec))])
        journal.append(
            [
                Decision(
                    nonce=bytes([revision, arm, *n.to_bytes(10, "big")]), time_ms=from_ms + n,
                    revision=revision, arm=arm, propensity=0.5, n_rows=1, latency_us=900,
                    status=(400, 503, 200)[min(n, 2)], protocol="mlflow",
                )
                for arm in (0, 1)
                for n in range(10 * revision + arm)
            ],
            [],
        )  # fmt: skip
    points = history(desk_of(journal), _EVERY_S, _POINTS)["points"]
    journal.close()
    asked = {
        name: round(sum(point["arms"][name][0] * _EVERY_S for point in points))
        for name in points[0]["arms"]
    }
    # The live arms are first, as in the table of the page.
    assert list(asked.items()) == [("a", 11 + 20), ("new", 21), ("gone", 10)]
    # What a model refused is apart from faults.
    for column in (1, 5):
        of_gone = sum(point["arms"]["gone"][column] * _EVERY_S for point in points)
        assert of_gone == pytest.approx(1)
