"""`mlops report --html`: the report as a page in a file."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from mlops.deployment.locate import locate
from mlops.errors import InvalidInputError, NotFoundError
from mlops.monitoring.page import read_page, render_page
from mlops.monitoring.report import Report
from mlops.settings import Settings
from mlops.workflows.alarms import record_alarms
from mlops.workflows.asking import asking
from mlops.workflows.evidence import declared_since, open_evidence, owner_noted, report_options
from mlops.workflows.explain import importance_of

#: Means standard output instead of a file.
STDOUT = "-"


def write_report(
    settings: Settings,
    name: str | None,
    target: str,
    *,
    importance: bool = False,
    on_phase: Callable[[str], None] = lambda _: None,
) -> Report:
    """Report on a deployment, running or not, and write the page.

    Args:
        settings: The project's settings.
        name: Deployment, or None for the only one.
        target: File to write, replaced if it is there, or `STDOUT`.
        importance: Whether it says how important each feature is, which loads the models.
        on_phase: Called with what is done now.

    Returns:
        What the page says.

    Raises:
        NotFoundError: There is no such deployment, or no folder for the file.
        InvalidInputError: The file cannot be written.
    """
    if target != STDOUT:
        _check(Path(target))
    found = locate(settings, name)
    journal, state = open_evidence(settings, found)
    on_phase("Reading the journal")
    try:
        page = read_page(journal, report_options(settings), ask=asking(state))
    finally:
        journal.close()
    known = importance_of(settings, found.name, on_phase) if importance else []
    page = replace(
        page,
        report=owner_noted(settings, found, declared_since(settings, page.report)),
        importance=[each.document() for each in known],
    )
    record_alarms(settings, page.report)
    html = render_page(page)
    if target == STDOUT:
        sys.stdout.write(html)
    else:
        _save(Path(target), html)
    return page.report


def _check(path: Path) -> None:
    """Check before the work what would fail after it."""
    if path.is_dir():
        raise InvalidInputError(f"`{path}` is a folder.", hint="Name a file, or `-` for stdout.")
    if not path.parent.is_dir():
        raise NotFoundError(
            f"There is no folder `{path.parent}` to write `{path.name}` into.",
            hint=f"mkdir -p {path.parent}",
        )


def _save(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise InvalidInputError(f"`{path}` cannot be written: {error.strerror}.") from error
