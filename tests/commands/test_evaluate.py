"""`mlops evaluate` on journals: policies, models, and what it refuses."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mlops.evaluation.agreement import agreement, evaluate_by_agreement
from mlops.evaluation.base import Evaluation
from mlops.evaluation.model_value import evaluate_model
from mlops.evaluation.policy_value import Learner, evaluate_policy, follow
from mlops.journal.records import Decision, LabelledRow, NewOutcome, RevisionEvent
from mlops.journal.sql import SqlJournal
from mlops.monitoring.evidence import Evidence, gather
from mlops.policies.base import Credit, State
from mlops.spec.deployment import Revision, to_dict
from mlops.spec.server import Served, ServerState, write_state
from tests.commands.schemas import fits
from tests.fixtures_training import Cli
from tests.monitoring.journals import START_MS, Stage, fill, labels, spec_of
from tests.serving.server import make_launch

Capture = pytest.CaptureFixture[str]
NAMES = ("a", "b")


def journal_of(project: Path, name: str) -> SqlJournal:
    folder = project / ".mlops" / "run"
    folder.mkdir(parents=True, exist_ok=True)
    served = Served(Revision(1, spec_of(NAMES, [0.5, 0.5], "", "")), ("/a", "/b"))
    launch = make_launch(folder, served, port=1)
    write_state(ServerState(launch, 1, 1, 2, (), None), folder / f"{name}.json")
    return SqlJournal(launch.journal_url)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project whose deployment has moved from 50/50 to 90/10."""
    journal = journal_of(tmp_path, "wine")
    stages = [Stage((0.5, 0.5), 1500), Stage((0.9, 0.1), 1500)]
    fill(journal, NAMES, stages, labels((0.6, 0.8)), reward="exact")
    journal.close()
    return tmp_path


def evaluated(cli: Cli, folder: Path, capsys: Capture, *words: str, code: int = 0) -> Any:
    assert cli(folder, "evaluate", *words, "--json") == code
    document = json.loads(capsys.readouterr().out)
    fits("evaluate", document)
    return document


def test_weights_that_were_never_live(cli: Cli, project: Path, capsys: Capture) -> None:
    found = evaluated(cli, project, capsys, "--policy", "a=0.25,b=0.75", "--on", "wine")
    assert (found["kind"], found["decisions"], found["used"]) == ("weights", 3000, 3000)
    assert [each["estimator"] for each in found["estimates"]] == [
        "IPS", "SNIPS", "DR", "SWITCH-DR", "DRos", "DR", "DR",
    ]  # fmt: skip
    # a is right in 60 %, b in 80 %; served was 70/30 on average.
    for each in found["estimates"]:
        assert each["lower"] < 0.75 < each["upper"], each
    assert found["served"]["value"] == pytest.approx(0.66, abs=0.03)
    (gain,) = found["gains"]
    assert gain["than"] == "served"
    assert all(0 < each["lower"] < 0.09 < each["upper"] for each in gain["estimates"])
    assert found["weights"]["plausible"]
    assert found["arms"][1]["share"] == pytest.approx(0.75)
    assert found["arms"][1]["logged"] == pytest.approx(0.3)


def test_a_policy_that_learns_meets_what_it_would_have_drawn(
    cli: Cli, project: Path, capsys: Capture
) -> None:
    found = evaluated(cli, project, capsys, "--policy", "thompson floor=0.05")
    assert found["kind"] == "learning"
    # It finds b, and keeps the floor.
    assert found["arms"][1]["share"] > 0.7
    for each in found["estimates"]:
        assert each["lower"] < 0.6 + 0.2 * found["arms"][1]["share"] < each["upper"], each
    assert any("followed through" in note for note in found["notes"])
    # Weights of rejection sampling stay below 1, so the sample is worth more than for `b` alone.
    assert found["effective"] > 500


