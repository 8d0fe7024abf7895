"""`mlops monitor`."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated

import typer

from mlops.commands.arguments import Name
from mlops.commands.command_line import App
from mlops.commands.evidence_bars import e_value, spark
from mlops.commands.monitor_outliers import outliers
from mlops.commands.monitor_quality import quality, test_alert
from mlops.commands.output import Json, moment, note, plain, plain_table, show

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.console import Console
    from rich.table import Table

    from mlops.monitoring.drift import DriftReport
    from mlops.monitoring.drift_streams import Stream

_HELP = "Watch a deployment: do requests drift from the training data, do answers get worse?"
#: Exit code of `--exit-code` with an alarm.
_DRIFTED = 17
_NAMED = 10
#: By custom, an e-value from which there is some evidence.
_SOME = 20.0
# Customary words for a population stability index.
_SMALL, _LARGE = 0.1, 0.25

app = App(help=_HELP, no_args_is_help=True)


@app.callback()
def _monitor() -> None:
    """Watch a deployment: do requests drift from the training data, do answers get worse?"""


@app.command("drift")
def drift(
    name: Name = None,
    alpha: Annotated[
        float,
        typer.Option(
            min=0.0001, max=0.5, help="Probability of any alarm, ever, where nothing drifts."
        ),
    ] = 0.01,
    every: Annotated[
        bool, typer.Option("--all", help="Show every feature, also those without evidence.")
    ] = False,
    exit_code: Annotated[
        bool, typer.Option("--exit-code", help=f"Exit with 0 no drift, {_DRIFTED} drift.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Compare requests and answers with the training data of the live models.

    Look as often as you like: the probability of a false alarm holds for all looks, features and
    arms together.

    For example `mlops monitor drift wine`, or in CI: `mlops monitor drift --exit-code`.
    """
    from rich.markup import escape

    from mlops.commands.progress import PhaseProgress
    from mlops.settings import load_settings
    from mlops.workflows.drift import look_for_drift

    with PhaseProgress() as progress:
        found = look_for_drift(
            load_settings(),
            name,
            alpha,
            on_progress=lambda count: progress.phase(f"Read {count:,} requests"),
        )
    for text in found.notes:
        note(escape(text))
    show(plain(found), as_json=as_json, render=lambda out: _render(out, found, every=every))
    if exit_code and found.drifted:
        raise typer.Exit(_DRIFTED)


def _render(out: Console, found: DriftReport, *, every: bool) -> None:
    from rich.markup import escape

    drifted = found.drifted
    if drifted:
        by_evidence = sorted(drifted, key=lambda each: -each.e_value)
        names = [f"`{escape(name)}`" for name in dict.fromkeys(e.feature for e in by_evidence)]
        # One more takes no more room than to say so.
        named = len(names) if len(names) <= _NAMED + 1 else _NAMED
        more = f" and {len(names) - named} more, marked below" if len(names) > named else ""
        first_ms = min(each.since_ms or 0 for each in drifted)
        listed = ", ".join(names[:named])
        out.print(
            f"[red bold]Drift[/] in {listed}{more}, first seen {moment(first_ms)}.",
            highlight=False,
        )
    else:
        out.print("[green]No drift[/] was found.")
    left_out = f"; {found.left_out:,} rows left out: a unit counts once a day"
    out.print(
        f"[dim]{found.requests:,} requests to `{escape(found.name)}`, revision {found.revision}"
        f"{left_out if found.left_out else ''}[/]",
        highlight=False,
    )
    for arm in dict.fromkeys(each.arm for each in found.streams):
        streams = [each for each in found.streams if each.arm == arm]
        shown = [each for each in streams if each.rows and (every or _is_telling(each))]
        shown.sort(key=lambda each: (not each.alarm, -each.e_value if each.alarm else 0.0))
        out.print(f"\n[bold]{escape(arm)}[/]")
        if shown:
            out.print(_table(shown, found.threshold))
        if any(each.against != "training" for each in shown):
            out.print("[dim]* compared with its first 1,000 values, not with training data[/]")
        for line in _rest([each for each in streams if each not in shown]):
            out.print(f"[dim]{escape(line)}[/]", highlight=False)
    out.print(
        f"\n[dim]A false alarm ever, in any row: at most {found.alpha * 100:.4g} %. An e-value of "
        f"{found.threshold:,.0f} is an alarm; PSI is how far the last 3,000 values moved.[/]",
        highlight=False,
    )


def _is_telling(stream: Stream) -> bool:
    """Whether there is something to see: an alarm, evidence on its way to one, a strange value."""
    return stream.alarm or stream.e_value >= _SOME or bool(_remark(stream))


def _rest(streams: list[Stream]) -> Iterator[str]:
    """Say what is not shown: what is quiet, and what was not compared, and why."""
    quiet = [each for each in streams if each.rows]
    if quiet:
        most = max(each.e_value for each in quiet)
        count = "1 feature" if len(quiet) == 1 else f"{len(quiet)} features or statistics"
        yield f"{count} without an alarm, e-values up to {e_value(most)}: `--all` shows them"
    unknown = [each for each in streams if not each.rows]
    none = [each for each in unknown if not each.why_not and each.against == "training"]
    if none:
        yield f"not compared, as the journal has no values of them: {_named(none)}"
    first = [each for each in unknown if not each.why_not and each.against != "training"]
    if first:
        yield f"compared once there are 1,000 values to compare with: {_named(first)}"
    yield from (f"{each.feature}: {each.why_not}" for each in unknown if each.why_not)


def _named(streams: list[Stream]) -> str:
    names = [each.feature for each in streams]
    named = len(names) if len(names) <= _NAMED + 1 else _NAMED
    more = f" and {len(names) - named} more" if len(names) > named else ""
    return ", ".join(names[:named]) + more


def _table(streams: list[Stream], threshold: float) -> Table:
    from rich.markup import escape

    table = plain_table()
    table.add_column("feature")
    for title in ("rows", "PSI", "missing", "e-value"):
        table.add_column(title, justify="right")
    table.add_column("evidence")
    table.add_column("")
    for each in streams:
        # What is not known as yet says so below.
        mark = " *" if each.against != "training" and not each.why_not else ""
        name = f"{escape(each.feature)}{mark}"
        table.add_row(
            f"[red]{name}[/]" if each.alarm else name,
            f"{each.rows:,}",
            _psi(each.psi),
            _missing(each),
            e_value(each.e_value),
            spark(each.path, threshold),
            _remark(each),
        )
    return table


def _psi(value: float) -> str:
    if math.isnan(value):
        return "-"
    style = "red" if value >= _LARGE else "yellow" if value >= _SMALL else "none"
    return f"[{style}]{value:.2f}[/]"


def _missing(stream: Stream) -> str:
    if math.isnan(stream.missing) or not (stream.missing or stream.missing_before):
        return "-"
    return f"{100 * stream.missing:.2g} % ({100 * stream.missing_before:.2g} %)"


def _remark(stream: Stream) -> str:
    from rich.markup import escape

    said = ["[red]alarm[/]"] if stream.alarm else []
    if stream.unseen:
        said.append("new: " + ", ".join(escape(text) for text, _ in stream.unseen[:2]))
    if stream.strange:
        said.append(f"{stream.strange:,} of another type")
    return "; ".join(said)


app.command("outliers")(outliers)
app.command("quality")(quality)
app.command("test-alert")(test_alert)
