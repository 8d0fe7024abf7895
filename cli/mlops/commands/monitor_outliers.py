"""`mlops monitor outliers`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from mlops.commands.arguments import Name
from mlops.commands.output import Json, moment, note, plain, show

if TYPE_CHECKING:
    from rich.console import Console

    from mlops.workflows.outliers import OutlierReport


def outliers(
    name: Name = None,
    level: Annotated[
        float,
        typer.Option(min=0.0005, max=0.5, help="Share of undrifted rows that is flagged."),
    ] = 0.01,
    last: Annotated[
        int, typer.Option(min=1, metavar="N", help="Requests to look at, the newest.")
    ] = 10_000,
    most: Annotated[
        int, typer.Option("--limit", min=1, metavar="N", help="Rows to list, the most unusual.")
    ] = 20,
    as_json: Json = False,
) -> None:
    """List requests that are unlike what the live models were trained on.

    For example `mlops monitor outliers wine --level 0.002`.
    """
    from rich.markup import escape

    from mlops.settings import load_settings
    from mlops.workflows.outliers import look_for_outliers

    found = look_for_outliers(load_settings(), name, level, last, most)
    for text in found.notes:
        note(escape(text))
    show(plain(found), as_json=as_json, render=lambda out: _render(out, found))


def _render(out: Console, found: OutlierReport) -> None:
    from rich.markup import escape

    for each in found.arms:
        share = "-" if each.share is None else f"{100 * each.share:.2g} %"
        out.print(
            f"[bold]{escape(each.arm)}[/]  {each.flagged:,} of {each.rows:,} rows flagged, "
            f"{share}; of rows as in training {100 * found.level:.4g} %",
            highlight=False,
        )
    for row in found.outliers:
        what = ", ".join(f"{escape(k)} {escape(str(v))}" for k, v in row.features.items())
        out.print(
            f"\n[dim]{moment(row.time_ms)}[/]  p {row.p_value:.2g}  {escape(row.arm)}  {what}\n"
            f"  [dim]{row.request_id} row {row.row}[/]",
            highlight=False,
        )
