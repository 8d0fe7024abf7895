"""Where the evidence about a deployment is, and the report on it.

On this machine it is in a journal that this machine reads. On a cluster it is in PostgreSQL, which
is read directly where the settings name it, or in a file of the pod, which only its server reads:
that one is asked for its report over HTTP. A platform's own model servers keep none.
"""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from mlops.client.faults import refusal
from mlops.client.remote_endpoint import Reached, RemoteServer
from mlops.deployment.deploy import open_target
from mlops.deployment.locate import Found, locate
from mlops.deployment.owners import ahead
from mlops.deployment.runtime_files import places
from mlops.errors import ConflictError, InvalidInputError, NotFoundError
from mlops.journal.size_limit import too_large
from mlops.monitoring.gates import Gate
from mlops.monitoring.json_records import read_record
from mlops.monitoring.ramp import RampLook
from mlops.monitoring.report import Report, ReportOptions, make_report
from mlops.monitoring.report_json import read_report
from mlops.monitoring.verdict import withhold
from mlops.rewards.guardrails import check_guardrails
from mlops.settings import Settings
from mlops.spec.analysis import describe_changes, read_analysis, read_worth
from mlops.workflows.alarms import record_alarms
from mlops.workflows.asking import asking
from mlops.workflows.remote_feedback import reached

if TYPE_CHECKING:
    from mlops.journal.sql import SqlJournal
    from mlops.spec.server import ServerState

# Origins of a setting that do not affect the next deployment.
_UNSAID = ("default", "command line")


def report_on(settings: Settings, name: str | None, remote: RemoteServer | None = None) -> Report:
    """Report on a deployment, running or not.

    Args:
        settings: The project's settings.
        name: Deployment, or None for the only one.
        remote: Its server, to be asked for the report; None to read the journal.

    Raises:
        NotFoundError: There is no such deployment, or nothing to read its evidence from.
    """
    if remote is not None and name is None:
        return report_from(settings, remote)
    found = locate(settings, name)
    return report_of(settings, found, remote)


def report_of(settings: Settings, found: Found, remote: RemoteServer | None = None) -> Report:
    """Report on a deployment that was located; an alarm goes into its audit trail.

    Raises:
        NotFoundError: Nothing says where the evidence is.
        ConflictError: There is none, or that server is another deployment's.
    """
    report = _report_of(settings, found, remote)
    record_alarms(settings, report)
    return report


def _report_of(settings: Settings, found: Found, remote: RemoteServer | None) -> Report:
    if remote is not None:
        return _checked(report_from(settings, remote), found, remote.url)
    journal, state = open_evidence(settings, found)
    try:
        report = make_report(journal, report_options(settings), ask=asking(state))
        warning = too_large(journal.size_bytes(), settings.journal.max_mb, found.name)
    finally:
        journal.close()
    report = replace(report, notes=(*report.notes, warning)) if warning else report
    report = owner_noted(settings, found, declared_since(settings, report))
    return _checked(report, found, "the journal") if found.entry else report


def owner_noted(settings: Settings, found: Found, report: Report) -> Report:
    """Note that another project has deployed under the name since, of which nothing is here."""
    if found.entry is not None:
        return report
    said = " ".join(text for text in ahead(settings, places(settings, found.name)) if text)
    return replace(report, notes=(said, *report.notes)) if said else report


def open_evidence(settings: Settings, found: Found) -> tuple[SqlJournal, ServerState | None]:
    """Open the journal of a deployment for reading, and name the server that may be asked.

    Raises:
        NotFoundError: It cannot be read from here.
        ConflictError: There is none.
    """
    return open_target(settings, found.target).journal(found)


def unanswered(name: str) -> NotFoundError:
    """Return the error about a deployment that has answered no request yet."""
    return NotFoundError(f"`{name}` has answered no request yet.", hint=f"`mlops predict {name} …`")


def report_options(settings: Settings) -> ReportOptions:
    """Return the options of one look; the rest is declared at deployment.

    Raises:
        InvalidInputError: `worth` is not a positive number, or a guardrail is not valid.
    """
    given = settings.report
    check_guardrails(given.guardrails)
    now = settings.origins["report.worth"] == "command line"
    worth = read_worth(given.worth) if now else None
    return ReportOptions(given.alpha, given.baseline, worth, given.all, given.segments)


def report_from(settings: Settings, remote: RemoteServer) -> Report:
    """Ask an mlops server for its report.

    Raises:
        InvalidInputError: It is not an mlops server, or one of another release.
        MlopsError: It does not answer, or refuses the request.
    """
    return declared_since(settings, read_report(_document(remote, "/report.json")))


def ramp_from_server(remote: RemoteServer) -> RampLook:
    """Ask an mlops server what it sees of the ramp that is live there.

    Raises:
        ConflictError: There is none.
        InvalidInputError: It is not an mlops server, or one of another release.
        MlopsError: It does not answer, or refuses the request.
    """
    document = _document(remote, "/verdict.json")
    look = document.get("ramp") if isinstance(document, dict) else None
    if look is None:
        raise ConflictError(f"What is live at {remote.url} has no ramp.")
    found: RampLook = read_record(RampLook, look)
    return found


def _document(remote: RemoteServer, path: str) -> Any:  # noqa: ANN401 - JSON data
    with reached(remote) as found:
        _require_ours(found)
        answer = found.connection.get(path)
        if answer.status != 200:
            raise refusal(answer)
        try:
            return json.loads(answer.text)
        except ValueError as error:
            raise InvalidInputError(f"{found.url} answered no report.") from error


def declared_since(settings: Settings, report: Report) -> Report:
    """Note what the settings declare and the revision lacks, as before its next deployment.

    A guardrail that it does not have withholds a promotion: it was declared to be kept.
    """
    given = settings.report
    here = read_analysis(given.worth, given.guardrails, given.min_days, given.adjust, given.per)
    changes = [
        (name, new)
        for name, new, _ in describe_changes(report.analysis, here)
        if settings.origins[f"report.{name}"] not in _UNSAID
    ]
    if not changes or report.finished:
        return report
    said = " and ".join(f"`{name} = {new}`" for name, new in changes)
    text = f"The settings say {said}; this revision was deployed before that."
    hint = f"`mlops deploy --name {report.name}` takes it over."
    report = replace(report, notes=(*report.notes, f"{text} {hint}"))
    watched = {each for each, _ in report.analysis.guardrails}
    if not report.comparisons or {name for name, _ in given.guardrails} <= watched:
        return report
    gate = Gate("guardrail", False, None, text, hint, promotion_only=True)
    verdict = withhold(report.verdict, (gate,))
    return replace(report, gates=(*report.gates, gate), verdict=verdict)


def _require_ours(found: Reached) -> None:
    if found.protocol != "mlops":
        raise InvalidInputError(
            f"{found.url} is not an mlops server, and has no report.",
            hint="If it is one, use `--protocol mlops`.",
        )


def _checked(report: Report, found: Found, source: str) -> Report:
    """Check that a report is about what is live: a port-forward may lead to another one.

    Raises:
        ConflictError: It is not.
    """
    entry = found.entry
    if report.name != found.name:
        raise ConflictError(
            f"{source} is of `{report.name}`, not of `{found.name}`.",
            hint="Is a port-forward of another deployment still there?",
        )
    if entry is not None and entry.number not in report.revisions:
        raise ConflictError(
            f"{source} knows of revision {max(report.revisions, default=0)} of `{report.name}`; by "
            f"the ledger revision {entry.number} is live.",
            hint="A port-forward ends with its pod: start it again.",
        )
    return report
