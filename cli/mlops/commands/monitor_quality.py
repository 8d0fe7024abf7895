"""`mlops monitor quality` and `mlops monitor test-alert`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Annotated

import typer

from mlops.commands.arguments import Name
from mlops.commands.evidence_bars import e_value, spark
from mlops.commands.output import Json, moment, note, plain, plain_table, show

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from mlops.monitoring.powered_quality import PoweredMeasure
    from mlops.monitoring.quality_streams import QualityStream
    from mlops.monitoring.quality_watch import Judged
    from mlops.workflows.quality import FullQualityReport

#: Exit code of `--exit-code` with an alarm.
_WORSE = 18


def quality(
    name: Name = None,
    alpha: Annotated[
        float,
        typer.Option(
            min=0.0001, max=0.5, help="Probability of any alarm, ever, though nothing is worse."
        ),
    ] = 0.01,
    exit_code: Annotated[
        bool, typer.Option("--exit-code", help=f"Exit with 0 not worse, {_WORSE} worse.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Compare the live models' answers with the truth, and with their validation figures.

    Look as often as you like: the probability of a false alarm holds for all looks and arms.

    For example `mlops monitor quality wine`, or in CI: `mlops monitor quality --exit-code`.
    """
    from rich.markup import escape

    from mlops.settings import load_settings
    from mlops.workflows.quality import look_at_quality

    found = look_at_quality(load_settings(), name, alpha)
    for text in found.notes:
        note(escape(text))
    show(plain(found), as_json=as_json, render=lambda out: _render(out, found))
    if exit_code and found.worse:
        raise typer.Exit(_WORSE)


def _render(out: Console, found: FullQualityReport) -> None:
    from rich.markup import escape

    if found.worse:
        arms = ", ".join(f"`{escape(a)}`" for a in dict.fromkeys(each.arm for each in found.worse))
        first_ms = min(each.since_ms or 0 for each in found.worse)
        out.print(
            f"[red bold]Worse[/] than it should be: {arms}, first seen {moment(first_ms)}.",
            highlight=False,
        )
    elif any(each.rows for each in found.streams):
        out.print("[green]Not worse[/] than it should be, as far as can be told.")
    else:
        out.print("Nothing is judged yet.")
    for judged in found.judged:
        out.print(f"\n[bold]{escape(judged.arm)}[/]  [dim]{_judged(judged)}[/]", highlight=False)
        streams = [each for each in found.streams if each.arm == judged.arm]
        if streams:
            out.print(_table(streams, found.threshold))
        for each in streams:
            if each.why_not:
                out.print(f"[dim]{each.measure}: {each.why_not}[/]", highlight=False)
        for text in _all_answers([p for p in found.powered if p.arm == judged.arm], found.alpha):
            out.print(f"[dim]{text}[/]", highlight=False)
    out.print(
        f"\n[dim]A false alarm ever, in any row: at most {found.alpha * 100:.4g} %. An e-value of "
        f"{found.threshold:,.0f} is an alarm; `lately` is of the last 500 judged rows.[/]",
        highlight=False,
    )


def _judged(judged: Judged) -> str:
    if judged.up_to_ms is None:
        return f"none of {judged.answered:,} rows judged"
    return f"{judged.rows:,} of {judged.answered:,} rows judged, up to {moment(judged.up_to_ms)}"


def _all_answers(measures: Sequence[PoweredMeasure], alpha: float) -> Iterator[str]:
    from rich.markup import escape

    for why_not, some in groupby(measures, lambda each: each.why_not):
        if why_not:
            yield f"{', '.join(each.measure for each in some)} of all answers: {escape(why_not)}"
        else:
            yield from (_estimate(each, alpha) for each in some)


def _estimate(powered: PoweredMeasure, alpha: float) -> str:
    upper = "" if powered.upper is None else f" to {powered.upper:.3g}"
    at_least = "at least " if powered.upper is None else ""
    return (
        f"{powered.measure} of all {powered.rows:,} answers: {powered.value:.3g}, "
        f"{at_least}{powered.lower:.3g}{upper} ({100 * (1 - alpha):.4g} % confidence, labels at "
        "random)"
    )


def _table(streams: list[QualityStream], threshold: float) -> Table:

    table = plain_table()
    table.add_column("measure")
    for title in ("rows", "reference", "limit", "mean", "lately", "e-value"):
        table.add_column(title, justify="right")
    table.add_column("evidence")
    for each in streams:
        table.add_row(
            f"[red]{each.measure}[/]" if each.alarm else each.measure,
            f"{each.rows:,}",
            *(
                "-" if value is None else f"{value:.3g}"
                for value in (each.reference, each.limit, each.value, each.recent)
            ),
            e_value(each.e_value),
            spark(each.path, threshold),
        )
    return table


def test_alert() -> None:
    """Post a message to the webhook of alarms, to see whether it arrives.

    For example `mlops monitor test-alert`.
    """
    from mlops.settings import load_settings
    from mlops.workflows.alerting import send_test

    reference = send_test(load_settings())
    typer.echo(f"The webhook of `{reference}` took the message.")
