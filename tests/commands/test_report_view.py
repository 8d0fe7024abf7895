"""What `mlops report` prints on a terminal of 80 columns."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import pytest

from mlops.commands.ramp import _render as render_ramp
from mlops.commands.report_view import render
from mlops.commands.terminal import SafeConsole
from mlops.journal.sql import SqlJournal
from mlops.monitoring.report import Report, ReportOptions, make_report
from mlops.workflows.ramp import Ramped
from tests.monitoring.journals import Draw, Stage, fill, labels, numbers


def _report(
    tmp_path: Path,
    draw: Draw,
    names: Sequence[str] = "ab",
    *,
    n: int = 1500,
    actual: Sequence[float] | None = None,
    reward: str = "exact",
    baseline: str = "",
) -> Report:
    journal = SqlJournal(f"sqlite:///{tmp_path}/wine.db")
    weights = [1 / len(names)] * len(names)
    fill(journal, names, [Stage(weights, n, actual=actual)], draw, reward=reward)
    found = make_report(journal, ReportOptions(baseline=baseline))
    journal.close()
    return found


def _printed(found: Report) -> str:
    out = io.StringIO()
    console = SafeConsole(file=out, width=80, highlight=False, soft_wrap=True)
    render(console, found, "", "", has_data=False)
    text = out.getvalue()
    assert max(len(line.rstrip()) for line in text.splitlines()) <= 80
    return text


def _flat(text: str) -> str:
    return " ".join(text.replace("│", " ").split())


def test_the_verdict_comes_before_tables_and_plots(tmp_path: Path) -> None:
    text = _printed(_report(tmp_path, labels([0.6, 0.62])))
    lines = text.splitlines()
    assert "continue (not decided yet)" in lines[3]
    assert lines.index("b minus a mean reward, 95 % CI, however often you look") > 10
    # And once more in a line where the reader is at the end.
    assert lines[-1] == "continue: not decided yet; the reason is at the top"
    assert "by betting" in text
    assert "By betting: a difference is left out of the interval once bets" in _flat(text)
    assert "estimate (AIPW): the mean if the arm had answered every request" in _flat(text)


def test_each_of_many_arms_has_a_line_and_one_plot_has_all(tmp_path: Path) -> None:
    names = ["base", "stub", "big", "tuned"]
    found = _report(tmp_path, labels([0.6, 0.47, 0.6, 0.64]), names, n=1600)
    text = _printed(found)
    assert found.verdict.arm == "tuned"
    head = _flat(text.partition("╰")[0])
    assert "Not decided: `tuned` leads" in head
    assert "more requests with a reward" in head
    assert head.index("`tuned`: +") < head.index("`big`: ") < head.index("`stub`: -")
    assert "`stub`: -0" in head
    assert text.count("however often you look\n") == 1
    for name in names[1:]:
        (line,) = [line for line in text.splitlines() if line.strip().startswith(f"{name}  ")][-1:]
        assert "●" in line


def test_a_broken_split_has_its_counts_and_the_way_on(tmp_path: Path) -> None:
    found = _report(tmp_path, labels([0.6, 0.6]), n=2000, actual=(0.6, 0.4), baseline="b")
    assert found.sample_ratio is not None
    seen = found.sample_ratio.seen
    text = _flat(_printed(found))
    assert "invalid (the split of the traffic is broken)" in text
    assert f"Now `a` has {seen[0]:,} of 2,000 units, expected 1,000; `b` has {seen[1]:,}" in text
    assert "retries, clients that choose their arm" in text
    assert "p is the smallest so far" in text
    # Not the baseline of this look: that may be the challenger.
    assert "mlops promote wine --arm a --force" in text
    assert "Give names, split and policy again" in text
    assert "mlops deploy --name wine-2 --ab wine/1 wine/2" in text


def test_with_one_arm_nothing_is_said_of_winners(tmp_path: Path) -> None:
    text = _printed(_report(tmp_path, numbers([0.0]), "a", n=20))
    assert "continue (one arm)" in text
    assert "n = " not in text
    assert "winner" not in text


def test_few_outcomes_are_called_what_they_are(tmp_path: Path) -> None:
    text = _printed(_report(tmp_path, numbers([0.0, 0.0]), n=40, reward="squared-error"))
    assert "more outcomes" in text
    assert "no interval yet: too few outcomes" in text


@pytest.mark.parametrize("words", ["mlops promote wine", "mlops deploy --name wine"])
def test_a_ramp_that_is_withheld_is_no_dead_end(words: str) -> None:
    again = ('mlops promote wine --arm a --force "split was broken"',
             "mlops deploy --name wine --model wine/1 --canary wine/2=5 --ramp 5,100")  # fmt: skip
    found = Ramped("wine", "withheld", "Traffic did not follow.", 3, None, None, again)
    out = io.StringIO()
    render_ramp(SafeConsole(file=out, width=80), found, dry_run=False)
    said = _flat(out.getvalue())
    assert f"next: {words}" in said
    assert "hint: Find out what happens between the draw and the journal" in said
    assert "p is the smallest so far" in said
    assert "it stays invalid until one arm has had all traffic for more than a day" in said
