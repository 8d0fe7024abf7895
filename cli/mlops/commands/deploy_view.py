"""How a plan and its status are shown, whatever the target.

Each target has records of its own, and a module beside this one that shows them; records of another
package are shown as what `--json` prints of them.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

import typer

from mlops.commands.output import note, plain, show
from mlops.deployment.targets.contract import Talk

if TYPE_CHECKING:
    from mlops.commands.progress import TransferProgress

_VIEWS = {
    "LocalPlan": "local_view",
    "Deployed": "local_view",
    "ToApply": "cluster_view",
    "Applied": "cluster_view",
    "FilesPlan": "files_view",
    "Rendering": "files_view",
}


def talk_of(progress: TransferProgress) -> Talk:
    """Have a target show the user what it does, and what it is about to do."""

    def show_plan(plan: object) -> None:
        view = _view(plan)
        if hasattr(view, "show_plan"):
            view.show_plan(progress.console, plan)

    return Talk(progress.phase, progress.line, progress.update, show_plan)


def show_result(
    result: object, *, as_json: bool, dry_run: bool = False, whole: bool = False
) -> None:
    """Show the result of a deployment, or of a dry run.

    Args:
        result: What the target returned.
        as_json: Whether a script reads it.
        dry_run: Whether it is a plan.
        whole: Print rendered files, not only their names.
    """
    view = _view(result)
    if view is None:
        document = plain(result)
        show(document, as_json=as_json, render=lambda out: out.print_json(data=document))
    elif dry_run:
        view.show_unchanged(result, as_json=as_json, whole=whole)
    else:
        view.show_done(result, as_json=as_json, whole=whole)


def stay_with(result: object, *, foreground: bool) -> None:
    """Stay in the foreground with a server that was started there.

    Raises:
        typer.Exit: It has ended; with its exit code.
    """
    from mlops.deployment.local import stay

    process = getattr(result, "process", None)
    if process is not None:
        raise typer.Exit(stay(process))
    state = getattr(result, "state", None)
    if foreground and state is not None:
        name = state.launch.name
        note(
            f"[yellow]note:[/] `{name}` runs in the background already (process {state.pid}), so "
            f"`--foreground` has no effect.\n`mlops logs --follow {name}` shows its log; to run "
            f"it here, `mlops stop {name}` first."
        )


def _view(record: object) -> Any:  # noqa: ANN401 - a module
    name = _VIEWS.get(type(record).__name__)
    return import_module(f"mlops.commands.{name}") if name else None
