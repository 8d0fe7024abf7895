"""`mlops report --html`: the report as a page in a file."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

from mlops.deployment.clusters.locate import locate
from mlops.deployment.journals import open_journal
from mlops.deployment.runtime_files import places, read_server_state
from mlops.errors import InvalidInputError, NotFoundError
from mlops.monitoring.page import read_page, render_page
from mlops.monitoring.report import Report
from mlops.settings import Settings
from mlops.workflows.alarms import record_alarms
from mlops.workflows.asking import asking
from mlops.workflows.evidence import check_readable, declared_since, report_options

#: Stands for standard output instead of a file.
STDOUT = "-"


def write_report(settings: Settings, name: str | None, target: str) -> Report:
    """Report on a deployment, running or not, and write the page.

    Args:
        settings: The project's settings.
        name: Deployment, or None for the only one.
        target: File to write, replaced if it is there, or `STDOUT`.

    Returns:
        What the page says.

    Raises:
        NotFoundError: There is no such deployment, or no folder for the file.
        InvalidInputError: The file cannot be written.
    """
    if target != STDOUT:
        _check(Path(target))
    found = locate(settings, name)
    if found.place is not None:
        check_readable(settings, found.name, found.place)
    state = None if found.place else read_server_state(places(settings, found.name))
    journal = open_journal(settings, found.name, state)
    try:
        page = read_page(journal, report_options(settings), ask=asking(state))
    finally:
        journal.close()
    page = replace(page, report=declared_since(settings, page.report))
    record_alarms(settings, page.report)
    html = render_page(page)
    if target == STDOUT:
        sys.stdout.write(html)
    else:
        _save(Path(target), html)
    return page.report


def _check(path: Path) -> None:
    """Find out before the work what would fail after it."""
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
