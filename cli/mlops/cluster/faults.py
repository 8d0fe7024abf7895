"""Refusals of a cluster, mapped to readable errors."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from mlops.errors import (
    ConflictError,
    InvalidInputError,
    MlopsError,
    NotAllowedError,
    NotFoundError,
    RemoteError,
)

_FORBIDDEN = re.compile(
    r'User "(?P<user>[^"]*)" cannot (?P<verb>\w+) resource "(?P<resource>[^"]*)"'
    r'(?: in API group "(?P<group>[^"]*)")?(?: in the namespace "(?P<namespace>[^"]*)")?'
)
_WEBHOOK = re.compile(r'admission webhook "([^"]*)" denied the request:? ?(.*)', re.DOTALL)
_OWNER = re.compile(r'conflict with "(?P<manager>[^"]*)"')
_CERTIFICATE = "its certificate is not the one that the kubeconfig trusts"
_BUSY = (429, 500, 502, 503, 504)
# The server answers a field that it does not know with a status of its own failure.
_UNKNOWN_FIELD = "failed to create typed patch object"


@contextlib.contextmanager
def cluster_errors(server: str, context: str = "") -> Iterator[None]:
    """Map what the client raises to readable errors.

    Args:
        server: Address of the API, for messages.
        context: Context of the kubeconfig, likewise.

    Raises:
        RemoteError: No cluster can be reached, or it is too busy.
        NotAllowedError: It does not know who asks, or does not let them.
        NotFoundError: The object or the namespace does not exist.
        ConflictError: Another manager owns a field, or changed the object.
        InvalidInputError: It refuses the object.
    """
    import urllib3
    from kubernetes.client.exceptions import ApiException

    try:
        yield
    except ApiException as error:
        if not error.status:
            # The client's own way to pass on that TLS did not come about.
            raise no_cluster(server, _CERTIFICATE) from error
        raise refusal(error.status, _status(error.body), server, context) from error
    except urllib3.exceptions.HTTPError as error:
        raise no_cluster(server, _why(error)) from error


def _status(body: Any) -> Mapping[str, Any]:  # noqa: ANN401 - bytes, text or nothing
    """Return the Status object that the API answered with, as far as it is one."""
    try:
        found = json.loads(body)
    except (TypeError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def no_cluster(server: str, why: str) -> RemoteError:
    """Return the error that no cluster answers at the configured address."""
    return RemoteError(
        f"No cluster answers at `{server}`: {why}.",
        hint="Is it running, and is the context right? `kubectl config get-contexts`",
        reason="unreachable",
    )


def _why(error: Exception) -> str:
    import urllib3

    if isinstance(error, urllib3.exceptions.NameResolutionError):
        return "its name is not known"
    if isinstance(error, urllib3.exceptions.NewConnectionError):
        cause = error.__cause__
        if isinstance(cause, OSError) and cause.strerror:
            return cause.strerror[0].lower() + cause.strerror[1:]
        return "it cannot be connected to"
    if isinstance(error, urllib3.exceptions.TimeoutError):
        return "it did not answer in time"
    if isinstance(error, urllib3.exceptions.SSLError):
        return _CERTIFICATE
    return "the connection broke"


def refusal(code: int, status: Mapping[str, Any], server: str, context: str) -> MlopsError:
    """Return the error that an answer of the API means.

    Args:
        code: HTTP status code.
        status: Its Status object, empty if it sent none.
        server: Address of the API.
        context: Context of the kubeconfig.
    """
    message = str(status.get("message") or f"it answered with status {code}")
    details = status.get("details") or {}
    webhook = _WEBHOOK.search(message)
    if webhook:
        return InvalidInputError(
            f"The admission webhook `{webhook[1]}` of the cluster refused "
            f"{_object(details)}: {webhook[2].strip() or 'it gave no reason'}"
        )
    if code == 401:
        who = f"context `{context}`" if context else "this pod"
        return NotAllowedError(
            f"The cluster at `{server}` does not accept the credentials of {who}.",
            hint="They may have expired: log in again, and try `kubectl auth whoami`.",
        )
    if code == 403:
        return _forbidden(message)
    if code == 404:
        return _missing(message, details)
    if code == 409:
        return _conflict(message, details)
    if code in _BUSY and not message.startswith(_UNKNOWN_FIELD):
        return RemoteError(
            f"The cluster at `{server}` cannot do this now: {message}.", hint="Try again."
        )
    return InvalidInputError(f"The cluster refused it: {message}")


def _object(details: Mapping[str, Any]) -> str:
    name = details.get("name")
    return f"{details.get('kind', 'an object')} `{name}`" if name else "an object"


def _forbidden(message: str) -> MlopsError:
    found = _FORBIDDEN.search(message)
    if not found:
        # Not RBAC: a quota or the security level of the namespace.
        return InvalidInputError(f"The cluster refused it: {message}")
    user, verb, resource, group, namespace = found.groups()
    full = f"{resource}.{group}" if group else resource
    where = f" in namespace `{namespace}`" if namespace else ""
    asked = f"kubectl auth can-i {verb} {full}" + (f" -n {namespace}" if namespace else "")
    return NotAllowedError(
        f"`{user}` may not {verb} {full}{where}.",
        hint=f"An administrator has to allow it by a Role; `{asked}` says when it is.",
        reason=f"{verb} {full}",
    )


def _missing(message: str, details: Mapping[str, Any]) -> MlopsError:
    if details.get("kind") == "namespaces":
        name = details.get("name")
        return NotFoundError(
            f"The cluster has no namespace `{name}`.", hint=f"`kubectl create namespace {name}`"
        )
    return NotFoundError(f"The cluster says: {message}.", reason=str(details.get("kind") or ""))


def _conflict(message: str, details: Mapping[str, Any]) -> MlopsError:
    owners = []
    for cause in details.get("causes") or []:
        manager = _OWNER.search(cause.get("message") or "")
        if cause.get("reason") == "FieldManagerConflict" and manager:
            owners.append(f"`{cause.get('field')}` belongs to `{manager['manager']}`")
    if not owners:
        return ConflictError(f"The cluster says: {message}")
    return ConflictError(
        f"Others have set fields of {_object(details)}: {'; '.join(owners)}.",
        hint="`--force-conflicts` takes them over; or leave them to their owner.",
        reason="fields",
    )
