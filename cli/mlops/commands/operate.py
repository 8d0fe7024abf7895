"""`mlops status`, `mlops logs`, `mlops stop`: a deployment that runs, or does not."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from mlops.commands.arguments import Name
from mlops.commands.output import Json, age, next_steps, note, plain, show

if TYPE_CHECKING:
    from rich.console import Console

    from mlops.deployment.status import Status

_STYLES = {
    "running": "green",
    "starting": "yellow",
    "stopped": "dim",
    "crashed": "red",
    "unresponsive": "red",
}


def status(name: Name = None, as_json: Json = False) -> None:
    """Show what is deployed here and how it is doing."""
    from mlops.deployment.places import pick_name, places
    from mlops.deployment.status import status as one
    from mlops.deployment.status import statuses
    from mlops.settings import load_settings

    settings = load_settings()
    found = [one(places(settings, pick_name(settings, name)))] if name else statuses(settings)
    show({"deployments": plain(found)}, as_json=as_json, render=lambda out: _render(out, found))


def logs(
    name: Name = None,
    follow: Annotated[bool, typer.Option("-f", "--follow", help="Go on with new lines.")] = False,
    last: Annotated[int, typer.Option("-n", "--lines", min=0, help="Last lines to show.")] = 50,
) -> None:
    """Print a server's log."""
    from mlops.deployment.places import pick_name, places
    from mlops.deployment.status import log_lines
    from mlops.settings import load_settings

    settings = load_settings()
    for line in log_lines(places(settings, pick_name(settings, name)), last=last, follow=follow):
        sys.stdout.write(line)
        sys.stdout.flush()


def stop(name: Name = None, as_json: Json = False) -> None:
    """Stop a server; what it was and all evidence stay."""
    from mlops.deployment.local import stop as stop_server
    from mlops.deployment.places import pick_name, places
    from mlops.settings import load_settings

    settings = load_settings()
    picked = pick_name(settings, name)
    ran = stop_server(places(settings, picked))
    if not as_json:
        note(f"[bold]{picked}[/] {'stopped' if ran else 'was not running; nothing to change'}")
    show({"name": picked, "stopped": ran}, as_json=as_json)


def _render(out: Console, found: list[Status]) -> None:
    from rich.markup import escape
    from rich.table import Table

    if not found:
        out.print("Nothing is deployed here yet.")
        next_steps(out, ["mlops deploy --ab modelA modelB"])
        return
    for each in found:
        style = _STYLES[each.state]
        since = f"started {age(each.since_ms)}" if each.state != "stopped" else age(each.since_ms)
        out.print(
            f"[bold]{each.name}[/] [{style}]{each.state}[/]  {since}  revision "
            f"{each.revision}  {each.url}{f'  pid {each.pid}' if each.pid else ''}"
        )
        if each.arms:
            table = Table(box=None, padding=(0, 2), header_style="dim")
            table.add_column("arm")
            table.add_column("model")
            for title in ("weight", "requests", "errors", "rewards"):
                table.add_column(title, justify="right")
            for arm in each.arms:
                table.add_row(
                    escape(arm["name"]),
                    escape(arm["version"]),
                    f"{arm['weight'] * 100:.4g} %",
                    f"{arm['requests']:,}",
                    f"{arm['errors']:,}",
                    f"{arm['rewards']:,}",
                )
            out.print(table)
            for arm in each.arms:
                if arm.get("up") is False:
                    out.print(f"[red]  the endpoint of {escape(arm['name'])} does not answer[/]")
        for shadow in each.shadows:
            out.print(
                f"  [dim]shadow[/] {escape(shadow['name'])}  {escape(shadow['version'])}  "
                f"{shadow['share'] * 100:.4g} %  {shadow['requests']:,} copies, "
                f"{shadow['errors']:,} errors, {shadow['dropped']:,} dropped"
            )
        for text in each.warnings:
            out.print(f"[yellow]note: {escape(text)}[/]")
        if each.state == "crashed":
            next_steps(out, [f"mlops logs {each.name}"])
            out.print("      its `mlops deploy`, repeated, starts it again", markup=False)
