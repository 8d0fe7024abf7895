"""A ramp whose split was broken: what stays of it, and how it begins again."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from mlops.journal.records import RevisionEvent
from mlops.journal.sql import SqlJournal
from mlops.monitoring.ramp import look_at_ramp
from mlops.monitoring.report import make_report
from mlops.monitoring.report_json import read_report, report_document
from mlops.monitoring.split_words import ramp_again
from mlops.monitoring.verdict_text import in_words
from mlops.spec.deployment import from_dict, to_dict
from mlops.spec.ramp import Ramp
from tests.monitoring.journals import spec_of
from tests.monitoring.ramp_journal import GUARDRAILS, PLAN, Step, fill, through_json


@pytest.fixture
def journal(tmp_path: Path) -> SqlJournal:
    return SqlJournal(f"sqlite:///{tmp_path}/wine.db")


@pytest.mark.parametrize("guardrails", [GUARDRAILS, [("reward", 0.2)]])
def test_a_mismatch_of_an_earlier_try_is_over(
    journal: SqlJournal, tmp_path: Path, guardrails: Sequence[tuple[str, float]]
) -> None:
    """With guardrails of requests each unit is known, without only counts are."""
    tries = [Step(5.0, 6_000, actual=12.0), Step(2.0, 10, ramp=False), Step(5.0, 6_000)]
    end = fill(journal, tries[:1], guardrails=guardrails)
    assert look_at_ramp(journal, now_ms=end).decision == "withhold"
    again = SqlJournal(f"sqlite:///{tmp_path}/again.db")
    found = look_at_ramp(again, now_ms=fill(again, tries, guardrails=guardrails))
    assert found.sample_ratio > 0.05
    assert found.decision == "advance"


def test_traffic_that_does_not_follow_the_weights_moves_nothing(journal: SqlJournal) -> None:
    end = fill(journal, [Step(5.0, 6_000, actual=12.0, errors=(0.01, 0.3))])
    found = look_at_ramp(journal, now_ms=end)
    assert found.decision == "withhold"
    assert "sample ratio mismatch" in found.reason
    assert (sum(found.seen), found.expected) == (6_000, (5_700, 300))
    assert f"`b` has {found.seen[1]}, expected 300." in found.reason
    assert through_json(found) == found
    # What a report says of it.
    report = make_report(journal, now_ms=end)
    assert report.verdict.decision == "invalid"
    assert f"`b` has {found.seen[1]}, expected 300." in report.verdict.reason
    for command in ramp_again(spec_of(["a", "b"], [0.95, 0.05], "given", ""), PLAN):
        assert f"`{command}`" in report.verdict.hints[-1]
    assert read_report(json.loads(json.dumps(report_document(report)))) == report


@pytest.mark.parametrize("guardrails", [GUARDRAILS, [("reward", 0.2)]])
@pytest.mark.parametrize("before", [[], [Step(25.0, 500)]])
def test_a_mismatch_stays_one_when_later_traffic_makes_up_for_it(
    journal: SqlJournal, guardrails: Sequence[tuple[str, float]], before: Sequence[Step]
) -> None:
    """With guardrails of requests each unit is known, without only counts are."""
    broken = Step(5.0, 6_000, actual=8.0, later=2.0)
    end = fill(journal, [*before, broken], guardrails=guardrails)
    found = look_at_ramp(journal, now_ms=end)
    assert abs(found.seen[1] - found.expected[1]) < 20
    assert (found.decision, found.sample_ratio < 1e-6) == ("withhold", True)


def test_a_report_says_what_beginning_a_ramp_again_does_not_change(journal: SqlJournal) -> None:
    tries = [Step(5.0), Step(25.0, actual=32.0), Step(5.0, 6_000)]
    end = fill(journal, tries)
    assert look_at_ramp(journal, now_ms=end).decision == "advance"
    report = make_report(journal, now_ms=end)
    assert report.verdict.decision == "invalid"
    said = report.verdict.hints[-1]
    assert "stays invalid until one arm has had all traffic for more than a day" in said
    assert "mlops deploy --name wine-2 --model wine/1 --canary wine/2=5 --ramp 5,25,100" in said
    assert in_words(report).then.endswith(said)
    # It does: with a day and a bit on one arm, what came before is over.
    last = [event for event in journal.revision_events() if event.spec][-1]
    assert last.spec is not None
    spec = from_dict(last.spec)
    later = end + 90_000_000
    journal.record([RevisionEvent(4, end, "live", to_dict(spec.only("a")))])
    journal.record([RevisionEvent(5, later, "live", last.spec)])
    assert make_report(journal, now_ms=later).verdict.decision == "continue"


def test_a_ramp_begins_again_with_its_first_step() -> None:
    plan = Ramp((5.0, 25.0, 100.0), every_s=600.0, advance="unless-worse", auto=True)
    spec = replace(spec_of(["a", "b"], [0.95, 0.05], "given", ""), ramp=plan)
    deploy = (
        "mlops deploy --name wine --model wine/1 --canary wine/2=5 --ramp 5,25,100 --every 10m "
        "--advance unless-worse --auto"
    )
    # At the first step the same deploy would change nothing.
    back = 'mlops promote wine --arm a --force "split was broken"'
    assert ramp_again(spec, plan) == (back, deploy)
    assert ramp_again(spec.with_share(0.25), plan) == (deploy,)
    # The project's own plan fills what is not given, and may be another.
    careful = replace(plan, advance="not-worse", auto=False)
    assert ramp_again(spec, careful)[-1].endswith(" --advance not-worse --no-auto")
