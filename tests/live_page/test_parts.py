"""The parts of the live page, from journals of many kinds."""

from __future__ import annotations

import contextlib
import datetime as dt
import html
import re
import sqlite3
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mlops.errors import ConflictError, NotFoundError
from mlops.journal.consumer_records import Alarm, Progress
from mlops.journal.records import Decision, NewOutcome, RevisionEvent
from mlops.journal.sql import SqlJournal
from mlops.live_page.distributions import Bar, Drawn, draw
from mlops.live_page.explanation import explanation
from mlops.live_page.history import history
from mlops.live_page.requests import PAGE, request, requests, rows
from mlops.live_page.sections import PARTS, part
from mlops.live_page.source import Source
from mlops.serving.consumer_process import ConsumerProcess
from mlops.spec.analysis import Analysis
from mlops.spec.deployment import to_dict
from mlops.spec.ramp import Ramp
from mlops.stats.profiles import profile_feature
from tests.monitoring.journals import START_MS, Stage, fill, labels, numbers, spec_of

KEY = bytes(range(32))
HOSTILE = "</script><img src=x onerror=alert(1)>\"'&{{7*7}}`"
ERROR = "squared-error"
EVEN = [Stage([0.5, 0.5], 400)]


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[SqlJournal]:
    made = SqlJournal(f"sqlite:///{tmp_path / 'journal.db'}")
    yield made
    made.close()


def desk_of(journal: SqlJournal | None, *consumers: str) -> Source:
    def ask(experiment: str, rows: Any) -> Any:
        raise ConflictError("Nobody is there to be asked.")

    return Source("wine", journal, KEY, 0.05, "", consumers, "/nowhere/state.json", ask)


def words(text: str) -> str:
    return html.unescape(" ".join(re.sub(r"<[^>]*>", " ", text).split()))


def every_part(source: Source) -> dict[str, str]:
    return {name: part(source, name, 1)["html"] for name in PARTS}


@pytest.mark.parametrize(
    ("names", "stages", "how", "reward", "expected"),
    [
        (["a", "b"], [Stage([0.5, 0.5], 0)], numbers([0, 0]), ERROR, "no traffic yet"),
        (["a", "b"], [Stage([0.5, 0.5], 1)], numbers([0, 0]), ERROR, "too early to tell"),
        (["a", "b"], [Stage([0.5, 0.5], 50, rated=0)], numbers([0, 0]), ERROR, "no feedback yet"),
        (["a"], [Stage([1.0], 300)], numbers([0]), ERROR, "one arm, nothing to compare"),
        (["a", "b"], EVEN, labels([0.6, 0.9]), "exact", "b minus a"),
        (["a", HOSTILE], EVEN, numbers([0, 0]), ERROR, "minus a"),
    ],
    ids=["no traffic", "one request", "no feedback", "one arm", "labels", "hostile"],
)
def test_every_part_is_made_of_any_journal(
    journal: SqlJournal,
    names: list[str],
    stages: list[Stage],
    how: Any,
    reward: str,
    expected: str,
) -> None:
    fill(journal, names, stages, how, reward=reward)
    found = every_part(desk_of(journal, "drift", "quality"))
    for text in found.values():
        assert "could not be made" not in text
        assert not re.search(r"<(script|img|style)|\sstyle=|\son[a-z]+=\"", text)
        assert text.strip()
    assert re.search(expected, words(found["verdict"]).lower()), words(found["verdict"])
    assert "server started" in words(found["revisions"])


def test_the_chart_says_that_it_is_not_of_the_same_rows(journal: SqlJournal) -> None:
    spec = replace(spec_of(["a", "b"], [0.5, 0.5], ERROR, ""), paired=True)
    journal.record([RevisionEvent(1, START_MS, "started", to_dict(spec))])
    rng = np.random.default_rng(3)
    for n in range(400):
        truth = float(rng.normal(6, 1))
        own = Decision(
            nonce=n.to_bytes(12, "big"), time_ms=START_MS + n, revision=1, arm=n % 2,
            propensity=0.5, n_rows=1, latency_us=900, status=200, protocol="mlflow",
            features=b'["x"]\n[[%.3f]]' % truth, predictions=[truth + 0.5 - 0.4 * (n % 2)],
        )  # fmt: skip
        outcome = NewOutcome(own.nonce, None, 0, START_MS + n, 1, own.arm, 0.5, None, truth)
        journal.append([own], [outcome])

    def ask(experiment: str, rows: Any) -> Any:
        return [[row["x"] + error for row in rows] for error in (0.5, 0.1)]

    source = replace(desk_of(journal), ask=ask)
    found = words(part(source, "verdict", 1)["html"])
    assert "b minus a, each on its own requests" in found
    assert "This is not the interval that the verdict rests on" in found
    assert "to the same 400 labelled rows" in found
    # Where rows are not asked again, there is one interval, and nothing to tell apart.
    apart = words(part(desk_of(journal), "verdict", 2)["html"])
    assert "each on its own requests" not in apart
    assert "rests on" not in apart


