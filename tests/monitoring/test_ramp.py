"""A look at a canary's ramp, from the journal to the decision."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from mlops.consumers.base import Batch, Context
from mlops.errors import ConflictError, NotFoundError
from mlops.journal.records import Decision, NewOutcome, RevisionEvent
from mlops.journal.sql import SqlJournal
from mlops.monitoring.ramp import MIN_UNITS, RampLook, decide, look_at_ramp
from mlops.monitoring.report_json import finite, read_record
from mlops.monitoring.verdict_metric import verdict_json
from mlops.spec.analysis import Analysis
from mlops.spec.deployment import to_dict
from mlops.spec.ramp import Ramp
from mlops.workflows.auto_ramp import AutoRamp
from tests.monitoring.journals import START_MS, spec_of

_MINUTE_MS = 60_000
_STEPS = (5.0, 25.0, 100.0)
_GUARDRAILS = (("errors", 0.06), ("latency_p95_ms", 60.0))


@dataclass(frozen=True)
class Step:
    """One revision of a ramp.

    Attributes:
        percent: Share of the canary.
        n: Requests.
        errors: Share that fail, of the baseline and of the canary.
        slower_ms: How much slower the canary is.
        actual: Share of the canary that was really drawn, if another; per cent.
        ramp: Whether the revision has the ramp.
    """

    percent: float
    n: int = 3_000
    errors: tuple[float, float] = (0.01, 0.01)
    slower_ms: float = 0.0
    actual: float | None = None
    ramp: bool = True


def fill(
    journal: SqlJournal,
    steps: Sequence[Step],
    *,
    sticky: int = 0,
    advance: str = "not-worse",
    guardrails: Sequence[tuple[str, float]] = _GUARDRAILS,
    seed: int = 5,
) -> int:
    """Write a ramp into a journal, ten minutes each; return when it ends."""
    rng = np.random.default_rng(seed)
    now_ms, before = START_MS, 0
    plan = Ramp(_STEPS, every_s=300.0, advance=advance, auto=True)  # type: ignore[arg-type]
    units: dict[int, int] = {}
    for number, step in enumerate(steps, start=1):
        share = step.percent / 100
        spec = spec_of(["a", "b"], [1 - share, share], "given", "header:u" if sticky else "")
        spec = replace(
            spec,
            ramp=plan if step.ramp else None,
            analysis=Analysis(guardrails=tuple(guardrails)),
        )
        journal.record([RevisionEvent(number, now_ms, "live", to_dict(spec))])
        decisions, outcomes = [], []
        for i in range(step.n):
            unit = int(rng.integers(sticky)) if sticky else before + i
            drawn = int(rng.random() < (step.actual or step.percent) / 100)
            arm = units.setdefault(unit, drawn)
            failed = rng.random() < step.errors[arm]
            latency = rng.lognormal(3.5, 0.5) + step.slower_ms * arm
            nonce, time_ms = rng.bytes(12), now_ms + 10 * _MINUTE_MS * i // step.n
            propensity = (1 - share, share)[arm]
            decisions.append(
                Decision(
                    nonce, time_ms, number, arm, propensity, 1, int(1000 * latency),
                    500 if failed else 200, "mlflow",
                    unit=unit.to_bytes(8, "big") if sticky else None,
                )
            )  # fmt: skip
            reward = float(rng.random() < 0.5)
            outcomes.append(
                NewOutcome(nonce, None, 0, time_ms, number, arm, propensity, reward, None)
            )
        journal.append(decisions, outcomes)
        before, now_ms = before + step.n, now_ms + 10 * _MINUTE_MS
    return now_ms


@pytest.fixture
def journal(tmp_path: Path) -> SqlJournal:
    return SqlJournal(f"sqlite:///{tmp_path}/wine.db")


def test_a_good_canary_goes_on_when_its_time_is_over(journal: SqlJournal) -> None:
    end = fill(journal, [Step(5.0, 6_000)])
    early = look_at_ramp(journal, now_ms=START_MS + 4 * _MINUTE_MS)
    assert (early.decision, early.next_percent) == ("wait", 25.0)
    assert "lasts until 2026-03-01 08:05:00 UTC" in early.reason
    late = look_at_ramp(journal, now_ms=end)
    assert (late.decision, late.percent, late.next_percent) == ("advance", 5.0, 25.0)
    assert [each.state for each in late.guardrails] == ["passes", "passes"]
    assert late.units == sum(t.drawn for t in journal.traffic() if t.arm == 1)
    assert late.due_ms - late.since_ms == 5 * _MINUTE_MS


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
    found = look_at_ramp(journal, now_ms=START_MS + _MINUTE_MS)
    assert found.decision == "roll back", found
    assert found.evidence >= 20
    states = {each.name: each.state for each in found.guardrails}
    assert states.pop(metric) == "fails"
    assert "fails" not in states.values()
    assert f"Guardrail `{metric}`: `b` - `a` = +" in found.reason
    assert "20 is enough" in found.reason


def test_what_breaks_under_more_load_is_found(journal: SqlJournal) -> None:
    end = fill(journal, [Step(5.0, 9_000), Step(25.0, 600, errors=(0.01, 0.2))])
    assert look_at_ramp(journal, now_ms=end).decision == "roll back"


def test_an_earlier_try_does_not_count(journal: SqlJournal) -> None:
    bad = Step(5.0, errors=(0.01, 0.3))
    end = fill(journal, [bad, Step(5.0, 6_000)])
    assert look_at_ramp(journal, now_ms=end).decision == "advance"


def test_a_split_before_the_ramp_does_not_count(journal: SqlJournal) -> None:
    end = fill(journal, [Step(2.0, errors=(0.0, 0.5), ramp=False), Step(5.0, 6_000)])
    assert look_at_ramp(journal, now_ms=end).decision == "advance"


def test_traffic_that_does_not_follow_the_weights_moves_nothing(journal: SqlJournal) -> None:
    end = fill(journal, [Step(5.0, 6_000, actual=12.0, errors=(0.01, 0.3))])
    found = look_at_ramp(journal, now_ms=end)
    assert found.decision == "withhold"
    assert "sample ratio mismatch" in found.reason


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


def _through_json(look: RampLook) -> RampLook:
    found: RampLook = read_record(RampLook, json.loads(json.dumps(finite(asdict(look)))))
    return found


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
    journal: SqlJournal, step: Step, result: int, guardrails: int
) -> None:
    fill(journal, [step])
    document = json.loads(verdict_json(journal, alpha=0.05, baseline="", live=True))
    assert (document["result"], document["guardrails"]) == (result, guardrails)
    assert (document["ramp"] is not None) == step.ramp
    if step.ramp:
        look = look_at_ramp(journal)
        again = _through_json(look)
        assert (again.decision, again.evidence) == (look.decision, look.evidence)


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