def test_the_table_fits_eighty_columns(
    cli: Cli, project: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert cli(project, "evaluate", "--policy", "b=1", "--on", "wine") == 0
    text = capsys.readouterr().out
    table = [line for line in text.splitlines() if line.startswith(("evaluated", "gain", "served"))]
    assert len(table) == 10
    assert max(map(len, table)) <= 80
    assert "always, exact" in text


def test_no_estimate_below_the_effective_sample_size(
    cli: Cli, project: Path, capsys: Capture
) -> None:
    words = ("--policy", "b=1", "--min-effective", "2000")
    found = evaluated(cli, project, capsys, *words, code=11)
    assert (found["estimates"], found["gains"]) == ([], [])
    assert "below 2000" in found["refused"]
    assert cli(project, "evaluate", *words) == 11
    assert "No estimate" in capsys.readouterr().out


def test_propensities_that_are_not_true_are_noticed(
    cli: Cli, tmp_path: Path, capsys: Capture
) -> None:
    journal = journal_of(tmp_path, "wine")
    stage = Stage((0.5, 0.5), 2000, actual=(0.7, 0.3))
    fill(journal, NAMES, [stage], labels((0.6, 0.8)), reward="exact")
    journal.close()
    found = evaluated(cli, tmp_path, capsys, "--policy", "b=1", code=11)
    assert not found["weights"]["plausible"]
    assert "average 0.6" in found["refused"]


def test_an_arm_without_traffic_supports_nothing(cli: Cli, tmp_path: Path, capsys: Capture) -> None:
    journal = journal_of(tmp_path, "wine")
    stages = [Stage((0.5, 0.5), 1000), Stage((1.0, 0.0), 500)]
    fill(journal, NAMES, stages, labels((0.6, 0.8)), reward="exact")
    journal.close()
    found = evaluated(cli, tmp_path, capsys, "--policy", "a=0.5,b=0.5")
    assert (found["decisions"], found["used"]) == (1500, 1000)
    assert found["unsupported"] == [{"reason": "`b` got no traffic", "decisions": 500}]
    assert found["estimates"][0]["value"] == pytest.approx(0.7, abs=0.05)
    # What needs no b may use all.
    assert evaluated(cli, tmp_path, capsys, "--policy", "a=1")["used"] == 1500


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        ((), 2, "not both"),
        (("--policy", "b=1", "--min-effective", "inf"), 2, "finite"),
        (("--policy", "b=1", "--min-effective", "nan"), 2, "min-effective"),
        (("wine/1", "--policy", "thompson"), 2, "not both"),
        (("--policy", "a=0.5"), 2, "sum to 0.5"),
        (("--policy", "a=x,b=1"), 2, "not a weight"),
        (("--policy", "a=-1,b=2"), 2, "sum to 1"),
        (("--policy", "c=1"), 3, "no arm called `c`"),
        (("--policy", "thomson"), 3, "thompson"),
        (("--policy", "thompson floor=2"), 3, "floor"),
        (("--policy", "thompson", "--on", "nowhere"), 5, "nowhere"),
        (("./nothing",), 5, "nothing"),
    ],
)
def test_what_cannot_be_evaluated_is_said(
    cli: Cli, project: Path, capsys: Capture, words: tuple[str, ...], code: int, said: str
) -> None:
    assert cli(project, "evaluate", *words) == code
    assert said in " ".join(capsys.readouterr().err.split())


def test_what_was_learnt_offline_is_what_it_would_have_learnt(tmp_path: Path) -> None:
    # Through 2,000 requests of equal shares it goes through 1,100 of its own. One that is live
    # over so many draws the better arm in 91.7 % (60 runs, standard deviation 1.6 %).
    shares = []
    for seed in range(3):
        journal = SqlJournal(f"sqlite:///{tmp_path / f'{seed}.db'}")
        stage = [Stage((0.5, 0.5), 2000)]
        fill(journal, NAMES, stage, labels((0.4, 0.6)), reward="exact", seed=seed)
        evidence = gather(journal)
        found = evaluate_policy(
            evidence, "thompson floor=0.05", journal.rows_of, alpha=0.05, min_effective=10
        )
        journal.close()
        shares.append(found.arms[1].share or 0.0)
    assert np.mean(shares) == pytest.approx(0.917, abs=0.035)


