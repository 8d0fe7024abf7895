"""`mlops report`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from mlops.commands.arguments import Name, Remote, takes_remote
from mlops.commands.output import Json, plain, show
from mlops.commands.report_view import render, render_paired
from mlops.errors import UsageError

if TYPE_CHECKING:
    from mlops.monitoring.verdict import Decision
    from mlops.settings import Settings


@takes_remote()
def report(
    name: Name = None,
    baseline: Annotated[
        str,
        typer.Option(help="Arm to compare with.", show_default="the first"),
    ] = "",
    alpha: Annotated[
        float | None,
        typer.Option(
            min=0.0001, max=0.5, help="Probability of ever naming a false winner.",
            show_default="0.05",
        ),
    ] = None,
    exit_code: Annotated[
        bool,
        typer.Option(
            "--exit-code",
            help="Exit with 0 promote, 10 keep, 11 continue, 12 invalid, 13 withheld, 14 equal, "
            "15 not-worse, 16 finished.",
        ),
    ] = False,
    html: Annotated[
        str,
        typer.Option(
            metavar="FILE", show_default=False, rich_help_panel="Output",
            help="Write the report as an HTML page, and print its path; - is stdout.",
        ),
    ] = "",
    importance: Annotated[
        bool,
        typer.Option(
            "--importance", rich_help_panel="Output",
            help="Say on the page how much each feature moves the answers; loads the models.",
        ),
    ] = False,
    worth: Annotated[
        str,
        typer.Option(
            metavar="DELTA", show_default=False,
            help="Smallest difference of rewards worth having: says when arms are equal.",
        ),
    ] = "",
    whole: Annotated[
        bool,
        typer.Option("--all", help="Take evidence from before the experiment was last ended, too."),
    ] = False,
    segments: Annotated[
        str,
        typer.Option(
            metavar="COLUMN", show_default=False,
            help="List the segments of a feature; never a verdict.",
        ),
    ] = "",
    markdown: Annotated[
        bool,
        typer.Option(
            "--markdown", help="Print it as Markdown, for a CI job.", rich_help_panel="Output"
        ),
    ] = False,
    paired: Annotated[
        bool,
        typer.Option("--paired", help="Have every arm predict the labelled rows, and compare."),
    ] = False,
    remote: Remote = None,
    as_json: Json = False,
) -> None:  # fmt: skip
    """Report which arm is best, with error guarantees that hold at every look.

    For example `mlops report`, or as a gate in CI: `mlops report --exit-code`.
    """
    from mlops.commands.markdown import report_markdown
    from mlops.commands.progress import PhaseProgress
    from mlops.monitoring.verdict import EXIT_CODES, FINISHED
    from mlops.settings import load_settings
    from mlops.workflows.evidence import report_on
    from mlops.workflows.reporting import write_report

    if markdown and (paired or html or as_json):
        raise UsageError("`--markdown` cannot be combined with `--paired`, `--html` or `--json`.")
    if paired and html:
        raise UsageError(
            "`--paired` writes no page.", hint="`--json` writes what a script can read."
        )
    if importance and not html:
        raise UsageError("`--importance` is for the page.", hint="Name one with `--html FILE`.")
    if html == "-" and as_json:
        raise UsageError("`--html -` and `--json` both want stdout.", hint="Name a file.")
    asked = paired or html or alpha is not None or baseline or worth or whole or segments
    if remote and asked:
        raise UsageError(
            "The server reports with its own settings: `--url` excludes `--paired`, `--html`, "
            "`--alpha`, `--baseline`, `--worth`, `--segments` and `--all`.",
            hint=f"The page is at {remote.url.rstrip('/')}/report." if html else None,
        )
    settings = load_settings(
        flags={
            "report.alpha": alpha,
            "report.baseline": baseline or None,
            "report.worth": worth or None,
            "report.all": whole or None,
            "report.segments": segments or None,
        }
    )
    if paired:
        decision = _paired(settings, name, as_json)
        if exit_code:
            raise typer.Exit(EXIT_CODES[decision])
        return
    if importance:
        # The models are loaded, and asked some thousand times.
        with PhaseProgress() as progress:
            found = write_report(settings, name, html, importance=True, on_phase=progress.phase)
    elif html:
        found = write_report(settings, name, html)
    else:
        found = report_on(settings, name, remote)
    document = {**plain(found), "html": html} if html else plain(found)
    has_data = bool(settings.feedback.data)
    if markdown:
        typer.echo(report_markdown(found), nl=False)
    else:
        show(
            document,
            as_json=as_json,
            render=lambda out: render(
                out, found, html, remote.url if remote else "", has_data=has_data
            ),
        )
    if exit_code:
        raise typer.Exit(FINISHED if found.finished else EXIT_CODES[found.verdict.decision])


def _paired(settings: Settings, name: str | None, as_json: bool) -> Decision:
    from mlops.workflows.paired import paired_report

    found = paired_report(settings, name)
    show(plain(found), as_json=as_json, render=lambda out: render_paired(out, found))
    return found.verdict.decision
