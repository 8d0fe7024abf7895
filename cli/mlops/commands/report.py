"""`mlops report`."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated

import typer

from mlops.commands.arguments import (
    CaFile,
    Header,
    Insecure,
    Name,
    Timeout,
    Token,
    Url,
    its_server,
)
from mlops.commands.output import Json, moment, next_steps, note, plain, show
from mlops.errors import UsageError

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from mlops.monitoring.arms import ArmReport
    from mlops.monitoring.paired import PairedReport
    from mlops.monitoring.report import Report
    from mlops.monitoring.verdict import Decision, Verdict
    from mlops.settings import Settings

_STYLES = {
    "promote": "green",
    "keep": "green",
    "equal": "green",
    "not-worse": "green",
    "continue": "yellow",
    "withheld": "red",
    "invalid": "red",
}
_BARS = "▁▂▃▄▅▆▇█"
_TITLES = {
    "promote": "a better arm was found",
    "keep": "the baseline stays best",
    "continue": "inconclusive, go on",
    "invalid": "invalid",
    "withheld": "decided, and not to be acted on",
    "equal": "no difference worth having",
    "not-worse": "no loss worth having",
}


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
            help="Exit with 0 promote, 10 do not promote, 11 inconclusive, 12 invalid, "
            "13 withheld, 14 equal, 15 not worse, 16 finished.",
        ),
    ] = False,
    html: Annotated[
        str,
        typer.Option(
            metavar="FILE", show_default=False, rich_help_panel="Output",
            help="Write the report as an HTML page, and print its path; - is stdout.",
        ),
    ] = "",
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
    url: Url = "", token: Token = "", header: Header = None, ca_file: CaFile = "",
    insecure: Insecure = False, timeout: Timeout = 60.0,
    as_json: Json = False,
) -> None:  # fmt: skip
    """Report which arm is best, with error guarantees that hold at every look.

    For example `mlops report`, or as a gate in CI: `mlops report --exit-code`.
    """
    from mlops.commands.markdown import report_markdown
    from mlops.monitoring.verdict import EXIT_CODES, FINISHED
    from mlops.settings import load_settings
    from mlops.workflows.promotion import report_on
    from mlops.workflows.reporting import write_report

    if markdown and (paired or html or as_json):
        raise UsageError("`--markdown` goes with none of `--paired`, `--html` and `--json`.")
    if paired and html:
        raise UsageError(
            "`--paired` writes no page.", hint="`--json` writes what a script can read."
        )
    if html == "-" and as_json:
        raise UsageError("`--html -` and `--json` both want stdout.", hint="Name a file.")
    there = its_server(url, token, header, ca_file, insecure, timeout)
    asked = paired or html or alpha is not None or baseline or worth or whole or segments
    if there and asked:
        raise UsageError(
            "Its server reports as it was told to: `--url` goes with none of `--paired`, `--html`, "
            "`--alpha`, `--baseline`, `--worth`, `--segments` and `--all`.",
            hint=f"The page is at {url.rstrip('/')}/report." if html else None,
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
    found = write_report(settings, name, html) if html else report_on(settings, name, there)
    document = {**plain(found), "html": html} if html else plain(found)
    has_data = bool(settings.feedback.data)
    if markdown:
        typer.echo(report_markdown(found), nl=False)
    else:
        show(
            document,
            as_json=as_json,
            render=lambda out: _render(out, found, html, url, has_data=has_data),
        )
    if exit_code:
        raise typer.Exit(FINISHED if found.finished else EXIT_CODES[found.verdict.decision])


def _paired(settings: Settings, name: str | None, as_json: bool) -> Decision:
    from mlops.workflows.paired import paired_report

    found = paired_report(settings, name)
    show(plain(found), as_json=as_json, render=lambda out: _render_paired(out, found))
    return found.verdict.decision


def _render_paired(out: Console, found: PairedReport) -> None:
    from rich.markup import escape

    out.print(
        f"[bold]{found.name}[/]  every arm on the same {found.rows:,} rows  "
        f"reward {escape(found.reward)}"
    )
    for arm, mean in zip(found.arms, found.means, strict=True):
        out.print(f"  {escape(arm)}  mean reward {mean:.4g}")
    for each in found.comparisons:
        line = f"{escape(each.arm)} minus {escape(each.baseline)}: {each.estimate:+.4g}"
        if each.waiting_for:
            out.print(f"{line}  [yellow]too early: {escape(each.waiting_for)}[/]")
        else:
            style = "green" if each.lower > 0 else "red" if each.upper < 0 else "yellow"
            out.print(
                f"[{style}]{line} [{each.lower:+.4g}, {each.upper:+.4g}][/]  n = {each.n:,}, "
                f"{100 * (1 - each.alpha):.4g} % CI at every look together"
            )
    for text in found.notes:
        out.print(f"[yellow]note: {escape(text)}[/]")
    _render_verdict(out, found.verdict)
    out.print(
        "[dim]This compares predictions on rows whose truth is known, not what people do when "
        "they get one or the other.[/]"
    )
    winner = found.verdict.winner
    if winner:
        why = f"predicts better on {found.rows} rows"
        next_steps(
            out,
            [
                f"mlops report {found.name}",
                f'mlops promote {found.name} --arm {winner} --force "{why}"',
            ],
        )
    elif found.verdict.decision == "continue":
        next_steps(out, [f"mlops feedback {found.name}"])


def _render_pairs(out: Console, paired: PairedReport) -> None:
    """The comparison on the same rows, as a part of the report."""
    from rich.markup import escape

    out.print(f"[bold]every arm on the same {paired.rows:,} labelled rows[/]")
    for each in paired.comparisons:
        line = f"{escape(each.arm)} minus {escape(each.baseline)}: {each.estimate:+.4g}"
        if each.waiting_for:
            out.print(f"  {line}  [dim]{escape(each.waiting_for)}[/]", soft_wrap=False)
        else:
            style = "green" if each.lower > 0 else "red" if each.upper < 0 else "yellow"
            out.print(
                f"  [{style}]{line} [{each.lower:+.4g}, {each.upper:+.4g}][/]  n = {each.n:,}, "
                f"{100 * (1 - each.alpha):.4g} % CI",
                soft_wrap=False,
            )
    if paired.verdict.decision == "withheld":
        out.print(f"  [red]{escape(paired.verdict.reason)}[/]", soft_wrap=False)


def _render(out: Console, found: Report, html: str, url: str, *, has_data: bool) -> None:
    from rich.markup import escape

    if html:
        note(f"{found.verdict.decision}: {escape(found.verdict.reason)}")
        if html != "-":
            out.print(html, markup=False, soft_wrap=True)
        return

    from mlops.commands.forest import forest

    span = (
        f"{moment(found.first_ms)} to {moment(found.last_ms)}" if found.first_ms else "no traffic"
    )
    revisions = ", ".join(str(number) for number in found.revisions)
    out.print(
        f"[bold]{found.name}[/]  revision {revisions}  reward {escape(found.reward)}\n"
        f"[dim]{span}[/]"
    )
    tables = (_traffic(found), _rewards(found), _quality(found), _posterior(found))
    for table in filter(None, tables):
        out.print()
        # Where it is narrow cells are folded; a soft wrap would cut them off.
        out.print(table, soft_wrap=False)
    if found.shadows:
        out.print()
        out.print(_shadows(found), soft_wrap=False)
    for comparison, looks in zip(found.comparisons, found.looks, strict=True):
        out.print(
            f"\n[bold]{escape(comparison.arm)} minus {escape(comparison.baseline)}[/] mean reward, "
            f"{100 * (1 - comparison.alpha):.4g} % CI at every look together",
            soft_wrap=False,
        )
        for line in forest(looks, out.width):
            out.print(line)
    if found.sample_ratio:
        state = "[red]mismatch[/]" if found.sample_ratio.mismatch else "[green]passed[/]"
        out.print(
            f"\nsample ratio (SRM) check: {state} [dim]p = {found.sample_ratio.p_value:.3g}[/]"
        )
    if found.paired is not None:
        out.print()
        _render_pairs(out, found.paired)
    if found.segments:
        out.print()
        out.print(_segments(found), soft_wrap=False)
    for gate in found.gates:
        colour = "dim" if gate.passed else "red"
        p = "" if gate.p_value is None else f" p = {gate.p_value:.3g}"
        out.print(f"[{colour}]{escape(gate.text)}{p}[/]", soft_wrap=False)
    if found.judged_ms is not None:
        out.print(
            f"judged up to {moment(found.judged_ms)}; the feedback window of {found.open:,} "
            f"{_units(found)} is still open"
            if found.open
            else f"judged up to {moment(found.judged_ms)}",
            soft_wrap=False,
        )
    for text in found.notes:
        out.print(f"[yellow]note: {escape(text)}[/]", soft_wrap=False)
    _render_verdict(out, found.verdict, finished=found.finished is not None)
    if found.finished:
        next_steps(out, [f"mlops status {found.name}", f"mlops history {found.name}"])
        out.print(
            f"      the next test: mlops deploy --ab {escape(found.finished.model)} MODEL",
            soft_wrap=True,
        )
    elif found.verdict.winner:
        next_steps(out, [f"mlops promote {found.name}{f' --url {url}' if url else ''}"])
    elif found.verdict.decision == "continue" and len(found.arms) > 1 and has_data:
        next_steps(out, [f"mlops feedback {f'--url {url}' if url else found.name}"])


def _table(*titles: str, caption: str | None = None, first: str = "arm") -> Table:
    from rich.table import Table

    table = Table(
        box=None,
        padding=(0, 2, 0, 0),
        header_style="dim",
        caption=caption,
        caption_justify="left",
        min_width=min(len(caption or ""), 60),
    )
    table.add_column(first)
    for title in titles:
        table.add_column(title, justify="left" if title == "model" else "right")
    return table


def _name(arm: ArmReport) -> str:
    from rich.markup import escape

    return f"[bold]{escape(arm.name)}[/]"


def _traffic(found: Report) -> Table:
    from rich.markup import escape

    refused = any(arm.refused for arm in found.arms)
    titles = ["refused (4xx)"] * refused + ["errors (5xx)", "ms"]
    table = _table("model", "weight", "requests", "share", *titles)
    for arm in found.arms:
        table.add_row(
            _name(arm),
            escape(arm.version),
            f"{arm.weight * 100:.4g} %",
            f"{arm.requests:,}",
            f"{arm.share * 100:.1f} %",
            *[f"{arm.refused:,}"] * refused,
            f"{arm.errors:,}",
            _number(arm.latency_ms),
        )
    return table


def _rewards(found: Report) -> Table:
    """What was earned: the mean as it is, and the estimate with its interval."""
    level = f"{100 * (1 - found.verdict.alpha):.4g} % CI"
    what = (
        f"a unit is one value of `{found.sticky_by}`; its reward is the mean of its outcomes"
        if found.sticky_by
        else None
    )
    table = _table(_units(found), "mean", "estimate (AIPW)", level, caption=what)
    for arm in found.arms:
        interval = _range(arm.lower, arm.upper)
        table.add_row(
            _name(arm),
            f"{arm.n:,}",
            _number(arm.mean),
            _number(arm.estimate),
            f"[dim]{arm.needs}[/]" if interval == "-" and arm.needs else interval,
        )
    return table


def _units(found: Report) -> str:
    """What is counted, as a heading: requests with a reward, or what arms stick to."""
    return "units" if found.sticky_by else "with reward"


def _posterior(found: Report) -> Table | None:
    """Bayesian numbers, which decide nothing; None where they were not computed."""
    if all(arm.p_best is None for arm in found.arms):
        return None
    table = _table(
        "P(best)", "expected loss", caption="Bayesian posterior; not a stopping rule"
    )  # fmt: skip
    # A caption is no wider than its table.
    table.min_width = 48
    for arm in found.arms:
        table.add_row(_name(arm), _number(arm.p_best), _number(arm.expected_loss))
    return table


def _quality(found: Report) -> Table:
    """What the truth says, in those measures that it has, in all and over time."""
    from mlops.monitoring.quality import measures_of

    measures = measures_of(arm.quality for arm in found.arms)
    over_time = [f"{measure.label} over time" for measure in measures[:1]]
    table = _table("labels", *(measure.label for measure in measures), *over_time)
    for index, arm in enumerate(found.arms):
        values = [_number(getattr(arm.quality, measure.field)) for measure in measures]
        trend = [_trend(found, index, measure.field) for measure in measures[:1]]
        table.add_row(_name(arm), f"{arm.quality.n:,}", *values, *trend)
    return table


def _shadows(found: Report) -> Table:
    """Each shadow, and below it what was served to the same requests."""
    from rich.markup import escape

    from mlops.monitoring.quality import measures_of

    measures = measures_of(each.quality for each in found.shadows)[:2]
    table = _table(
        "model", "copies", "same", "difference", "errors", "ms", *(each.label for each in measures),
        caption="shadows: nobody gets their answers, and they decide nothing", first="shadow",
    )  # fmt: skip
    for each in found.shadows:
        same = "-" if each.agreement is None else f"{each.agreement * 100:.4g} %"
        values = [_number(getattr(each.quality, measure.field)) for measure in measures]
        table.add_row(
            f"[bold]{escape(each.name)}[/]",
            escape(each.version),
            f"{each.requests:,}",
            same,
            _number(each.difference),
            f"{each.errors:,}",
            _number(each.latency_ms),
            *values,
        )
        values = [_number(getattr(each.served_quality, measure.field)) for measure in measures]
        latency = _number(each.served_latency_ms)
        row = ["  served", "", "", "", "", f"{each.served_errors:,}", latency, *values]
        table.add_row(*(f"[dim]{cell}[/]" if cell else "" for cell in row))
    return table


def _segments(found: Report) -> Table:
    """Segments, those that stand out first."""
    from rich.markup import escape

    table = _table(
        "arm", _units(found), "difference", "CI of it alone", "",
        caption="listed, never a verdict; of all marked * at most a tenth differs by chance",
        first="segment",
    )  # fmt: skip
    for each in found.segments:
        table.add_row(
            escape(each.segment),
            escape(each.arm),
            f"{each.n:,}",
            _number(each.estimate),
            _range(each.lower, each.upper),
            "[bold]*[/]" if each.stands_out else "",
        )
    return table


def _trend(found: Report, arm: int, measure: str) -> str:
    """Draw one bar per window; all arms share a scale."""
    windows = [[getattr(each, measure) for each in window.arms] for window in found.quality]
    known = [value for values in windows for value in values if value is not None]
    low, high = min(known, default=0.0), max(known, default=0.0)
    return "".join(_bar(values[arm], low, high) for values in windows)


def _bar(value: float | None, low: float, high: float) -> str:
    if value is None:
        return " "
    share = (value - low) / (high - low) if high > low else 0.5
    return _BARS[min(int(share * len(_BARS)), len(_BARS) - 1)]


def _render_verdict(out: Console, verdict: Verdict, *, finished: bool = False) -> None:
    from rich.markup import escape
    from rich.panel import Panel

    title = "the experiment is over" if finished else _TITLES[verdict.decision]
    winner = f": {escape(verdict.winner)}" if verdict.winner else ""
    head = f"finished[/], it was {verdict.decision}" if finished else f"{verdict.decision}[/]"
    out.print(
        Panel(
            f"{escape(verdict.reason)}\n[dim]n = {verdict.n:,}, false winner at most "
            f"{verdict.alpha:.2g} however often you look\nmethod: {escape(verdict.method)}, "
            f"because {escape(verdict.because)}[/]"
            + "".join(f"\n{escape(text)}" for text in (verdict.weakest, *verdict.hints) if text),
            title=f"[bold]{head}{winner} ({title})",
            title_align="left",
            border_style="dim" if finished else _STYLES[verdict.decision],
            width=min(out.width, 100),
        ),
        soft_wrap=False,
    )


def _number(value: float | None) -> str:
    """Write a number with four digits, in one way wherever it stands."""
    from mlops.monitoring.words import number

    if value is None or not math.isfinite(value):
        return "-"
    return number(value, digits=4).replace("\N{MINUS SIGN}", "-")


def _range(lower: float, upper: float) -> str:
    known = math.isfinite(lower) and math.isfinite(upper)
    return f"{_number(lower)} … {_number(upper)}" if known else "-"
