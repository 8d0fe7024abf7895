"""Access to a deployment of this machine, from the settings and its last start."""

from __future__ import annotations

import math
import time

from mlops.deployment.runtime_files import Places, read_server_state
from mlops.errors import InvalidInputError, UsageError
from mlops.settings.needs import RolloutSettings
from mlops.spec.access import Access, Issuer, Tls, check_auth, check_issuer
from mlops.spec.tls import check_tls

_TLS = ("tls_cert", "tls_key", "tls_client_ca", "tls_client_crl")


def access_of(settings: RolloutSettings, where: Places) -> Access:
    """Return who is admitted beside callers with the token.

    Raises:
        UsageError: Access is to be open, and there are keys that restrict it.
        InvalidInputError: The libraries for signed tokens are missing, or the file of the keys.
    """
    unprotected, before = settings.deploy.insecure_no_auth, read_server_state(where)
    if before is not None and settings.origins["deploy.insecure_no_auth"] == "default":
        unprotected = before.launch.access.unprotected
    issuer = issuer_of(settings)
    if unprotected and (where.keys.exists() or issuer):
        raise UsageError(
            f"`{where.name}` has {'an issuer of tokens' if issuer else 'API keys'}, so callers "
            "must authenticate.",
            hint="Leave `--insecure-no-auth` out (`--reset insecure-no-auth`).",
        )
    _check_keys(settings, where, unprotected=unprotected)
    return Access(str(where.keys), issuer, unprotected)


def _check_keys(settings: RolloutSettings, where: Places, *, unprotected: bool) -> None:
    """Refuse to take keys whose file was lost for none, which would admit every caller.

    Raises:
        InvalidInputError: It is gone, and nobody has said since that callers need none.
    """
    # Commands that only look import this module, and need no trail.
    from mlops.deployment.recording import lost_keys

    lost = lost_keys(settings, where, time.time_ns() // 1_000_000)
    if unprotected:
        before = read_server_state(where)
        inherited = settings.origins["deploy.insecure_no_auth"] == "default" and before is not None
        # The last start was open though they were there: it was told to be.
        since_ms = before.started_ms if before is not None and inherited else math.inf
        lost = {name: made_ms for name, made_ms in lost.items() if made_ms > since_ms}
    if lost:
        names = ", ".join(f"`{name}`" for name in list(lost)[:5])
        more = f" and {len(lost) - 5} more" if len(lost) > 5 else ""
        raise InvalidInputError(
            f"`{where.keys}`, the file of the API keys, is gone. `{where.name}` has {names}{more} "
            "by its audit trail.",
            hint="Put the file back from a backup; or make new keys, "
            f"`mlops keys create NAME --scope SCOPE --deployment {where.name}`; or, for callers "
            "without keys, `mlops deploy … --insecure-no-auth`.",
        )


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