class Recording:
    """A policy that learns only what it is told, and draws `a` alone."""

    learns = True

    def __init__(self) -> None:
        self.earned: list[Credit] = []

    def probabilities(self, context: object, state: State, /) -> Sequence[float]:
        return (1.0, 0.0)

    def update(self, state: State, earned: Sequence[Credit], /) -> State:
        self.earned += earned
        return state


def test_what_joins_was_drawn_by_the_policy(tmp_path: Path) -> None:
    # In the second half neither the log nor the policy draws `b`.
    with logged(tmp_path, [Stage((0.5, 0.5), 200), Stage((1.0, 0.0), 200)]) as journal:
        evidence = gather(journal)
    policy = Recording()
    followed = follow(evidence, Learner(policy, evidence))
    assert followed.seen.importance.tolist() == [0.5] * 200 + [1.0] * 200
    assert len(policy.earned) > 250
    assert {each.propensity for each in policy.earned} == {1.0}


# A model that is asked about labelled rows.


@contextlib.contextmanager
def logged(folder: Path, stages: list[Stage], **attribution: object) -> Iterator[SqlJournal]:
    journal = SqlJournal(f"sqlite:///{folder / 'rows.db'}")
    fill(journal, NAMES, stages, labels((0.6, 0.8)), reward="exact")
    if attribution:
        event = journal.revision_events()[-1]
        assert event.spec is not None
        journal.record([replace(event, spec={**event.spec, "attribution": attribution})])
    yield journal
    journal.close()


def rows_of(journal: SqlJournal) -> list[LabelledRow]:
    """All labelled rows, as if features had been kept."""
    return [
        LabelledRow(
            o.nonce, o.unit, {"x": 1.0}, o.truth, o.arm, o.propensity, o.revision,
            o.decided_ms or 0, o.time_ms, None, o.prediction,
        )
        for o in journal.observations(None)
    ]  # fmt: skip


def red(rows: Sequence[Any]) -> list[str]:
    return ["red"] * len(rows)


def valued(evidence: Evidence, rows: list[LabelledRow]) -> Evaluation:
    return evaluate_model(evidence, "m", rows, red, alpha=0.05, min_effective=100)


def test_the_gain_on_an_arm_is_of_the_time_when_it_had_traffic(tmp_path: Path) -> None:
    with logged(tmp_path, [Stage((0.5, 0.5), 1000), Stage((1.0, 0.0), 500)]) as journal:
        evidence, rows = gather(journal), rows_of(journal)
    whole = valued(evidence, rows)
    early = [row for row in rows if row.revision == 1]
    half = valued(evidence, early)
    assert [each.than for each in whole.gains] == ["served", "a", "b"]
    for found, right in zip(whole.gains[2].estimates, half.gains[2].estimates, strict=True):
        assert found.value == pytest.approx(right.value)
        assert found.upper - found.lower == pytest.approx(right.upper - right.lower, rel=1e-3)
    (left,) = whole.unsupported
    assert (left.decisions, left.reason.startswith("`b` got no traffic")) == (500, True)
    assert whole.used == 1500


def test_rows_count_as_in_a_report(tmp_path: Path) -> None:
    stages = [Stage((0.5, 0.5), 1000, rated=0.9)]
    with logged(tmp_path, stages, window_s=3600.0) as journal:
        evidence, rows = gather(journal), rows_of(journal)
    n = evidence.rewards.size
    assert 850 < n == len(rows) < 950
    # Corrected after the window; answered by another arm than the first time; forced; no features.
    late = [replace(row, time_ms=row.decided_ms + 3_600_001) for row in rows[:100]]
    moved = [replace(row, arm=1 - row.arm) for row in rows[100:150]]
    forced = [replace(row, propensity=0.0) for row in rows[150:160]]
    found = valued(evidence, [*late, *moved, *forced, *rows[200:]])
    assert (found.decisions, found.used) == (n, n - 200)
    assert [each.decisions for each in found.unsupported] == [200]
    assert found.served.value == pytest.approx(
        np.mean([row.served == row.truth for row in rows[200:]])
    )


