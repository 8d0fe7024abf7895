"""Settings that a server of this machine reads when it starts, and a new revision does not change.

They are compared with what the server that runs was started with, so that a `deploy` that cannot
apply a change says so.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import fields, replace

from mlops.deployment.access import given_tls, issuer_of
from mlops.deployment.journals import journal_reference
from mlops.deployment.local import running
from mlops.deployment.log_sinks import log_sinks
from mlops.deployment.runtime_files import places
from mlops.errors import InvalidInputError, MlopsError
from mlops.settings.needs import RolloutSettings
from mlops.settings.schema import watched
from mlops.spec.request_log import LogSink, sink_to_dict
from mlops.spec.server import Launch, ServerState, written_fields


def changed_since_start(
    settings: RolloutSettings, name: str, *, addresses: bool = True
) -> tuple[str, ...]:
    """Return the settings that the server of a deployment was started with other values of.

    Args:
        settings: With what is kept of the live revision.
        name: The deployment.
        addresses: Whether to compare also those that a command line can name, and that are kept
            of the live revision.

    Returns:
        As `[deploy] hosts`; none if no server runs.
    """
    where = places(settings, name)
    state = running(where)
    if state is None:
        return ()
    try:
        # What a server of an earlier version does not say is not compared.
        known = written_fields(where.state)
    except InvalidInputError:
        # The file is gone or damaged, and the server itself was asked.
        known = frozenset(field.name for field in fields(Launch))
    changed = [*_addresses(settings, state)] if addresses else []
    for setting, field, value, started_with in _values(settings, name, state.launch):
        if field in known and value != started_with:
            changed.append(setting)
    return tuple(changed)


def describe_changed(name: str, changed: Sequence[str]) -> str:
    """Say which settings changed since a server was started."""
    listed = ", ".join(f"`{setting}`" for setting in changed)
    return (
        f"The server of `{name}` was started with other values of {listed}, and reads them only "
        "when it starts"
    )


def _values(
    settings: RolloutSettings, name: str, launch: Launch
) -> Sequence[tuple[str, str, object, object]]:
    """Return settings, each with the field of a launch for it, its value now and that it had."""
    deploy, journal, watch = settings.deploy, settings.journal, settings.watch
    report = settings.report
    return (
        ("[deploy] hosts", "hosts", deploy.hosts, launch.hosts),
        ("[deploy] max_bodies_mib", "max_bodies_mib", deploy.max_bodies_mib, launch.max_bodies_mib),
        ("[report] alpha", "alpha", report.alpha, launch.alpha),
        ("[report] baseline", "baseline", report.baseline, launch.baseline),
        ("[feedback] client_ids", "client_ids", settings.feedback.client_ids, launch.client_ids),
        ("[journal] url", "journal_url", journal_reference(settings, name), launch.journal_url),
        ("[journal] features", "features", journal.features, launch.features),
        ("[journal] hash", "hashed", journal.hash, launch.hashed),
        ("[journal] drop", "dropped", journal.drop, launch.dropped),
        ("[journal] max_mb", "journal_max_mb", journal.max_mb, launch.journal_max_mb),
        ("[journal] consumers", "consumers", journal.consumers, launch.consumers),
        ("[watch]", "watch", watched(watch), launch.watch),
        ("[watch] season", "season", watch.season or "none", launch.season or "none"),
        ("[watch] webhook", "webhook", watch.webhook, launch.webhook),
        ("[log.sinks]", "sinks", _sinks(settings), _as_json(launch.sinks)),
        ("[auth]", "access", _issuer(settings), launch.access.issuer),
    )


def _sinks(settings: RolloutSettings) -> object:
    try:
        return _as_json(log_sinks(settings, here=False))
    except MlopsError as error:
        # What it was started with had no fault. The next start says this one.
        return error


def _as_json(sinks: Sequence[LogSink]) -> object:
    # In a state file, tuples are lists.
    return json.loads(json.dumps([sink_to_dict(sink) for sink in sinks]))


def _issuer(settings: RolloutSettings) -> object:
    try:
        return issuer_of(settings)
    except MlopsError as error:
        return error


def _addresses(settings: RolloutSettings, state: ServerState) -> Iterator[str]:
    """Yield what has another value than the server's, of a file or a variable.

    A command line that differs was refused already.
    """
    own, launch = settings.deploy, state.launch
    named = {name for name in _NAMED if settings.origins[f"deploy.{name}"] != "default"}
    started_with = {
        "host": launch.host,
        # Any free one.
        "port": launch.port if own.port else 0,
        "grpc_port": launch.grpc_port,
        "workers": launch.workers,
        "insecure_no_auth": launch.access.unprotected,
    }
    values = {name: getattr(own, name) for name in started_with} | {"workers": own.workers or 1}
    for name, value in values.items():
        if name in named and value != started_with[name]:
            yield f"[deploy] {name}"
    try:
        tls = given_tls(settings)
    except MlopsError:
        tls = replace(launch.tls, cert="") if launch.tls else None
    if not named.isdisjoint(_TLS) and tls != launch.tls:
        yield "[deploy] tls_cert"


_TLS = frozenset({"tls_cert", "tls_key", "tls_client_ca", "tls_client_crl"})
_NAMED = _TLS | {"host", "port", "grpc_port", "workers", "insecure_no_auth"}
