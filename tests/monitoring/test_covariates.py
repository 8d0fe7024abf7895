"""What was known before the draw: narrower intervals, and segments."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mlops.journal.features import features_of
from mlops.journal.records import Decision, NewOutcome, RevisionEvent
from mlops.journal.sql import SqlJournal
from mlops.monitoring.report import Report, ReportOptions, make_report
from mlops.monitoring.segments import segments_of
from mlops.protocols.base import Records
from mlops.spec.deployment import Revision, to_dict
from mlops.spec.server import Served, ServerState, write_state
from tests.fixtures_training import Cli
from tests.monitoring.journals import START_MS, spec_of
from tests.serving.server import make_launch

Draw = Callable[[np.random.Generator, dict[str, float | str], int], float]


def noisy(rng: np.random.Generator, row: dict[str, float | str], arm: int) -> float:
    """Spending follows age; `b` gains a little."""
    return 0.15 * arm + 2 * float(row["age"]) + float(rng.normal(0, 0.5))


def in_spain(rng: np.random.Generator, row: dict[str, float | str], arm: int) -> float:
    """`b` pleases in Spain alone."""
    return float(rng.normal(0.8 * arm * (row["country"] == "es"), 1.0))


def revision(
    journal: SqlJournal, number: int, names: list[str], start_ms: int, sticky: bool
) -> None:
    spec = spec_of(names, [1 / len(names)] * len(names), "given", "header:x" if sticky else "")
    journal.record([RevisionEvent(number, start_ms, "live", to_dict(spec))])


def write(
    journal: SqlJournal, draw: Draw, *, n: int = 4_000, seed: int = 5, sticky: bool = False
) -> None:
    """An experiment of a and b; sticky units were served by `old` before."""
    rng = np.random.default_rng(seed)
    ages = np.round(rng.normal(3, 1, n), 3)
    if sticky:
        revision(journal, 1, ["old"], START_MS, sticky)
        _serve(journal, rng, 1, START_MS, np.zeros(n // 2, dtype=int), ages, draw, sticky)
    number = 2 if sticky else 1
    revision(journal, number, ["a", "b"], START_MS + 10**6, sticky)
    arms = rng.integers(0, 2, n)
    _serve(journal, rng, number, START_MS + 10**6, arms, ages, draw, sticky)


def _serve(
    journal: SqlJournal,
    rng: np.random.Generator,
    number: int,
    start_ms: int,
    arms: np.ndarray[tuple[int], np.dtype[np.int64]],
    ages: np.ndarray[tuple[int], np.dtype[np.float64]],
    draw: Draw,
    sticky: bool,
) -> None:
    propensity = 0.5 if number == 2 or not sticky else 1.0
    decisions, outcomes = [], []
    for i, arm in enumerate(arms.tolist()):
        row: dict[str, float | str] = {
            "age": float(ages[i]), "country": str(rng.choice(["de", "es", "fr", "it"]))
        }  # fmt: skip
        nonce, time_ms = rng.bytes(11) + b"\0", start_ms + i
        decisions.append(
            Decision(
                nonce, time_ms, number, arm, propensity, 1, 900, 200, "mlflow",
                unit=i.to_bytes(12, "little") if sticky else None,
                features=features_of(Records([row]), "all") if i % 50 else None, predictions=[1.0],
            )
        )  # fmt: skip
        reward = draw(rng, row, arm)
        outcomes.append(NewOutcome(nonce, None, 0, time_ms, number, arm, propensity, reward, None))
    journal.append(decisions, outcomes)


@pytest.fixture
def journal(tmp_path: Path) -> SqlJournal:
    return SqlJournal(f"sqlite:///{tmp_path}/wine.db")


def report_by(journal: SqlJournal, by: str) -> Report:
    """Deploy once more, adjusted by this, at the time of the newest revision, and report."""
    event = journal.revision_events()[-1]
    assert event.spec is not None
    spec = {**event.spec, "analysis": {"adjust": by}}
    journal.record([replace(event, spec=spec)])
    return make_report(journal)


def width(report: Report) -> float:
    (found,) = report.comparisons
    return found.upper - found.lower


def test_a_feature_that_explains_the_reward_narrows_the_interval(journal: SqlJournal) -> None:
    write(journal, noisy)
    plain, less = (report_by(journal, by) for by in ("", "age"))
    assert (plain.verdict.decision, less.verdict.decision) == ("continue", "promote")
    assert less.comparisons[0].lower < 0.15 < less.comparisons[0].upper
    # 16 of 17 parts of the variance are age's; one row in fifty has none in the journal.
    assert width(less) < 0.45 * width(plain)
    assert "adjusted by `age`" in less.verdict.because
    assert less.arms == plain.arms


def test_a_units_own_history_does_too(journal: SqlJournal) -> None:
    write(journal, noisy, sticky=True)
    plain, less = (report_by(journal, by) for by in ("", "history"))
    assert plain.revisions == (2,)
    # Half of the units have one, which says 16 parts in 17.
    assert 0.6 < width(less) / width(plain) < 0.85
    assert less.comparisons[0].lower < 0.15 < less.comparisons[0].upper


def test_a_history_of_probabilities_by_position_is_known_by_its_classes(
    journal: SqlJournal,
) -> None:
    costs = (("good", "bad", 200.0), ("bad", "good", 5000.0))
    asked, told = [], []
    for number, names in ((1, ["old"]), (2, ["a", "b"])):
        start_ms, share = START_MS + number * 10**6, 1 / len(names)
        spec = replace(spec_of(names, [share] * len(names), "cost", "header:x"), costs=costs)
        document = {**to_dict(spec), "classes": {name: ["good", "bad"] for name in names}}
        journal.record([RevisionEvent(number, start_ms, "live", document)])
        for i in range(60):
            nonce, arm = bytes([number, i, *[7] * 10]), i % len(names)
            answer = [0.9, 0.1] if i % 5 else [0.2, 0.8]
            asked.append(
                Decision(nonce, start_ms + i, number, arm, share, 1, 900, 200, "mlflow",
                         unit=i.to_bytes(12, "little"), predictions=[answer])
            )  # fmt: skip
            truth = "good" if i % 3 else "bad"
            told.append(NewOutcome(nonce, None, 0, start_ms + i, number, arm, share, None, truth))
    journal.append(asked, told)
    found = report_by(journal, "history")
    assert not [note for note in found.notes if "not adjusted" in note]


def test_equal_arms_stay_equal(tmp_path: Path) -> None:
    for seed in range(8):
        journal = SqlJournal(f"sqlite:///{tmp_path}/{seed}.db")
        write(journal, lambda rng, row, _: noisy(rng, row, 0), n=800, seed=seed)
        assert report_by(journal, "age").verdict.decision == "continue"
        journal.close()


@pytest.mark.parametrize(
    ("by", "said"),
    [("size", "has a feature"), ("country", "no numbers"), ("history", "reward from before it")],
)
def test_what_cannot_be_adjusted_by_is_said(journal: SqlJournal, by: str, said: str) -> None:
    write(journal, noisy, n=60)
    plain, found = report_by(journal, ""), report_by(journal, by)
    assert any(f"not adjusted by `{by}`" in note and said in note for note in found.notes)
    assert found.comparisons == plain.comparisons


def test_the_segment_that_differs_is_listed_and_decides_nothing(journal: SqlJournal) -> None:
    write(journal, in_spain, n=6_000)
    report = make_report(journal, ReportOptions(segments="country"))
    assert {each.segment for each in report.segments} == {"de", "es", "fr", "it", "(unknown)"}
    assert [each.segment for each in report.segments if each.stands_out] == ["es"]
    spain = report.segments[0]
    assert spain.lower < 0.8 < spain.upper
    assert sum(each.n for each in report.segments) == 6_000
    assert report.verdict == make_report(journal).verdict


def test_many_numbers_are_quartiles() -> None:
    names = segments_of([*map(float, range(100)), None])
    assert names[0] == "up to 24.75"
    assert names[30] == "24.75 to 49.5"
    assert names[99] == "above 74.25"
    assert names[100] == "(unknown)"
    many = segments_of([*"abcdefghijklmnop", "a"])
    assert many[0] == "a"
    assert many.count("(others)") == 4


def test_the_table_of_segments(
    cli: Cli, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / ".mlops" / "run"
    folder.mkdir(parents=True)
    spec = spec_of(["a", "b"], [0.5, 0.5], "given", "")
    launch = make_launch(folder, Served(Revision(1, spec), ("/a", "/b")), port=1)
    write_state(ServerState(launch, 1, 1, 2, (), None), folder / "wine.json")
    journal = SqlJournal(launch.journal_url)
    write(journal, in_spain)
    journal.close()
    monkeypatch.setenv("COLUMNS", "80")
    assert cli(tmp_path, "report", "--segments", "country") == 0
    text = capsys.readouterr().out
    assert "listed, never a verdict" in text
    (spain,) = (line for line in text.splitlines() if line.startswith("es "))
    assert spain.endswith("*")
    assert len(spain) <= 80
    (france,) = (line for line in text.splitlines() if line.startswith("fr "))
    assert "*" not in france
    assert cli(tmp_path, "report", "--segments", "size") == 3
    assert "has a feature `size`" in " ".join(capsys.readouterr().err.split())