# Rewards that came as numbers: a model counts where it answers as an arm does.


def rewarded(tmp_path: Path, n: int = 2000) -> SqlJournal:
    """A journal of two arms that answer "x > 0" and "x > 1", and are paid by x and answer."""
    rng = np.random.default_rng(5)
    journal = SqlJournal(f"sqlite:///{tmp_path / 'given.db'}")
    spec = spec_of(NAMES, [0.7, 0.3], "given", "")
    journal.record([RevisionEvent(1, START_MS, "started", to_dict(spec))])
    decisions, outcomes = [], []
    for at in range(n):
        x, arm = round(float(rng.uniform(-1, 3)), 3), int(rng.random() < 0.3)
        p, nonce, time_ms = (0.7, 0.3)[arm], rng.bytes(12), START_MS + 10_000 * at
        answer = "yes" if x > arm else "no"
        features = json.dumps(["x"]).encode() + b"\n" + json.dumps([[x]]).encode()
        decisions.append(
            Decision(nonce, time_ms, 1, arm, p, 1, 500, 200, "mlflow",
                     features=features, predictions=[answer])
        )  # fmt: skip
        paid = float(rng.normal(pay(x, answer), 0.1))
        outcomes.append(NewOutcome(nonce, None, 0, time_ms + 50, 1, arm, p, paid, None))
    journal.append(decisions, outcomes)
    return journal


def pay(x: float, answer: str) -> float:
    return x if answer == "yes" else 0.5


def above(least: float) -> Any:
    def ask(rows: Sequence[Any]) -> list[str]:
        return ["yes" if row["x"] > least else "no" for row in rows]

    return ask


def test_a_model_counts_where_an_arm_answers_as_it_does(tmp_path: Path) -> None:
    journal = rewarded(tmp_path)
    evidence = gather(journal)
    asks = [above(0.0), above(1.0)]
    # Between the two it answers as one of them does everywhere: full support, no bias.
    found = evaluate_by_agreement(
        evidence, journal, "m", above(0.5), asks, alpha=0.05, min_effective=100
    )
    # x is uniform in [-1, 3]: 0.5 up to 0.5, then x.
    truth = (1.5 * 0.5 + (3**2 - 0.5**2) / 2) / 4
    assert (found.used, found.unsupported) == (2000, ())
    for each in found.estimates:
        assert each.lower < truth < each.upper, each
    assert found.effective > 900
    # One that says no to all is supported only where an arm does.
    never = evaluate_by_agreement(
        evidence, journal, "m", above(9.0), asks, alpha=0.05, min_effective=100
    )
    assert never.unsupported[0].decisions == pytest.approx(1000, abs=100)
    assert never.estimates[1].value == pytest.approx(0.5, abs=0.02)
    assert never.estimates[2].lower < 0.5 < never.estimates[2].upper
    assert "what it would earn at the others is not known" in " ".join(never.notes)
    # One whose answers were never given has no support, and no estimate.
    none = evaluate_by_agreement(
        evidence, journal, "m", lambda rows: ["maybe"] * len(rows), asks,
        alpha=0.05, min_effective=100,
    )  # fmt: skip
    assert (none.estimates, none.used) == ((), 0)
    assert "No decision" in none.refused
    assert not none.notes
    agrees, known = agreement(evidence, journal, above(0.0), asks)
    assert known.all()
    assert agrees[:, 0].all()
    assert agrees[:, 1].mean() == pytest.approx(0.75, abs=0.03)
    journal.close()
