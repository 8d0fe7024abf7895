"""Sources of a trail: the ledger, the journal, and the current state.

A source yields what it holds, with ids that never change; what is recorded already costs little
to pass by.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, Protocol

from mlops.audit.entries import Event, State, by_name, digest_of
from mlops.journal.base import History, Memory
from mlops.registry.ledger import Ledger, Readiness, summary
from mlops.settings.needs import RolloutSettings, value_at
from mlops.settings.secrets import without_credentials
from mlops.spec.declared import declared_of
from mlops.spec.deployment import DeploymentSpec
from mlops.spec.server import Launch

#: Who does what the server does by itself.
SERVER = {"user": "the server"}
#: Event of the journal to action and subject.
_OF_SERVER = {
    "started": ("start", "server, with"),
    "stopped": ("stop", "server, with"),
    "unwritable": ("alarm", "the journal cannot be written, with"),
    "writable": ("alarm over", "the journal is written again, with"),
}
#: Keys of the launch record about the revision, which the ledger has, and about internal files.
_LEFT_OUT = frozenset(
    {
        "name",
        "served",
        "state_file",
        "lock_file",
        "key_file",
        "token_file",
        "socket",
        "log_file",
        "runtimes",
        "key_print",
        "new_key",
        "place",
    }
)


def revision_id(number: int, state: str) -> str:
    """Id of a change of a revision's state.

    >>> revision_id(3, "live")
    'revision/3/live'
    """
    return f"revision/{number}/{state}"


def ledger_events(ledger: Ledger, known: Collection[str]) -> Iterator[Event]:
    """Yield the outcome of each revision, oldest first; pending ones follow once they are done.

    Args:
        ledger: Of the deployment.
        known: Ids of what is recorded; the documents of these are not read.
    """
    live = 0
    for each in reversed(ledger.standings()):
        went = "failed" if each.state == "failed" else "live"
        if each.state != "pending":
            key = revision_id(each.number, went)
            if key not in known:
                yield _revision_event(ledger, each, key, live)
        if each.stopped_ms:
            yield Event(
                "stop",
                f"revision {each.number}",
                each.stopped_ms,
                by_name(each.stopped_by),
                revision_id(each.number, f"stopped/{each.stopped_ms}"),
                before="live",
                after="stopped",
            )
        live = each.number if each.state in ("live", "replaced") else live


def _revision_event(ledger: Ledger, standing: Readiness, key: str, before: int) -> Event:
    entry, document = standing.read()
    intent, spec = entry.intent, entry.intent.spec
    failed = standing.state == "failed"
    after: dict[str, Any] = {
        "revision": entry.number,
        "serves": summary(spec),
        "spec": digest_of(document),
        "arms": arms_of(spec, ledger.contents(entry.number)),
        "declared": declared_of(spec),
        "aliases": [asdict(move) for move in intent.aliases if move.version != move.before],
    }
    if spec.costs:
        after["decision_rule"] = spec.decides_by
    if entry.place:
        after["project"] = project_of(entry.place)
    if intent.place is not None:
        after["place"] = str(intent.place)
    evidence = {"reason": intent.reason, "verdict": intent.evidence, "error": entry.error}
    return Event(
        f"{intent.action} failed" if failed else intent.action,
        f"revision {entry.number}",
        entry.live_ms or entry.created_ms,
        by_name(entry.author, entry.job),
        key,
        before={"revision": before} if before else None,
        after=after,
        evidence={name: value for name, value in evidence.items() if value} or None,
    )


def project_of(place: str) -> dict[str, str]:
    """Name a project by its host and folder, from a place in the ledger, `host:folder`."""
    host, _, folder = place.partition(":")
    path = Path(folder)
    return {"host": host, "folder": str(path.parent if path.name == ".mlops" else path)}


def arms_of(spec: DeploymentSpec, contents: Mapping[str, str]) -> list[dict[str, Any]]:
    """Say what each arm is: its model, what its files were, and its share.

    Args:
        spec: Of the revision.
        contents: Digest of the files of each arm's model, if they were read.
    """
    return [
        {
            "name": arm.name,
            "model": arm.model.label,
            "weight": arm.weight,
            "content": contents.get(arm.name) or arm.model.digest or None,
        }
        for arm in spec.arms
    ]


class _Journal(History, Memory, Protocol):
    pass


def journal_events(journal: _Journal) -> Iterator[Event]:
    """Yield what a journal holds: starts, stops, alarms, policy epochs, voided outcomes."""
    for event in journal.revision_events():
        if event.event in _OF_SERVER:
            action, subject = _OF_SERVER[event.event]
            yield Event(
                action,
                f"{subject} revision {event.revision}",
                event.time_ms,
                _server_of(event.server),
                f"server/{event.event}/{event.revision}/{event.time_ms}",
            )
    for alarm in journal.alarms():
        yield Event(
            "alarm",
            alarm.message,
            alarm.time_ms,
            SERVER,
            f"alarm/{alarm.id}",
            after=dict(alarm.details),
            evidence={"revision": alarm.revision, "consumer": alarm.consumer},
        )
    # Epoch 0 is the weights of the spec, which its revision has.
    before: dict[int, list[float]] = {}
    for epoch in journal.epochs():
        shares = list(epoch.probabilities)
        if epoch.of_vectors is not None:
            # One of those that an epoch draws by; that epoch has the change.
            continue
        if epoch.epoch:
            yield Event(
                "policy",
                f"revision {epoch.revision}, epoch {epoch.epoch}",
                epoch.time_ms,
                SERVER,
                f"epoch/{epoch.revision}/{epoch.epoch}",
                before=before.get(epoch.revision),
                after=shares,
                evidence=epoch.parameters,
            )
        before[epoch.revision] = shares
    for void in journal.voids():
        said = digest_of([void.reason, void.by])[7:15]
        yield Event(
            "void",
            f"{void.outcomes:,} outcome{'s' * (void.outcomes > 1)} of revision {void.revision}",
            void.time_ms,
            by_name(void.by),
            f"void/{void.revision}/{void.time_ms}/{said}",
            after={"outcomes": void.outcomes},
            evidence={"reason": void.reason},
        )


def _server_of(place: str) -> dict[str, str]:
    host, _, _ = place.partition(":")
    return {**SERVER, "host": host} if host else SERVER


def settings_state(settings: RolloutSettings) -> State:
    """The settings of the project's file that differ from the defaults; without secrets.

    Not what the environment or a command line said: a revision and the server's own record keep
    what became of that.
    """
    origin = str(settings.project_file)
    named = [key for key, source in settings.origins.items() if source == origin]
    values = {key: _plain(value_at(settings, key)) for key in sorted(named)}
    return State("configuration", "project file", "settings", values or None)


def server_state(launch: Launch | None) -> State:
    """How the server was started: address, limits, what it keeps and admits."""
    values = None
    if launch is not None:
        told = {name: value for name, value in asdict(launch).items() if name not in _LEFT_OUT}
        values = {name: _plain(value) for name, value in told.items()}
    return State("configuration", "server", "server", values)


def _plain(value: object) -> Any:  # noqa: ANN401 - JSON data
    if isinstance(value, str):
        return without_credentials(value)
    if isinstance(value, tuple | list):
        return [_plain(each) for each in value]
    if isinstance(value, dict):
        return {name: _plain(each) for name, each in value.items()}
    return value if isinstance(value, bool | int | float) or value is None else str(value)
