"""A sweep as one self-contained page of HTML, drawn like the A/B report."""

from __future__ import annotations

import base64
import datetime as dt
import hashlib
import math
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import mlops
from mlops.errors import InvalidInputError, NotAllowedError
from mlops.resources import own_markup, page_templates
from mlops.training.sweep import plots
from mlops.training.sweep.records import SweepResult, SweepSpec, TrialRecord

if TYPE_CHECKING:
    from jinja2 import Environment
    from markupsafe import Markup


def check_place(file: Path) -> None:
    """Refuse a file that could not be written, before a night of training and not after it.

    Raises:
        InvalidInputError: It is a folder, its folder does not exist, or it is `-`.
    """
    if str(file) == "-" or file.is_dir() or not file.parent.is_dir():
        raise InvalidInputError(
            f"The page cannot be written to `{file}`.", hint="Name a file in a folder that exists."
        )


def write_page(result: SweepResult, spec: SweepSpec, file: Path) -> None:
    """Write the page to a file.

    Raises:
        NotAllowedError: The file cannot be written.
    """
    try:
        file.write_text(render_page(result, spec), encoding="utf-8")
    except OSError as error:
        raise NotAllowedError(f"`{file}` cannot be written: {error.strerror}.") from error


def render_page(result: SweepResult, spec: SweepSpec, *, now: dt.datetime | None = None) -> str:
    """Return the page about a sweep.

    Args:
        result: Its result.
        spec: What it was.
        now: When the page is made; the present by default.
    """
    now = (now or dt.datetime.now(dt.UTC)).astimezone(dt.UTC)
    metrics = sorted({name for trial in result.trials for name in trial.metrics})
    metric = spec.metric or next(iter(metrics), "")
    arguments = spec, result.trials, metric, result.best
    style = _raw("report/report.css.j2") + _raw("sweep/sweep.css.j2")
    return (
        _templates()
        .get_template("sweep/sweep.html.j2")
        .render(
            result=result,
            metric=metric,
            metrics=[metric, *(name for name in metrics if name != metric)] if metric else [],
            ranked=_ranked(result, spec, metric),
            scatters=plots.scatters(*arguments),
            course=plots.course(*arguments),
            parallel=plots.parallel(*arguments),
            counts=_counts(result),
            style=style,
            policy=_policy(style),
            now=f"{now.day} {now:%b %Y, %H:%M} UTC",
            version=mlops.__version__,
        )
    )


def _ranked(result: SweepResult, spec: SweepSpec, metric: str) -> list[TrialRecord]:
    """Order trials by the metric, best first; those without it last."""
    sign = -1 if spec.direction == "maximize" else 1

    def place(trial: TrialRecord) -> tuple[bool, float]:
        value = trial.metrics.get(metric, math.nan)
        good = trial.state == "complete" and math.isfinite(value)
        return (not good, sign * value if good else trial.number)

    return sorted(result.trials, key=place)


def _counts(result: SweepResult) -> dict[str, int]:
    states = [trial.state for trial in result.trials]
    return {state: states.count(state) for state in dict.fromkeys(states)}


@cache
def _templates() -> Environment:
    templates = page_templates()
    templates.filters["number"] = _number
    templates.filters["brief"] = _brief
    return templates


def _raw(name: str) -> Markup:
    """The page's own style: not escaped, and nothing is inserted."""
    return own_markup(_templates().get_template(name).render())


def _policy(style: str) -> str:
    """What the page may do: apply its own style, and nothing else."""
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    return (
        f"default-src 'none'; style-src 'sha256-{digest}'; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )


def _brief(text: str) -> str:
    """Write a parameter's value with four digits, if it is a number of more.

    >>> _brief("0.123456789012"), _brief("300"), _brief("adam")
    ('0.1235', '300', 'adam')
    """
    try:
        short = f"{float(text):.4g}"
    except ValueError:
        return text
    return short if len(short) < len(text) else text


def _number(value: float | None) -> str:
    if value is None or not math.isfinite(value):
        return "\N{EN DASH}"
    return f"{value:.6g}".replace("-", "\N{MINUS SIGN}")