def test_revisions_say_how_an_arm_is_chosen(journal: SqlJournal) -> None:
    fixed = spec_of(["a", "b"], [0.5, 0.5], ERROR, "")
    learning = replace(fixed, policy="linear-ucb features=x")
    ramp = Ramp((5.0, 100.0))
    guarded = replace(fixed, ramp=ramp, analysis=Analysis(guardrails=(("errors", 0.01),)))
    for number, spec in enumerate((fixed, learning, guarded), start=1):
        journal.record([RevisionEvent(number, START_MS, "live", to_dict(spec))])
    found = words(part(desk_of(journal), "revisions", 1)["html"])
    third, second, first = (each for each in found.split("went live")[1:])
    assert "policy linear-ucb features=x" in second
    assert "ramp 5, 100 % every 30m if not worse; guardrails errors=0.01" in third
    assert "policy" not in first
    assert "ramp" not in first


def test_older_alarms_are_folded_with_the_names_of_their_features(journal: SqlJournal) -> None:
    fill(journal, ["a", "b"], EVEN, numbers([0, 0]))
    alarms = [
        Alarm(f"drift/{n}", START_MS + n, "drift", 1, f"`x{n}` drifted.", {"feature": f"x{n}"})
        for n in range(10)
    ]
    journal.raise_alarms(alarms[:8])
    assert "earlier" not in part(desk_of(journal), "consumers", 1)["html"]
    journal.raise_alarms(alarms[8:])
    found = words(part(desk_of(journal), "consumers", 2)["html"])
    newest, _, older = found.partition("And 2 earlier: x1, x0")
    assert [n for n in range(10) if f"x{n} drifted" in newest] == [*range(2, 10)]
    assert [n for n in range(10) if f"x{n} drifted" in older] == [0, 1]


def test_a_fault_of_a_reader_does_not_say_where_its_store_is(journal: SqlJournal) -> None:
    fault = "http://10.0.0.7:8080/events cannot be reached."
    step = Progress("log:sink", fault=fault, failed=1, time_ms=START_MS)
    assert journal.claim(step, "me", START_MS, 1_000) is not None
    assert journal.advance(step, "me", START_MS, 1_000)
    found = words(part(desk_of(journal, "log:sink"), "consumers", 1)["html"])
    assert "It fails; mlops status and the log say why." in found
    assert "10.0.0.7" not in found
    process = ConsumerProcess(journal, "wine", "", {})
    process.progress = [step]
    assert fault in process.warnings()[0]
    (told,) = process.warnings(public=True)
    assert told.endswith("fails, and is 0 events behind; `mlops status` says why.")


def test_without_a_journal_every_part_says_so() -> None:
    assert {words(text) for text in every_part(desk_of(None)).values()} == {
        "No journal is kept, so nothing is known here beyond the counters above."
    }
    with pytest.raises(ConflictError, match="no log of requests"):
        requests(desk_of(None), "", "", "", "")
    assert history(desk_of(None), 5, 180) == {"points": []}


