"""Tables of models: what `mlops models list` and `compare` print."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from mlops.registry.comparison import Comparison, MetricRow, Row
    from mlops.registry.gate import Gate
    from mlops.registry.models import Model, RegisteredVersion
    from mlops.registry.thresholds import Better

# Autologging gives a run twenty of each.
_PARAMETERS = 3
_METRICS = 4


def versions_table(out: Console, found: Sequence[RegisteredVersion], *, every: bool) -> None:
    """Print registered versions: metrics first, and the parameters that tell versions apart.

    Args:
        out: Where to.
        found: The versions.
        every: Whether all parameters and metrics are shown.
    """
    from rich.markup import escape

    if not found:
        out.print("Nothing is registered yet. `mlops train` registers what it trains.")
        return
    table = _table("MODEL", "ALIASES", "CREATED (UTC)", "METRICS", "PARAMETERS", style="dim")
    table.columns[0].no_wrap = table.columns[2].no_wrap = True
    cut = False
    for version in found:
        siblings = [each for each in found if each.name == version.name and each.run is not None]
        run = version.run
        metrics = {n: f"{v:.4g}" for n, v in run.metrics.items()} if run else {}
        params = _telling(run.params, [s.run.params for s in siblings if s.run]) if run else {}
        shown = [
            values if every else dict(list(values.items())[:most])
            for values, most in ((metrics, _METRICS), (params, _PARAMETERS))
        ]
        cut = cut or len(shown[0]) < len(metrics) or len(shown[1]) < len(params)
        table.add_row(
            f"[bold]{escape(version.label)}[/]",
            f"[cyan]{escape(chr(10).join(version.aliases))}[/]",
            version.created.strftime("%Y-%m-%d %H:%M"),
            *(escape(pairs(values)) for values in shown),
        )
    out.print(table, soft_wrap=False)
    if cut:
        out.print("[dim]Some parameters or metrics are left out; `--all` shows them.[/]")


def gate_tables(out: Console, found: Gate, *, every: bool) -> None:
    """Print a comparison, their metrics on the same rows, and how they were judged."""
    from rich.markup import escape

    _comparison(out, found.comparison, every=every)
    evaluation = found.evaluation
    if evaluation is not None:
        out.print(
            f"\nall on the same {evaluation.rows:,} rows of {escape(str(evaluation.data))}, "
            f"truth {escape(evaluation.target)}"
        )
        table = _table("", *_headings(found.comparison.models))
        for name in dict.fromkeys(name for each in evaluation.metrics for name in each):
            table.add_row(escape(name), *_cells(name, [m.get(name) for m in evaluation.metrics]))
        out.print(table, soft_wrap=False)
    for note in found.notes:
        out.print(f"[dim]note: {escape(note)}[/]")
    for each in found.judgements:
        mark = "[green]ok[/]" if each.passed else "[bold red]worse[/]"
        value = "no number" if each.value is None else f"{each.value:.6g}"
        out.print(
            f"{mark} {escape(each.candidate)} {escape(each.metric)} {value}, "
            f"allowed {each.allowed:.6g}, baseline {each.baseline:.6g}"
        )


def _comparison(out: Console, found: Comparison, *, every: bool) -> None:
    from rich.markup import escape

    table = _table("", *_headings(found.models))
    metrics: Sequence[MetricRow] = found.metrics
    for metric in metrics:
        table.add_row(escape(metric.name), *_cells(metric.name, metric.values))
    if metrics:
        table.add_section()
    rows = [(row.name, row) for row in found.params]
    rows += [(f"data {row.name}", row) for row in found.datasets]
    same = [name for name, row in rows if row.same]
    for name, row in rows:
        if every or not row.same:
            table.add_row(escape(name), *_values(row))
    out.print(table, soft_wrap=False)
    if same and not every:
        out.print(
            f"[dim]{len(same)} parameters or data sets are the same: {escape(_few(same))}. "
            "`--all` shows them.[/]"
        )


def _headings(models: Sequence[Model]) -> list[str]:
    """Name each model as users do, and mark the baseline."""
    return [
        " ".join([model.version.label, *(f"@{alias}" for alias in model.aliases)])
        + (" (baseline)" if index == 0 else "")
        for index, model in enumerate(models)
    ]


def _cells(metric: str, values: Sequence[float | None]) -> list[str]:
    from mlops.registry.thresholds import better_of

    base, best = values[0], _best(values, better_of(metric))
    cells = []
    for index, value in enumerate(values):
        if value is None:
            cells.append("-")
            continue
        gap = "" if index == 0 or base is None else f" ({value - base:+.4g})"
        cells.append(f"[green]{value:.4g}{gap}[/]" if value == best else f"{value:.4g}{gap}")
    return cells


def _best(values: Sequence[float | None], better: Better | None) -> float | None:
    """Return the best value, None if they are alike or it is not known which is better."""
    known = [value for value in values if value is not None]
    if better is None or len(set(known)) < 2:
        return None
    return min(known) if better == "lower" else max(known)


def _values(row: Row) -> list[str]:
    from rich.markup import escape

    style = "dim" if row.same else "yellow"
    # A backslash at its end would escape the closing tag.
    return [f"[{style}]{escape(value or '-')}[/]" for value in row.values]


def _telling(params: Mapping[str, str], siblings: Sequence[Mapping[str, str]]) -> dict[str, str]:
    """Return parameters, those first in which versions of one model differ."""
    differ = {name for name in params if len({each.get(name) for each in siblings}) > 1}
    return dict(sorted(params.items(), key=lambda item: (item[0] not in differ, item[0])))


def _table(*titles: str, style: str = "bold") -> Table:
    from rich.markup import escape
    from rich.table import Table

    table = Table(box=None, header_style=style, padding=(0, 2, 0, 0))
    for title in titles:
        right = style == "bold" and title != ""
        table.add_column(escape(title), justify="right" if right else "left", overflow="fold")
    return table


def pairs(values: Mapping[str, str]) -> str:
    """Write names and values in one line."""
    return " ".join(f"{name}={value}" for name, value in values.items())


def _few(names: Sequence[str], most: int = 3) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
