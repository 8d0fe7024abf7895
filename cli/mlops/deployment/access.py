"""Access to a deployment of this machine, from the settings and its last start."""

from __future__ import annotations

import time
from dataclasses import dataclass

from mlops.deployment.runtime_files import Places, read_server_state
from mlops.errors import InvalidInputError, UsageError
from mlops.settings.needs import RolloutSettings
from mlops.spec.access import Access, Issuer, Tls, check_auth, check_issuer, read_if_there
from mlops.spec.server import LOOPBACK, ServerState
from mlops.spec.tls import check_tls

_TLS = ("tls_cert", "tls_key", "tls_client_ca", "tls_client_crl")


@dataclass(frozen=True, slots=True)
class Admission:
    """Who is admitted to a server that is about to start.

    Attributes:
        access: Who is beside callers with the token.
        tls: The files for TLS; None for none.
        token: Whether callers may send the token of the deployment.
        warning: What an operator should know; empty for nothing.
    """

    access: Access
    tls: Tls | None
    token: bool
    warning: str = ""


def admission_of(settings: RolloutSettings, where: Places, host: str) -> Admission:
    """Decide who is admitted to a server of this machine; nothing is written.

    Args:
        settings: The project's settings.
        where: Files of the deployment.
        host: What it is to listen on.

    Raises:
        UsageError: Access is to be open, and there are keys or an issuer that restrict it; or a
            file for TLS is missing.
        InvalidInputError: Without the file of the keys, which is gone, every caller would be
            admitted; it cannot be read; the libraries for signed tokens are missing; or the files
            for TLS cannot be used.
    """
    before = read_server_state(where)
    access, tls = _access_of(settings, where, before), tls_of(settings, where)
    # If callers authenticate by other means, the commands here still need a token.
    others = access.issuer is not None or bool(tls and tls.client_ca)
    token = (others or host not in LOOPBACK) and not access.unprotected
    lost = _lost_keys(settings, where, before, unprotected=access.unprotected)
    if not lost:
        return Admission(access, tls, token)
    text = (
        f"`{where.keys}`, the file of the API keys, is gone. `{where.name}` has {_listed(lost)} "
        "by its audit trail"
    )
    if token or others:
        # Without it fewer callers are admitted, not more.
        return Admission(access, tls, token, f"{text}, and refuses callers with one of these.")
    raise InvalidInputError(
        f"{text}. Without them, every caller would be admitted.",
        hint="Put the file back from a backup; or make new keys, "
        f"`mlops keys create NAME --scope SCOPE --deployment {where.name}`; or, for callers "
        "without keys, `mlops deploy … --insecure-no-auth`.",
    )


def _access_of(settings: RolloutSettings, where: Places, before: ServerState | None) -> Access:
    unprotected = settings.deploy.insecure_no_auth
    if before is not None and settings.origins["deploy.insecure_no_auth"] == "default":
        unprotected = before.launch.access.unprotected
    issuer = issuer_of(settings)
    if unprotected and (issuer or read_if_there(where.keys) is not None):
        raise UsageError(
            f"`{where.name}` has {'an issuer of tokens' if issuer else 'API keys'}, so callers "
            "must authenticate.",
            hint="Leave `--insecure-no-auth` out (`--reset insecure-no-auth`).",
        )
    return Access(str(where.keys), issuer, unprotected)


def _lost_keys(
    settings: RolloutSettings, where: Places, before: ServerState | None, *, unprotected: bool
) -> list[str]:
    """Return the names of keys whose file is gone, unless a user said since that none is needed."""
    # Commands that only look import this module, and need no trail.
    from mlops.deployment.recording import lost_keys

    if unprotected and settings.origins["deploy.insecure_no_auth"] == "command line":
        return []
    since_ms = 0
    if unprotected and before is not None and before.launch.access.unprotected:
        # That start was open though the file was gone, as its command line said so. A setting
        # that is kept of it says nothing about keys that were made later.
        since_ms = before.started_ms
    lost = lost_keys(settings, where, time.time_ns() // 1_000_000)
    return [name for name, made_ms in lost.items() if made_ms > since_ms]


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return ", ".join(f"`{name}`" for name in names[:5]) + more


def issuer_of(settings: RolloutSettings) -> Issuer | None:
    """Return whose signed tokens count; None if not configured.

    Raises:
        InvalidInputError: The libraries are missing, or any client could make such tokens.
    """
    own = settings.auth
    if not (own.issuer or own.jwks):
        return None
    check_auth()
    jwks = own.jwks
    if "://" not in jwks and jwks:
        jwks = str(settings.project_dir / jwks)
    issuer = Issuer(
        own.issuer,
        own.audience,
        jwks,
        own.algorithms,
        own.scope_claim,
        own.scope_prefix,
        own.leeway_s,
        own.refresh_s,
    )
    check_issuer(issuer)
    return issuer


def tls_of(settings: RolloutSettings, where: Places) -> Tls | None:
    """Return the files for TLS; those of the last start, unless others are given.

    Raises:
        UsageError: One is missing.
        InvalidInputError: They are not a certificate with its key.
    """
    before = read_server_state(where)
    if before is not None and all(settings.origins[f"deploy.{n}"] == "default" for n in _TLS):
        return before.launch.tls
    tls = given_tls(settings)
    if tls is not None:
        check_tls(tls)
    return tls


def given_tls(settings: RolloutSettings) -> Tls | None:
    """Return the files for TLS that the settings name.

    Raises:
        UsageError: One is missing.
    """
    names = [getattr(settings.deploy, name) for name in _TLS]
    tls = Tls(*(str(settings.project_dir / name) if name else "" for name in names))
    if not any(names):
        return None
    if not (tls.cert and tls.key):
        raise UsageError(
            "TLS needs a certificate and its key.", hint="`--tls-cert FILE --tls-key FILE`"
        )
    if tls.client_crl and not tls.client_ca:
        raise UsageError(
            "A revocation list needs the CA of callers' certificates.",
            hint="`--tls-client-ca FILE`",
        )
    return tls
