"""A short form of the report, as HTML for a notebook."""

from __future__ import annotations

from dataclasses import dataclass, fields

from mlops.monitoring.page import templates
from mlops.monitoring.report import Report
from mlops.monitoring.verdict_text import in_words


@dataclass(frozen=True, slots=True)
class NotebookReport(Report):
    """A `Report` that a notebook draws."""

    def _repr_html_(self) -> str:
        """Write the verdict and its basis; text from the journal is escaped."""
        unit = "sticky unit" if self.sticky_by else "request"
        template = templates().get_template("summary.html.j2")
        return template.render(report=self, words=in_words(self, unit), unit=unit)


def for_notebook(report: Report) -> NotebookReport:
    """Return the same report, which draws itself."""
    return NotebookReport(**{each.name: getattr(report, each.name) for each in fields(report)})
