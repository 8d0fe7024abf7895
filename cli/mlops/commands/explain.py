"""`mlops explain`."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated

import typer

from mlops.commands.output import Json, plain, show
from mlops.errors import UsageError

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from mlops.workflows.explain import ArmExplained, Explained

_SHOWN_ROWS = 3
_SHOWN_FEATURES = 15


def explain(
    ref: Annotated[
        str | None,
        typer.Argument(
            metavar="NAME|REF", help="A deployment, or a model.", show_default="the only deployment"
        ),
    ] = None,
    request_id: Annotated[
        str, typer.Option(metavar="ID", help="A request that was answered.", show_default=False)
    ] = "",
    data: Annotated[
        str, typer.Option(metavar="FILE", help="Rows, at most 100, instead.", show_default=False)
    ] = "",
    background: Annotated[
        str,
        typer.Option(
            metavar="FILE", show_default="the newest requests, or the input example",
            help="Rows that the shares count from.",
        ),
    ] = "",
    permutations: Annotated[
        bool, typer.Option("--permutations", help="Sample, also where shares could be exact.")
    ] = False,
    output: Annotated[
        str,
        typer.Option(
            metavar="NAME", show_default="the first",
            help="Output to explain, by name or position, of a model that answers several.",
        ),
    ] = "",
    as_json: Json = False,
) -> None:  # fmt: skip
    """Say by how much each feature moves an answer, and why arms answer differently.

    For example `mlops explain wine --request-id ID`, or `mlops explain wine/3 --data rows.csv`.
    """
    from mlops.settings import load_settings
    from mlops.workflows.explain import explained

    if bool(request_id) == bool(data):
        raise UsageError("Name what is to be explained: `--request-id ID` or `--data FILE`.")
    found = explained(
        load_settings(), ref, request_id=request_id, data=data, background=background,
        by_permutations=permutations, output=output,
    )  # fmt: skip
    show(plain(found), as_json=as_json, render=lambda out: _render(out, found))


def _render(out: Console, found: Explained) -> None:
    from rich.markup import escape

    out.print(
        f"[bold]{escape(found.of)}[/]  [dim]shares count from the mean over "
        f"{found.background_rows} rows: {escape(found.background)}[/]"
    )
    if found.note:
        out.print(f"[yellow]note: {escape(found.note)}[/]", soft_wrap=True)
    for arm in found.arms:
        error = "exact" if arm.exact else "sampled, ± standard error"
        served = ", answered this request" if arm.served else ""
        out.print(
            f"  {escape(arm.arm)}: {escape(arm.output)}, {error} ({arm.method}){served}",
            soft_wrap=True,
        )
    for row in range(min(len(found.rows), _SHOWN_ROWS)):
        out.print()
        for text in _meant(found, row):
            out.print(f"[dim]{escape(text)}[/]", soft_wrap=True)
        out.print(_table(found, row))
    if len(found.rows) > _SHOWN_ROWS:
        out.print(f"[dim]and {len(found.rows) - _SHOWN_ROWS} more rows; `--json` has all[/]")
    if len(found.arms) > 1 and not found.comparable:
        out.print("[dim]the outputs of the arms differ in kind, so no difference is shown[/]")


def _meant(found: Explained, row: int) -> list[str]:
    """Say what is explained of a row, where it is not the same of all rows."""
    if all(len(set(arm.explained)) == 1 for arm in found.arms):
        return []
    if len({arm.explained[row] for arm in found.arms}) == 1:
        return [found.arms[0].explained[row]]
    return [f"{arm.arm}: {arm.explained[row]}" for arm in found.arms]


def _table(found: Explained, row: int) -> Table:
    from rich.markup import escape
    from rich.table import Table

    two = len(found.arms) == 2 and found.comparable
    table = Table(box=None, padding=(0, 2), header_style="dim")
    table.add_column("feature")
    table.add_column("value", justify="right")
    for arm in found.arms:
        table.add_column(escape(arm.arm), justify="right")
    if two:
        table.add_column("difference", justify="right")
    names = _largest(found, row)
    for name in names[:_SHOWN_FEATURES]:
        cells = [_share(arm, row, name) for arm in found.arms]
        more = [f"{_gap(found, row, name):+.4g}"] if two else []
        table.add_row(escape(name), _cell(found.rows[row][name]), *cells, *more)
    rest = names[_SHOWN_FEATURES:]
    if rest:
        sums = [sum(arm.shares[row][name] for name in rest) for arm in found.arms]
        more = [f"{sums[1] - sums[0]:+.4g}"] if two else []
        table.add_row(f"{len(rest)} more", "", *(f"{each:+.4g}" for each in sums), *more)
    for title, values in (
        ("base", [arm.base[row] for arm in found.arms]),
        ("answer", [arm.outputs[row] for arm in found.arms]),
    ):
        more = [f"{values[1] - values[0]:+.4g}"] if two else []
        table.add_row(f"[bold]{title}[/]", "", *(f"{each:.6g}" for each in values), *more)
    return table


def _largest(found: Explained, row: int) -> list[str]:
    """Return the features in the order of their largest share."""
    names = list(found.arms[0].shares[row])

    def size(name: str) -> float:
        if len(found.arms) == 2 and found.comparable:
            return abs(_gap(found, row, name))
        return max(abs(arm.shares[row].get(name, 0.0)) for arm in found.arms)

    return sorted(names, key=size, reverse=True)


def _gap(found: Explained, row: int, name: str) -> float:
    first, second = (arm.shares[row].get(name, 0.0) for arm in found.arms)
    return second - first


def _share(arm: ArmExplained, row: int, name: str) -> str:
    if name not in arm.shares[row]:
        return "-"
    error = f" ± {arm.errors[row][name]:.2g}" if arm.errors is not None else ""
    return f"{arm.shares[row][name]:+.4g}{error}"


def _cell(value: object) -> str:
    from rich.markup import escape

    if isinstance(value, float):
        return f"{value:.6g}"
    return escape(value if isinstance(value, str) else json.dumps(plain(value)))
