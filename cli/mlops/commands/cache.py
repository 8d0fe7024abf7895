"""`mlops cache`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from mlops.commands.arguments import DryRun
from mlops.commands.command_line import App
from mlops.commands.output import Json, age, in_bytes, show

if TYPE_CHECKING:
    from rich.console import Console

    from mlops.registry.cache import Cache, Cached, Removed

app = App(help="Models downloaded from a store: list, prune, clear.", no_args_is_help=True)


@app.command("list")
def list_cache(as_json: Json = False) -> None:
    """List the models in the cache, most recently used first."""
    from mlops.registry.cache import open_cache
    from mlops.settings import load_settings

    cache = open_cache(load_settings())
    models = cache.models()
    document = {
        "folder": cache.folder,
        "size": sum(model.size for model in models),
        "max_size": cache.max_bytes,
        "models": models,
    }
    show(document, as_json=as_json, render=lambda out: _render(out, cache, models))


@app.command()
def prune(dry_run: DryRun = False, as_json: Json = False) -> None:
    """Remove the least recently used models beyond `max_mb`, and broken downloads.

    What a running server uses stays, whatever its size.
    """
    _remove(everything=False, dry_run=dry_run, as_json=as_json)


@app.command()
def clear(dry_run: DryRun = False, as_json: Json = False) -> None:
    """Remove everything that no running server uses."""
    _remove(everything=True, dry_run=dry_run, as_json=as_json)


def _remove(*, everything: bool, dry_run: bool, as_json: bool) -> None:
    from mlops.registry.cache import open_cache
    from mlops.settings import load_settings

    removed = open_cache(load_settings()).prune(everything=everything, dry_run=dry_run)
    document = {
        "models": removed.models,
        "parts": removed.parts,
        "freed": removed.freed,
        "left": removed.left,
        "done": not dry_run,
    }
    show(document, as_json=as_json, render=lambda out: _render_removed(out, removed, dry_run))


def _render(out: Console, cache: Cache, models: Sequence[Cached]) -> None:
    from rich.table import Table

    size = sum(model.size for model in models)
    if models:
        table = Table(box=None, header_style="dim", padding=(0, 2, 0, 0))
        table.add_column("MODEL", no_wrap=True, style="bold")
        table.add_column("SIZE", justify="right", no_wrap=True)
        table.add_column("USED", no_wrap=True)
        table.add_column("FROM", overflow="fold")
        for model in models:
            used = "now" if model.in_use else age(model.used_ms)
            table.add_row(_short(model), in_bytes(model.size), used, "\n".join(model.sources))
        out.print(table)
    out.print(
        f"[dim]{len(models)} models, {in_bytes(size)} of at most {in_bytes(cache.max_bytes)}, "
        f"in {cache.folder}[/]",
        soft_wrap=True,
    )


def _render_removed(out: Console, removed: Removed, dry_run: bool) -> None:
    for model in removed.models:
        out.print(f"[red]-[/] {_short(model)}  {in_bytes(model.size)}")
    for part in removed.parts:
        out.print(f"[red]-[/] a download that was broken off  [dim]{part.name}[/]")
    says = "would be freed" if dry_run else "freed"
    out.print(f"{in_bytes(removed.freed)} {says}, {in_bytes(removed.left)} stay")


def _short(model: Cached) -> str:
    return model.digest.removeprefix("sha256:")[:12]
