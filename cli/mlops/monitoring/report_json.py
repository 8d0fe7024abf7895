"""A report as JSON data and back: the form in which a server sends it."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

from mlops.journal.base import Journal
from mlops.monitoring.json_records import finite, read_record
from mlops.monitoring.report import Report, ReportOptions, make_report
from mlops.monitoring.same_rows import Ask

SCHEMA_VERSION = 1


def report_json(
    journal: Journal, *, alpha: float, baseline: str, live: bool, ask: Ask | None = None
) -> str:
    """Write the report that a journal gives as JSON; see `mlops.serving.report.Page`."""
    report = make_report(journal, ReportOptions(alpha, baseline), ask=ask)
    return json.dumps({"schema_version": SCHEMA_VERSION, **report_document(report)})


def report_document(report: Report) -> dict[str, Any]:
    """Return a report as JSON data."""
    document: dict[str, Any] = finite(dataclasses.asdict(report))
    return document


def read_report(document: object) -> Report:
    """Read what `report_document` wrote; what a later release adds is left out.

    Raises:
        InvalidInputError: It is of another form.
    """
    found: Report = read_record(Report, document)
    return found