def test_a_part_that_fails_leaves_the_others(
    journal: SqlJournal, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(journal, ["a", "b"], EVEN, numbers([0, 0]))

    def broken(look: Any) -> str:
        raise ZeroDivisionError

    monkeypatch.setattr("mlops.live_page.shares.shares", broken)
    found = every_part(desk_of(journal))
    assert "could not be made; the server's log says why" in words(found["shares"])
    assert "could not be made" not in "".join(v for k, v in found.items() if k != "shares")


def test_the_log_is_read_to_its_end_each_request_once(journal: SqlJournal) -> None:
    fill(journal, ["a", "b"], [Stage([0.5, 0.5], 3 * PAGE + 7)], numbers([0, 0]))
    source = desk_of(journal)
    seen: list[str] = []
    before, pages = "", 0
    while pages < 10:
        text = requests(source, "", "", "", before)["html"]
        seen += re.findall(r'href="requests/([A-Za-z0-9_-]{48})"', text)
        pages += 1
        older = re.search(r"before=(\d+)", text)
        if not older:
            break
        before = older[1]
    assert (len(seen), len(set(seen))) == (3 * PAGE + 7, 3 * PAGE + 7)
    # Newest first.
    order = [journal.decision(_nonce(each)) for each in (seen[0], seen[-1])]
    assert order[0] is not None
    assert order[1] is not None
    assert order[0].decision.time_ms > order[1].decision.time_ms
    only_b = requests(source, "", "b", "", "")["html"]
    assert set(re.findall(r'<td class="text one">(\w+)', only_b)) == {"b"}
    assert "No requests of this kind yet" in words(requests(source, "", "", "failed", "")["html"])
    for odd in ("nonsense' OR 1=1", "\N{SUPERSCRIPT TWO}", "0", "9" * 200):
        assert "None" not in words(requests(source, "", "", "", odd)["html"])


def _nonce(request_id: str) -> bytes:
    from mlops.spec.request_id import read

    return read(KEY, request_id).nonce


def test_a_request_is_shown_before_its_revision_is_written(
    journal: SqlJournal, tmp_path: Path
) -> None:
    """A revision may be written later than what it answers."""
    fill(journal, ["a"], [Stage([1.0], 1)], numbers([0]))
    (found,) = re.findall(
        r'href="requests/([A-Za-z0-9_-]{48})"', requests(desk_of(journal), "", "", "", "")["html"]
    )
    with contextlib.closing(sqlite3.connect(tmp_path / "journal.db")) as database, database:
        database.execute("DELETE FROM revisions")
    assert "arm 0" in words(request(desk_of(journal), found)["html"])


def test_a_request_is_found_by_its_id_and_by_its_callers(journal: SqlJournal) -> None:
    fill(journal, ["a", "b"], [Stage([0.5, 0.5], 5)], numbers([0, 0]))
    kept = (b'["alcohol"]', b"[[9.4]]")
    own = Decision(
        nonce=b"n" * 12, time_ms=1_772_400_000_000, revision=1, arm=1, propensity=0.5, n_rows=1,
        latency_us=900, status=200, protocol="mlflow", client_id=HOSTILE, unit=None,
        features=b"\n".join(kept), predictions=[5.5], epoch=0, key_id=None,
    )  # fmt: skip
    journal.append([own], [])
    source = desk_of(journal)
    listed = requests(source, HOSTILE, "", "", "")["html"]
    (found,) = re.findall(r'href="requests/([A-Za-z0-9_-]{48})"', listed)
    assert found in requests(source, f"  {found} ", "", "", "")["html"]
    text = request(source, found)["html"]
    assert "alcohol 9.4" in words(text)
    assert "Answer 5.5" in words(text)
    assert "No feedback yet" in words(text)
    assert HOSTILE in words(text)
    assert "<img" not in listed + text
    assert "data-explain" in text
    text = request(source, found, explains=False)["html"]
    assert "data-explain" not in text
    assert "needs a key with the scope <code>score</code>" in text
    assert rows(source, found) == {"rows": [{"alcohol": 9.4}], "arm": "b"}
    with pytest.raises(NotFoundError, match="not a request id of this deployment"):
        request(source, "A" * 48)
    assert "No request with this id" in words(requests(source, "never", "", "", "")["html"])


NUMBERS = profile_feature(np.arange(1000) / 10)
GRAPES = profile_feature(["red"] * 60 + ["white"] * 40)


@pytest.mark.parametrize(
    ("profile", "cells", "count", "median"),
    [
        (NUMBERS, [50.0] * 10, 10, 50.0),
        (NUMBERS, [1e9, -1e9, *range(300)], 302, 149.5),
        (NUMBERS, [1e308, -1e308, 4], 1, 4.0),
        (None, [1e308, -1e308, 4], 1, 4.0),
        (NUMBERS, ["x", None, 3, True, 10**400], 2, 2.0),
        (NUMBERS, [float("nan"), float("inf"), 4], 1, 4.0),
        (NUMBERS, [], 0, None),
        (profile_feature([7.0] * 50), [7.0] * 5, 5, 7.0),
        (None, [1, 2, 3], 3, 2.0),
    ],
    ids=[
        "inside",
        "far outside",
        "overflow",
        "overflow alone",
        "texts among",
        "not finite",
        "none",
        "constant",
        "no profile",
    ],
)
def test_numbers_are_drawn_over_the_training_data(
    profile: Any, cells: list[Any], count: int, median: float | None
) -> None:
    drawn = draw(profile, cells)
    assert drawn is not None
    assert (drawn.count, drawn.medians[1]) == (count, median)
    assert bool(drawn.now) == (count > 0)
    assert bool(drawn.before) == (profile is not None)
    assert drawn.low < drawn.high
    # Within the square that they are drawn into.
    heights = [float(y) for y in re.findall(r"V(-?[0-9.]+)", drawn.before + drawn.now)]
    assert all(0 <= y <= 1000 for y in heights)
    # The highest bin of one of them reaches the top.
    assert min(heights) == 0


_DAYS = profile_feature([dt.datetime(2026, 5, 1 + n % 31, tzinfo=dt.UTC) for n in range(310)])


@pytest.mark.parametrize(
    ("profile", "cells", "count", "ends"),
    [
        (_DAYS, ["2026-05-20T10:00:00Z", "2026-05-20 10:00", "?", None], 2, ("05-01", "05-31")),
        (_DAYS, ["2026-04-01"] * 9, 9, ("2026-04-01", "2026-05-31")),
        (None, ["2026-05-20T10:00:00", "2026-05-20T10:00:30"], 2, ("10:00:00", "10:00:29")),
        (_DAYS, [1e300, "9999-01-01"], 0, ("2026-05-01 00:00", "2026-05-31 00:00")),
        (_DAYS, [-2.4e11, True, 1e12, 10**400], 0, ("2026-05-01 00:00", "2026-05-31 00:00")),
    ],
    ids=["within", "before", "no profile", "beyond", "numbers"],
)
def test_times_are_drawn_as_dates(
    profile: Any, cells: list[Any], count: int, ends: tuple[str, str]
) -> None:
    drawn = draw(profile, cells)
    assert drawn is not None
    assert drawn.count == count
    shown = [drawn.written(each) for each in (drawn.low, drawn.high)]
    assert all(end in text for end, text in zip(ends, shown, strict=True)), shown
    known = [drawn.written(each) for each in drawn.medians if each is not None]
    assert known
    assert all(text.startswith("2026-") for text in known)


@pytest.mark.parametrize(
    ("second", "day"), [(-62_135_596_800, "1-01-01"), (253_402_214_400, "9999-12-31")]
)
def test_the_first_and_last_times_are_drawn(second: int, day: str) -> None:
    drawn = draw(_DAYS, [second] * 9)
    assert drawn is not None
    assert drawn.count == 9
    assert drawn.written(drawn.medians[1]).endswith(day)
    axis = Drawn(low=second - 1e8, high=second + 1e8, are_times=True)
    assert day in (axis.written(axis.low)[-len(day) :], axis.written(axis.high)[-len(day) :])


def test_texts_that_are_not_all_times_are_categories() -> None:
    drawn = draw(None, ["2026-05-20", "soon"])
    assert drawn is not None
    assert len(drawn.bars) == 2


def test_categories_are_bars() -> None:
    drawn = draw(GRAPES, ["white"] * 3 + ["green"])
    assert drawn is not None
    assert drawn.bars == (Bar("red", 0.6, 0.0), Bar("white", 0.4, 0.75), Bar("green", 0.0, 0.25))
    many = profile_feature([str(n % 40) for n in range(4000)])
    drawn = draw(many, ["new"] * 9 + ["1"])
    assert drawn is not None
    assert [bar.name for bar in drawn.bars][-2:] == ["new", "others"]
    assert sum(bar.before for bar in drawn.bars) == pytest.approx(1)
    assert sum(bar.now for bar in drawn.bars) == pytest.approx(1)
    assert draw(profile_feature([True, False]), [True, None])
    assert draw(None, []) is None
    assert draw(None, [{"a": 1}, "b"]) is not None


def test_arms_are_explained_side_by_side() -> None:
    one = {
        "method": "linear", "output": "prediction", "base": 5.0, "errors": None, "class": None,
    }  # fmt: skip
    found = [
        {
            "a": {**one, "prediction": 5.5, "shares": {"alcohol": 0.5, "pH": 0.0}},
            "b": {**one, "prediction": 4.0, "shares": {"alcohol": -1.0, "pH": 0.0}},
        }
    ]
    text = words(explanation(desk_of(None), found)["html"])
    assert "alcohol +0.500 \N{MINUS SIGN}1.00 \N{MINUS SIGN}1.50" in text
    assert "Answer 5.50 4.00 \N{MINUS SIGN}1.50" in text
    # Of different outputs nothing is subtracted.
    found[0]["b"]["output"] = "log-odds"
    assert "Difference" not in words(explanation(desk_of(None), found)["html"])
    # Nor of different classes.
    for arm, name in (("a", "paid"), ("b", "late")):
        found[0][arm] |= {"output": f"score of class {name}", "class": name}
    text = words(explanation(desk_of(None), found)["html"])
    assert "Difference" not in text
    assert "b: linear, score of class late, exact" in text
