"""`mlops doctor`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from mlops.commands.output import Json, plain, show

if TYPE_CHECKING:
    from rich.console import Console

    from mlops.workflows.doctor import Check

Stores = Annotated[
    list[str] | None,
    typer.Option("--store", metavar="URI", help="Another store to check; repeatable."),
]


def doctor(store: Stores = None, as_json: Json = False) -> None:
    """Check versions, servers, stores, certificates, ports and cluster.

    Each store is really written to, read and cleaned up. The exit code is 0 unless something that
    is needed fails.

    For example `mlops doctor --store s3://bucket`.
    """
    from mlops.settings import load_settings
    from mlops.workflows.doctor import examine

    show_checks(examine(load_settings(), store or ()), as_json=as_json)


def show_checks(checks: Sequence[Check], *, as_json: bool) -> None:
    """Print checks, and exit with 1 if a required check failed."""
    from mlops.workflows.doctor import healthy

    well = healthy(checks)
    document = {"healthy": well, "checks": plain(checks)}
    show(document, as_json=as_json, render=lambda out: _render(out, checks))
    if not well:
        raise typer.Exit(1)


def _render(out: Console, checks: Sequence[Check]) -> None:
    from rich.text import Text

    marks = {
        "ok": ("✓", "green"),
        "warning": ("!", "yellow"),
        "failed": ("✗", "bold red"),
        "skipped": ("-", "dim"),
    }
    for check in checks:
        mark, style = marks[check.state]
        out.print(Text.assemble((mark, style), " ", (check.name, "bold"), f"  {check.message}"))
        if check.steps:
            times = "  ".join(f"{s.name} {s.duration_s * 1000:.0f} ms" for s in check.steps)
            out.print(Text(f"  {times}", style="dim"))
        if check.fix:
            out.print(Text.assemble(("  fix: ", "cyan"), check.fix))
