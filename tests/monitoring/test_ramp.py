"""A look at a canary's ramp, from the journal to the decision."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from mlops.consumers.base import Batch, Context
from mlops.deployment.request import RAMP_GUARDRAILS
from mlops.errors import ConflictError, NotFoundError
from mlops.journal.records import RevisionEvent
from mlops.journal.sql import SqlJournal
from mlops.monitoring.evidence import gather
from mlops.monitoring.guardrails import GuardrailReport
from mlops.monitoring.ramp import MIN_UNITS, decide, look_at_ramp
from mlops.monitoring.report import make_report
from mlops.monitoring.verdict_metric import of_report, verdict_json
from mlops.spec.deployment import from_dict, to_dict
from mlops.spec.ramp import Ramp
from mlops.stats.guardrail import State
from mlops.workflows.auto_ramp import AutoRamp, run_mlops
from tests.monitoring.journals import START_MS, spec_of
from tests.monitoring.ramp_journal import (
    MINUTE_MS,
    STEPS,
    Step,
    fill,
    through_json,
)


@pytest.fixture
def journal(tmp_path: Path) -> SqlJournal:
    return SqlJournal(f"sqlite:///{tmp_path}/wine.db")


def test_a_good_canary_goes_on_when_its_time_is_over(journal: SqlJournal) -> None:
    end = fill(journal, [Step(5.0, 6_000)])
    early = look_at_ramp(journal, now_ms=START_MS + 4 * MINUTE_MS)
    assert (early.decision, early.next_percent) == ("wait", 25.0)
    assert "cannot end before 2026-03-01 08:05:00 UTC" in early.reason
    late = look_at_ramp(journal, now_ms=end)
    assert (late.decision, late.percent, late.next_percent) == ("advance", 5.0, 25.0)
    assert [each.state for each in late.guardrails] == ["passes", "passes"]
    assert late.units == sum(t.drawn for t in journal.traffic() if t.arm == 1)
    assert late.due_ms - late.since_ms == 5 * MINUTE_MS


def test_the_last_step_finishes(journal: SqlJournal) -> None:
    found = look_at_ramp(journal, now_ms=fill(journal, [Step(5.0), Step(25.0)]))
    assert (found.decision, found.percent, found.next_percent) == ("finish", 25.0, 100.0)


@pytest.mark.parametrize(
    ("trouble", "metric"),
    [
        ({"errors": (0.01, 0.15)}, "errors"),
        ({"slower_ms": 80.0}, "latency_p95_ms"),
    ],
)
@pytest.mark.parametrize("sticky", [0, 2_000])
def test_a_bad_canary_is_rolled_back_before_its_time(
    journal: SqlJournal, trouble: dict[str, object], metric: str, sticky: int
) -> None:
    fill(journal, [Step(5.0, 6_000, **trouble)], sticky=sticky)  # type: ignore[arg-type]
    found = look_at_ramp(journal, now_ms=START_MS + MINUTE_MS)
    assert found.decision == "roll back", found
    assert found.evidence >= 20
    states = {each.name: each.state for each in found.guardrails}
    assert states.pop(metric) == "fails"
    assert "fails" not in states.values()
    assert f"Guardrail `{metric}`: `b` - `a` = +" in found.reason
    assert "20 is enough" in found.reason


@pytest.mark.parametrize(("status", "metric"), [(500, "errors"), (400, "refusals")])
def test_a_canary_that_answers_nothing_is_rolled_back_without_declared_guardrails(
    journal: SqlJournal, status: int, metric: str
) -> None:
    broken = Step(5.0, 400, errors=(0.05, 1.0), status=status)
    end = fill(journal, [broken], guardrails=RAMP_GUARDRAILS)
    found = look_at_ramp(journal, now_ms=end)
    assert found.decision == "roll back"
    assert f"Guardrail `{metric}`" in found.reason


def test_refusals_that_both_have_do_not_hold_up_a_ramp_without_declared_guardrails(
    journal: SqlJournal,
) -> None:
    usual = Step(5.0, 30_000, errors=(0.01, 0.01), status=400)
    end = fill(journal, [usual], guardrails=RAMP_GUARDRAILS)
    assert look_at_ramp(journal, now_ms=end).decision == "advance"


def test_what_breaks_under_more_load_is_found(journal: SqlJournal) -> None:
    end = fill(journal, [Step(5.0, 9_000), Step(25.0, 600, errors=(0.01, 0.2))])
    assert look_at_ramp(journal, now_ms=end).decision == "roll back"


def test_an_earlier_try_does_not_count(journal: SqlJournal) -> None:
    bad = Step(5.0, errors=(0.01, 0.3))
    end = fill(journal, [bad, Step(5.0, 6_000)])
    assert look_at_ramp(journal, now_ms=end).decision == "advance"


def _guardrail(name: str, state: State, evidence: float) -> GuardrailReport:
    return GuardrailReport(
        name, "b", "a", 900, 0.1, 0.05, 0.15, 0.01, state, evidence, levels=(0.11, 0.01)
    )


def test_a_kept_guardrail_with_the_largest_evidence_is_no_reason(journal: SqlJournal) -> None:
    end = fill(journal, [Step(5.0, 100)])
    found = replace(
        look_at_ramp(journal, now_ms=end),
        evidence=5e4,
        guardrails=(
            _guardrail("latency_p95_ms", "passes", 1e30),
            _guardrail("errors", "open", 1e5),
        ),
    )
    found = decide(found, Ramp(STEPS))
    assert found.decision == "roll back"
    assert [each.state for each in found.guardrails] == ["passes", "fails"]
    assert "Guardrail `errors`" in found.reason


def test_a_step_that_the_server_never_took_changes_nothing(journal: SqlJournal) -> None:
    end = fill(journal, [Step(5.0, 6_000), Step(25.0, 2_000)])
    before = look_at_ramp(journal, now_ms=end)
    live = [event for event in journal.revision_events() if event.spec][-1]
    assert live.spec is not None
    taken = replace(from_dict(live.spec), arms=from_dict(live.spec).with_share(0.5).arms)
    journal.record([RevisionEvent(3, end, "live", to_dict(taken))])
    journal.record([RevisionEvent(2, end + 1, "started", live.spec)])
    after = look_at_ramp(journal, now_ms=end + 2)
    assert (after.since_ms, after.evidence) == (before.since_ms, before.evidence)
    assert after.guardrails == before.guardrails


def test_a_horizon_is_not_for_a_ramp(journal: SqlJournal, tmp_path: Path) -> None:
    reward, plain = [("reward", 0.2)], SqlJournal(f"sqlite:///{tmp_path}/plain.db")
    end = fill(plain, [Step(25.0, 2_000)], guardrails=reward)
    fill(journal, [Step(25.0, 2_000)], guardrails=reward, horizon=2_000)
    looks = [look_at_ramp(each, now_ms=end) for each in (plain, journal)]
    assert looks[0].guardrails == looks[1].guardrails


def test_a_latency_of_a_sticky_unit_stays_as_it_was_when_it_came(journal: SqlJournal) -> None:
    fill(journal, [Step(25.0, 3_000)], sticky=500)
    asked = gather(journal).everybody
    assert asked is not None
    firsts: dict[bytes | None, float] = {}
    for each in journal.drawn_requests([1]):
        firsts.setdefault(each.unit, each.latency_us / 1000)
    assert sorted(firsts.values()) == sorted(asked.first_latency_ms.tolist())
    assert not np.allclose(asked.first_latency_ms, asked.latency_ms)


def test_a_split_before_the_ramp_does_not_count(journal: SqlJournal) -> None:
    end = fill(journal, [Step(2.0, errors=(0.0, 0.5), ramp=False), Step(5.0, 6_000)])
    assert look_at_ramp(journal, now_ms=end).decision == "advance"


@pytest.mark.parametrize(
    ("advance", "decision"), [("not-worse", "wait"), ("unless-worse", "advance")]
)
def test_what_is_not_known_is_waited_for_or_not(
    journal: SqlJournal, advance: str, decision: str
) -> None:
    end = fill(journal, [Step(5.0, 1_200)], advance=advance)
    found = look_at_ramp(journal, now_ms=end)
    assert found.decision == decision
    assert found.units >= MIN_UNITS
    if decision == "wait":
        assert "not shown yet to keep the margin" in found.reason


def test_all_traffic_needs_all_guardrails(journal: SqlJournal) -> None:
    end = fill(journal, [Step(25.0, 300)], advance="unless-worse")
    assert look_at_ramp(journal, now_ms=end).decision == "wait"


def test_a_step_without_traffic_does_not_end(journal: SqlJournal) -> None:
    end = fill(journal, [Step(5.0, 6_000), Step(25.0, 20)])
    found = look_at_ramp(journal, now_ms=end)
    assert found.decision == "wait"
    assert f"of the {MIN_UNITS} requests" in found.reason


def test_a_ramp_below_100_leaves_the_rest_to_the_verdict(journal: SqlJournal) -> None:
    end = fill(journal, [Step(25.0, 4_000)])
    found = replace(look_at_ramp(journal, now_ms=end), next_percent=None)
    assert decide(found, Ramp((25.0,))).decision == "done"


def test_a_reward_is_a_guardrail_too(journal: SqlJournal) -> None:
    end = fill(journal, [Step(25.0, 4_000)], guardrails=[("reward", 0.2), ("latency_ms", 30.0)])
    found = look_at_ramp(journal, now_ms=end)
    assert {each.name: each.state for each in found.guardrails} == {
        "reward": "passes", "latency_ms": "passes",
    }  # fmt: skip
    assert found.decision == "finish"


def test_what_has_no_ramp_says_so(journal: SqlJournal) -> None:
    with pytest.raises(NotFoundError):
        look_at_ramp(journal)
    fill(journal, [Step(5.0, 10, ramp=False)])
    with pytest.raises(ConflictError, match="has no ramp"):
        look_at_ramp(journal)


@pytest.mark.parametrize(
    ("step", "result", "guardrails"),
    [
        (Step(25.0, 4_000), 1, 1),
        (Step(25.0, 4_000, errors=(0.01, 0.2)), -1, -1),
        (Step(25.0, 100), 0, 0),
        (Step(25.0, 3_000, ramp=False), 0, 1),
        (Step(25.0, 3_000, errors=(0.01, 0.2), ramp=False), -1, -1),
    ],
)
def test_a_controller_reads_numbers(
    journal: SqlJournal,
    monkeypatch: pytest.MonkeyPatch,
    step: Step,
    result: int,
    guardrails: int,
) -> None:
    end = fill(journal, [step])
    monkeypatch.setattr(time, "time_ns", lambda: 1_000_000 * end)
    document = json.loads(verdict_json(journal, alpha=0.05, baseline="", live=True))
    assert (document["result"], document["guardrails"]) == (result, guardrails)
    assert (document["ramp"] is not None) == step.ramp
    if step.ramp:
        look = look_at_ramp(journal)
        again = through_json(look)
        assert (again.decision, again.evidence) == (look.decision, look.evidence)


@pytest.mark.parametrize(
    ("live", "model", "result"),
    # The canary got all traffic, also under another name; the baseline has it again; another
    # model has it, also under the canary's name.
    [("b", "b", 1), ("best", "b", 1), ("a", "a", -1), ("c", "c", -1), ("b", "c", -1)],
)
def test_a_controller_is_told_that_a_ramp_is_over(
    journal: SqlJournal, live: str, model: str, result: int
) -> None:
    end = fill(journal, [Step(25.0, 100)])
    asked = partial(verdict_json, journal, alpha=0.05, baseline="", live=True)
    assert json.loads(asked())["finished"] is None
    arms = {each.name: each for each in spec_of(["a", "b", "c"], [1.0] * 3, "given", "").arms}
    alone = spec_of([live], [1.0], "given", "")
    alone = replace(alone, arms=(replace(alone.arms[0], model=arms[model].model),))
    journal.record([RevisionEvent(2, end, "live", to_dict(alone))])
    document = json.loads(asked())
    assert (document["result"], document["ramp"]) == (result, None)
    report = make_report(journal)
    assert report.finished is not None
    assert document["finished"] == asdict(report.finished)
    assert (document["finished"]["arm"], document["finished"]["revision"]) == (live, 2)

    # It stays, whatever is deployed alone later.
    for number, name in enumerate("abc", 3):
        later = replace(alone, arms=(replace(arms[name], weight=1.0),))
        journal.record([RevisionEvent(number, end + number, "live", to_dict(later))])
        document = json.loads(asked())
        assert (document["result"], document["finished"]["arm"]) == (result, name)


@pytest.mark.parametrize(
    ("winner", "states", "kept"),
    [
        ("c", {"b": "fails", "c": "passes"}, 1),
        (None, {"b": "fails", "c": "open"}, 0),
        (None, {"b": "fails", "c": "fails"}, -1),
        (None, {"b": "fails", "c": "passes"}, 1),
        (None, {}, 0),
    ],
)
def test_of_several_canaries_the_winner_counts(
    journal: SqlJournal, winner: str | None, states: dict[str, State], kept: int
) -> None:
    fill(journal, [Step(25.0, 10, ramp=False)])
    found = make_report(journal, now_ms=START_MS + 1)
    found = replace(
        found,
        verdict=replace(found.verdict, winner=winner),
        guardrails=tuple(
            replace(_guardrail("errors", state, 1.0), arm=arm) for arm, state in states.items()
        ),
    )
    assert of_report(found)["guardrails"] == kept


@pytest.mark.parametrize(
    ("step", "moves"),
    [
        (Step(25.0, 300, errors=(0.0, 0.5)), True),
        (Step(25.0, 20), False),
        (Step(25.0, 300, errors=(0.0, 0.5), ramp=False), False),
    ],
)
def test_beside_the_server_it_is_moved_by_the_command(
    journal: SqlJournal, step: Step, moves: bool
) -> None:
    fill(journal, [step])
    asked: list[Sequence[str]] = []
    answers = [(6, '{"error": {"message": "MLflow is away."}}', ""), (1, "", "Killed"), (0, "", "")]

    def run(words: Sequence[str]) -> tuple[int, str, str]:
        asked.append(words)
        return answers[len(asked) - 1]

    now = [0.0]
    consumer = AutoRamp(Context("wine", journal, {}), run=run, clock=lambda: now[0])
    nothing, warnings = Batch(journal.decisions(0, 0, 1), []), []
    for now[0] in (0.0, 1.0, 10.0, 20.0):
        warnings.append(consumer.consume(nothing).warning)
    # It does not look again at once.
    assert warnings.pop(1) == warnings[0]
    assert asked == [["ramp", "wine", "--exit-zero", "--json"]] * (3 if moves else 0)
    if moves:
        said = "`mlops ramp wine` failed, and is tried again: "
        assert warnings == [f"{said}MLflow is away.", f"{said}Killed", ""]
    else:
        assert warnings == ["", "", ""]


def test_files_of_the_project_are_no_modules_of_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mlops.py").write_text("raise SystemExit('the wrong one')")
    monkeypatch.chdir(tmp_path)
    code, out, errors = run_mlops(["--version"])
    assert (code, "the wrong one" in out + errors) == (0, False)
