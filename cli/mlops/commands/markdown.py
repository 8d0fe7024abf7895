"""Results as Markdown, for the summary of a CI job or a comment."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mlops.monitoring.report import Report
    from mlops.registry.gate import Gate


def table(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    r"""Return a table as lines; the first column is text, the others are numbers.

    >>> print("\n".join(table(["", "a|b"], [["rmse", "1"]])))
    |  | a\|b |
    |:--|--:|
    | rmse | 1 |
    """
    lines = [_row(titles), "|:--|" + "--:|" * (len(titles) - 1)]
    return lines + [_row(row) for row in rows]


def gate_markdown(found: Gate) -> str:
    """Return a comparison of models, the verdict of its limits first."""
    models = found.comparison.models
    head = {None: "Comparison", True: "Passed", False: "Failed"}[found.passed]
    lines = [f"### {head}: {' against '.join(_labels(found))}", ""]
    for each in found.judgements:
        value = "no number" if each.value is None else f"{each.value:.6g}"
        lines.append(
            f"- {'✅' if each.passed else '❌'} `{each.candidate}` {_text(each.metric)} {value}, "
            f"allowed {each.allowed:.6g}, baseline {each.baseline:.6g}"
        )
    lines += [f"- {_text(note)}" for note in found.notes]
    if found.evaluation is not None:
        metrics = found.evaluation.metrics
        lines += ["", f"On the same {found.evaluation.rows:,} rows of `{found.evaluation.data}`:"]
    else:
        runs = [model.run for model in models]
        metrics = tuple(dict(run.metrics) if run else {} for run in runs)
        lines += ["", "As their runs logged it:"]
    names = sorted({name for values in metrics for name in values})
    rows = [[name, *(_number(values.get(name)) for values in metrics)] for name in names]
    titles = ["", *(f"`{model.version.label}`" for model in models)]
    lines += ["", *table(titles, rows)]
    changed = [row for row in found.comparison.params if not row.same]
    if changed:
        lines += ["", "Parameters that differ:", ""]
        lines += table(
            titles, [[row.name, *(value or "-" for value in row.values)] for row in changed]
        )
    return "\n".join(lines) + "\n"


def report_markdown(found: Report) -> str:
    """Return a report: the verdict, its reasons, and the arms."""
    verdict = found.verdict
    head = "finished" if found.finished else verdict.decision
    winner = f": `{verdict.winner}`" if verdict.winner else ""
    lines = [f"### {found.name}: **{head}**{winner}", "", _text(verdict.reason), ""]
    titles = ["arm", "model", "requests", "errors", "n", "mean reward"]
    lines += table(
        titles,
        [
            [
                arm.name,
                arm.version,
                f"{arm.requests:,}",
                f"{arm.errors:,}",
                f"{arm.n:,}",
                _number(arm.mean),
            ]
            for arm in found.arms
        ],
    )
    shut = [gate.text for gate in found.gates if not gate.passed]
    lines += ["", *(f"- {_text(text)}" for text in (*shut, *verdict.hints, *found.notes))]
    lines.append(
        f"- n = {verdict.n:,}; a false winner in at most {100 * verdict.alpha:.3g} % of tests, "
        "however often you look"
    )
    return "\n".join(lines) + "\n"


def _labels(found: Gate) -> list[str]:
    labels = [f"`{model.version.label}`" for model in found.comparison.models]
    return [", ".join(labels[1:]), labels[0]] if len(labels) > 1 else labels


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(_text(cell) for cell in cells)} |"


def _text(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ").replace("<", "&lt;")


def _number(value: float | None) -> str:
    return "-" if value is None or not math.isfinite(value) else f"{value:.4g}"
