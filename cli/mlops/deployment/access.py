"""Access to a deployment of this machine, from the settings and its last start."""

from __future__ import annotations

from mlops.deployment.runtime_files import Places, read_server_state
from mlops.errors import UsageError
from mlops.settings.needs import RolloutSettings
from mlops.spec.access import Access, Issuer, Tls, check_auth, check_issuer
from mlops.spec.tls import check_tls

_TLS = ("tls_cert", "tls_key", "tls_client_ca", "tls_client_crl")


def access_of(settings: RolloutSettings, where: Places) -> Access:
    """Return who is admitted beside callers with the token.

    Raises:
        UsageError: Access is to be open, and there are keys that restrict it.
        InvalidInputError: The libraries for signed tokens are missing.
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
    return Access(str(where.keys), issuer, unprotected)


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
