"""How a deployment of this machine is shown."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlops.commands.output import is_quiet, next_steps, plain, show, with_known_digest

if TYPE_CHECKING:
    from rich.console import Console

    from mlops.deployment.local_revision import Deployed
    from mlops.deployment.local_target import LocalPlan


def show_plan(out: Console, planned: LocalPlan) -> None:
    """Say what will happen to a server of this machine."""
    from rich.text import Text

    plan = planned.plan
    words = {
        "create": "will be created",
        "update": "will be updated",
        "start": "is stopped and will be started",
        "nothing": "is up to date; nothing to change",
    }
    out.print(Text.assemble((plan.after.name, "bold"), " ", words[plan.kind]))
    styles = {"+": "green", "-": "red", "~": "yellow", " ": "dim"}
    for line in plan.lines:
        out.print(Text(f"  {line}", style=styles[line[0]]))
    for text in plan.notes if plan.kind != "nothing" else planned.restart:
        warns = "cannot" in text or text in planned.restart
        out.print(Text(f"  {text}", style="yellow" if warns else "dim"))
    if plan.kept and plan.kind != "nothing":
        out.print(Text(f"  kept: {', '.join(plan.kept)}  (--reset NAME undoes it)", style="dim"))
    for model in plan.after.models:
        if model.chosen_by:
            text = f"  {model.ref} is {model.label}: {model.chosen_by}"
            out.print(Text(text, style="dim"))


def show_unchanged(planned: LocalPlan, *, as_json: bool, whole: bool) -> None:
    """Show what a dry run found; a user has seen the plan already, unless notes are silenced."""
    show(
        {"plan": plain(planned.plan)},
        as_json=as_json,
        render=lambda out: show_plan(out, planned) if is_quiet() else None,
    )


def show_done(result: Deployed, *, as_json: bool, whole: bool) -> None:
    """Show the result of a deployment of this machine."""
    show(_document(result), as_json=as_json, render=lambda out: _render(out, result))


def _document(result: Deployed) -> dict[str, object]:
    """Return the result of a deployment of this machine, for scripts."""
    from mlops.deployment.curl_example import curl

    spec = result.plan.after
    models = [arm.name for arm in spec.arms] + [shadow.name for shadow in spec.shadows]
    return {
        "name": spec.name,
        "change": result.plan.kind,
        "revision": result.revision,
        "url": result.state.url,
        "grpc": result.state.grpc,
        "arms": [
            with_known_digest(plain(arm), result.contents.get(arm.name, "")) for arm in spec.arms
        ],
        "shadows": [with_known_digest(plain(shadow)) for shadow in spec.shadows],
        "reward": spec.reward,
        "warnings": result.plan.notes,
        "kept": result.plan.kept,
        "notes": dict(zip(models, result.state.notes, strict=False)),
        "runtimes": dict(zip([arm.name for arm in spec.arms], result.state.runtimes, strict=False)),
        "curl": curl(result.state),
        "monitoring": list(result.monitoring),
    }


def _render(out: Console, result: Deployed) -> None:
    """Show the result of a deployment of this machine."""
    from rich.markup import escape

    from mlops.commands.runtime_view import runtime_lines
    from mlops.deployment.curl_example import curl
    from mlops.deployment.runtime_files import deployment_name
    from mlops.rewards.sending import can_replay, feedback_commands
    from mlops.settings import load_settings
    from mlops.spec.ramp import describe_ramp

    spec, state = result.plan.after, result.state
    out.print(f"[bold green]{spec.name}[/] revision {result.revision} at [bold]{state.url}[/]")
    out.print(f"[dim]docs {state.url}/docs  metrics {state.url}/metrics[/]")
    if state.grpc:
        out.print(f"[dim]gRPC {state.grpc}[/]")
    executed = dict(zip([arm.name for arm in spec.arms], state.runtimes, strict=False))
    for line in () if is_quiet() else runtime_lines(executed):
        out.print(f"[dim]  {escape(line)}[/]")
    names = [arm.name for arm in spec.arms] + [shadow.name for shadow in spec.shadows]
    for name, notes in zip(names, state.notes, strict=True):
        for line in notes[:3]:
            out.print(f"[yellow]  {name}: {escape(line)}[/]")
    out.print(escape(curl(state)), soft_wrap=True)
    if spec.ramp:
        out.print(f"[dim]ramp {escape(describe_ramp(spec.ramp))}[/]")
    for path in result.monitoring:
        out.print(f"[dim]monitoring[/] {escape(path)}")
    # The project's own deployment is meant where none is named.
    settings = load_settings()
    name = "" if spec.name == deployment_name(settings) else f" {spec.name}"
    steps = ["mlops report"] if len(spec.arms) > 1 else ["mlops status"]
    if spec.ramp and not spec.ramp.auto:
        steps.append("mlops ramp")
    sending = []
    if len(spec.arms) > 1 and (settings.feedback.data or not can_replay(spec.reward)):
        sending = feedback_commands(spec.reward, name.strip())
    named = [f"{step}{name}" for step in steps]
    next_steps(out, [*sending, *named, f"mlops stop {spec.name}"])
