"""The report as one self-contained page of HTML.

The page forbids itself to load or run anything else: its policy names the hashes of its own style
and script, so a hostile name in the journal could neither fetch nor execute even if it escaped the
template. Charts are drawn here (`charts`), not in the browser, so they print and need no script.
"""

from __future__ import annotations

import base64
import datetime as dt
import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

import mlops
from mlops.journal.base import Journal
from mlops.monitoring import plots
from mlops.monitoring.course import evidence
from mlops.monitoring.drift_panel import DriftPanel, read_panel
from mlops.monitoring.figures import number, per_cent
from mlops.monitoring.quality import measures_of
from mlops.monitoring.quality_watch import QualityReport
from mlops.monitoring.report import Report, ReportOptions, look_at
from mlops.monitoring.same_rows import Ask, live_alpha
from mlops.monitoring.timeline import Timeline, read_timeline
from mlops.monitoring.verdict_text import in_words, reward_in_words
from mlops.monitoring.watch_panels import OutlierPanel, read_outliers, read_quality
from mlops.resources import own_markup, page_templates
from mlops.rewards.decisions import describe_rule
from mlops.spec.deployment import DeploymentSpec

if TYPE_CHECKING:
    from jinja2 import Environment

#: Seconds between two requests of a live page to its server.
REFRESH_S = 30


@dataclass(frozen=True, slots=True)
class ReportPage:
    """Everything the page says.

    Attributes:
        report: The report itself.
        spec: Spec of the newest revision.
        baseline: Name of the arm that the others are compared with.
        timeline: Its history.
        drift: What the consumer found last; None without one.
        judged: What the consumer `quality` found last; None without any truth.
        outliers: What the consumer `outliers` counted; None without one.
        importance: Of each arm, `arm`, `method`, `exact`, `output`, `rows` and `features`, each
            with `feature`, `mean` and `error`; empty where it is not known.
        no_importance: Why not; empty where it is, or was not asked for.
    """

    report: Report
    spec: DeploymentSpec
    baseline: str
    timeline: Timeline
    drift: DriftPanel | None = None
    judged: QualityReport | None = None
    outliers: OutlierPanel | None = None
    importance: Sequence[Mapping[str, Any]] = ()
    no_importance: str = ""


def read_page(
    journal: Journal, options: ReportOptions | None = None, *, ask: Ask | None = None
) -> ReportPage:
    """Gather what the page of a journal's newest experiment says.

    Args:
        journal: Where the evidence is; only read.
        options: What is asked of it.
        ask: Asks the arms about the labelled rows; None where they cannot be asked.

    Raises:
        NotFoundError: Nothing was deployed with this journal.
        InvalidInputError: There is no arm called `baseline`.
    """
    options = options or ReportOptions()
    report, compared = look_at(journal, options, ask=ask)
    return ReportPage(
        report,
        compared.spec,
        compared.spec.arms[compared.base].name,
        read_timeline(journal, compared, live_alpha(compared.spec, options.alpha)),
        read_panel(journal),
        read_quality(journal),
        read_outliers(journal),
    )


def render_page(page: ReportPage, *, now: dt.datetime | None = None, live: bool = False) -> str:
    """Write the page.

    Args:
        page: What it says.
        now: When it is written, with a zone; the present by default.
        live: Whether a server renews it; the page then asks for itself every `REFRESH_S` seconds.

    Returns:
        HTML.
    """
    report, timeline = page.report, page.timeline
    now = (now or dt.datetime.now(dt.UTC)).astimezone(dt.UTC)
    unit = "sticky unit" if page.spec.sticky_by else "request"
    return (
        templates()
        .get_template("report.html.j2")
        .render(
            report=report,
            spec=page.spec,
            timeline=timeline,
            drift=page.drift,
            judged=page.judged,
            outliers=page.outliers,
            importance=page.importance,
            no_importance=page.no_importance,
            words=in_words(report, unit),
            unit=unit,
            baseline=page.baseline,
            reward=reward_in_words(report.reward),
            decision_rule=describe_rule(report.decision_rule),
            differences=plots.differences(timeline.courses),
            traffic=plots.traffic(timeline, len(report.arms)),
            quality=plots.quality(timeline, len(report.arms)),
            measures=measures_of(arm.quality for arm in report.arms),
            shadow_measures=measures_of(
                one for each in report.shadows for one in (each.quality, each.served_quality)
            ),
            style=_raw("report.css.j2"),
            script=_raw("report.js.j2"),
            policy=_policy(live),
            live=live,
            refresh_s=REFRESH_S,
            now=f"{now.day} {now:%b %Y, %H:%M:%S} UTC",
            version=mlops.__version__,
        )
    )


def report_page(
    journal: Journal,
    *,
    alpha: float = 0.05,
    baseline: str = "",
    live: bool = False,
    ask: Ask | None = None,
    importance: Sequence[Mapping[str, Any]] = (),
    no_importance: str = "",
) -> str:
    """Read and write the page: `read_page`, then `render_page`."""
    page = read_page(journal, ReportOptions(alpha, baseline), ask=ask)
    return render_page(replace(page, importance=importance, no_importance=no_importance), live=live)


@cache
def templates() -> Environment:
    """Return the templates of reports, with the filters that they use."""
    found = page_templates("report")
    found.filters |= {
        "number": number,
        "signed": lambda value: number(value, signed=True),
        "per_cent": per_cent,
        "span": plots.span_of_time,
        "duration": plots.duration,
        "joined": _joined,
        "chance": _chance,
        "moment": _moment,
        "evidence": evidence,
        "whole": lambda value: f"{value:,}",
        "p": lambda value: f"{value:.3g}",
    }
    found.tests |= {
        "simulation": lambda note: note.startswith("simulated"),
        "finite": math.isfinite,
    }
    return found


def _raw(name: str) -> Markup:
    """The page's own style or script: not escaped, and nothing is inserted."""
    return own_markup(templates().get_template(name).render())


def _policy(live: bool) -> str:
    """What the page may do: apply its own style, run its own script, and renew itself."""
    style, script = _digest(_raw("report.css.j2")), _digest(_raw("report.js.j2"))
    source = "'self'" if live else "'none'"
    return (
        f"default-src 'none'; style-src '{style}'; script-src '{script}'; img-src data:; "
        f"connect-src {source}; base-uri 'none'; form-action 'none'"
    )


def _digest(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _chance(value: float | None) -> str:
    """A probability that is never rounded to certainty.

    >>> _chance(0.5), _chance(1 - 1e-9), _chance(1e-9)
    ('0.500', '> 0.999', '< 0.001')
    """
    if value is None:
        return number(None)
    return "> 0.999" if value > 0.999 else "< 0.001" if value < 0.001 else f"{value:.3f}"


def _moment(time_ms: int) -> str:
    return f"{dt.datetime.fromtimestamp(time_ms / 1000, dt.UTC):%Y-%m-%d %H:%M:%S}"


def _joined(values: Sequence[object]) -> str:
    """Values in a sentence.

    >>> _joined([1]), _joined([1, 2, 3])
    ('1', '1, 2 and 3')
    """
    texts = [str(value) for value in values]
    return " and ".join(filter(None, [", ".join(texts[:-1]), *texts[-1:]]))
