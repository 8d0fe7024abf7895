"""`mlops lint`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from mlops.commands.output import Json, plain, show

if TYPE_CHECKING:
    from rich.console import Console

    from mlops.deployment.linting import LintReport
    from mlops.linting import Finding

_STYLES = {"error": "bold red", "warning": "yellow", "note": "cyan"}
_PLATFORM = (
    "Version of a platform in the cluster, such as kserve=0.21, seldon=1.18.2, seldon2=2.10, "
    "gateway-api=1.2."
)


def lint(
    paths: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="FILE|DIR|-…", help="Manifests, rendered by mlops or not.", show_default=False
        ),
    ] = None,
    platform: Annotated[
        list[str] | None, typer.Option(metavar="PLATFORM=VERSION", help=_PLATFORM)
    ] = None,
    feedback: Annotated[
        bool, typer.Option("--feedback", help="Feedback will be sent to what the manifests deploy.")
    ] = False,
    strict: Annotated[bool, typer.Option("--strict", help="Exit with 3 on warnings too.")] = False,
    form: Annotated[
        str,
        typer.Option(
            "--format",
            metavar="text|github",
            help="Text for people, or annotations for GitHub Actions.",
        ),
    ] = "text",
    list_rules: Annotated[bool, typer.Option("--rules", help="List all rules and exit.")] = False,
    as_json: Json = False,
) -> None:
    """Lint manifests for Kubernetes, KServe and Seldon Core.

    Finds fields that a cluster would drop silently, traffic splits that do not split, feedback that
    reaches the wrong arm. Exits with 3 if there are errors. Nothing is sent anywhere.

    For example `mlops lint deploy/`.
    """
    from mlops.deployment.linting import github_annotations, lint_paths, rules
    from mlops.errors import UsageError

    if form not in ("text", "github"):
        raise UsageError(f"There is no format `{form}`.", hint="Use `text` or `github`.")
    if list_rules:
        found = rules()
        show({"rules": found}, as_json=as_json, render=lambda out: _render_rules(out, found))
        return
    if not paths:
        raise UsageError("No manifests are named.", hint="Try `mlops lint deploy/`.")
    report = lint_paths(paths, platform or (), feedback=feedback)
    if form == "github" and not as_json:
        for line in github_annotations(report):
            typer.echo(line)
    else:
        show(plain(report), as_json=as_json, render=lambda out: _render(out, report))
    if report.errors or (strict and report.warnings):
        raise typer.Exit(3)


def _render(out: Console, report: LintReport) -> None:
    explained: set[str] = set()
    for finding in report.findings:
        out.print(_headline(finding))
        if finding.rule in explained:
            continue
        explained.add(finding.rule)
        _indented(out, finding.explanation)
        _indented(out, finding.reference)
    files = f"{len(report.files)} file{'s' if len(report.files) != 1 else ''}"
    counts = [_count(report.errors, "error"), _count(report.warnings, "warning")]
    if report.notes:
        counts.append(_count(report.notes, "note"))
    if report.findings:
        out.print(f"{files}: {', '.join(counts)}")
    else:
        out.print(f"[green]{files}: no problems found[/]")


def _indented(out: Console, text: str) -> None:
    from textwrap import wrap

    from rich.text import Text

    for line in wrap(text, out.width - 4, break_long_words=False, break_on_hyphens=False):
        out.print(Text(f"    {line}", style="dim"), soft_wrap=True)


def _headline(finding: Finding) -> str:
    from rich.markup import escape

    style = _STYLES[finding.severity]
    place = f"{finding.path}: " if finding.path else ""
    return (
        f"{escape(finding.file)}:{finding.line}: [{style}]{finding.severity}[/] "
        f"[bold]{finding.rule}[/] {escape(place + finding.message)}"
    )


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _render_rules(out: Console, rules: Sequence[Mapping[str, str]]) -> None:
    for rule in rules:
        style = _STYLES[rule["severity"]]
        out.print(f"[bold]{rule['rule']}[/] [{style}]{rule['severity']}[/]")
        _indented(out, rule["explanation"])
