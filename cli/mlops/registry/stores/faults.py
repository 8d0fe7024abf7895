"""What goes wrong with a store, by cause, each with its remedy.

A client's exceptions are mapped by the module that uses the client; here is what they mean.
"""

from __future__ import annotations

import errno
from collections.abc import Mapping
from typing import Literal

from mlops.errors import InvalidInputError, MlopsError, NotAllowedError, NotFoundError, RemoteError
from mlops.registry.stores.access import Access
from mlops.settings.secrets import without_credentials

Reason = Literal[
    "credentials",
    "keys",
    "token",
    "permission",
    "bucket",
    "file",
    "region",
    "clock",
    "refused",
    "address",
    "protocol",
    "tls",
    "timeout",
    "broken",
    "full",
    "damaged",
    "failed",
]

_MEANING: Mapping[Reason, tuple[type[MlopsError], str]] = {
    "credentials": (NotAllowedError, "There are no credentials for `{where}`"),
    "keys": (NotAllowedError, "The store does not know the keys used for `{where}`"),
    "token": (
        NotAllowedError,
        "The temporary credentials for `{where}` are not accepted; they probably expired",
    ),
    "permission": (NotAllowedError, "The store denies access to `{where}`"),
    "bucket": (NotFoundError, "The bucket of `{where}` does not exist"),
    "file": (NotFoundError, "`{where}` does not exist"),
    "region": (InvalidInputError, "The bucket of `{where}` is in another region"),
    "clock": (RemoteError, "The clocks of this machine and of the store of `{where}` differ"),
    "refused": (RemoteError, "Nothing listens at `{endpoint}`, the store of `{where}`"),
    "address": (RemoteError, "The host of `{endpoint}`, the store of `{where}`, is not known"),
    "protocol": (InvalidInputError, "What answers at `{endpoint}` is not a store of `{scheme}://`"),
    "tls": (RemoteError, "No secure connection to `{endpoint}`, the store of `{where}`"),
    "timeout": (RemoteError, "The store of `{where}` did not answer in time"),
    "broken": (RemoteError, "The connection to the store of `{where}` broke"),
    "full": (RemoteError, "The store of `{where}` is full"),
    "damaged": (RemoteError, "`{where}` did not arrive as it was stored"),
    "failed": (RemoteError, "The store of `{where}` cannot be used"),
}

# Where the client's message is long and adds nothing.
_TOLD: frozenset[Reason] = frozenset({"refused", "address", "timeout", "protocol"})

_AGAIN = "Try again; `mlops stores check` shows whether the store works."
_ADDRESS = "Is it running? The address is `endpoint_url` of [artifacts] in mlops.toml{variable}."
_HINTS: Mapping[Reason, str] = {
    "region": "Set `region` of [artifacts] in mlops.toml, or `AWS_DEFAULT_REGION`.",
    "clock": "Set this machine's clock: `timedatectl set-ntp true`.",
    "refused": _ADDRESS,
    "address": _ADDRESS,
    "protocol": "Set `endpoint_url` of [artifacts] in mlops.toml{variable} to the store's API; "
    "a console, an MLflow server or a proxy answers otherwise.",
    "tls": "Is the certificate its own? `AWS_CA_BUNDLE` or `REQUESTS_CA_BUNDLE` names the "
    "authority; a store without TLS has an `endpoint_url` with `http://`.",
    "timeout": "Is `endpoint_url` of [artifacts] right, and does a firewall or a proxy stand "
    "between? " + _AGAIN,
    "broken": _AGAIN,
    "full": "Make room in the store, or set another `root` of [artifacts] in mlops.toml.",
    "damaged": _AGAIN,
    "failed": _AGAIN,
    "file": "`mlops models list` shows what is registered, and where.",
}
_S3_HINTS: Mapping[Reason, str] = {
    "credentials": "Set `AWS_ACCESS_KEY_ID` and `AWS_SECRET_ACCESS_KEY`, or run `aws configure` "
    'and name the profile: `credentials = "profile:NAME"` of [artifacts] in mlops.toml.',
    "keys": "Check `AWS_ACCESS_KEY_ID` and `AWS_SECRET_ACCESS_KEY`, or what `aws configure` "
    "wrote; and that `endpoint_url` of [artifacts] is the store they belong to.",
    "token": "Get new ones: `aws sso login`, or set `AWS_ACCESS_KEY_ID`, "
    "`AWS_SECRET_ACCESS_KEY` and `AWS_SESSION_TOKEN` again.",
    "permission": "Its policy has to allow s3:ListBucket, s3:GetObject, s3:PutObject and "
    "s3:DeleteObject there; or set `AWS_PROFILE` to a user who may.",
    "bucket": "`aws s3 mb s3://{bucket}{endpoint_option}`, or set another `root` of [artifacts].",
}
_GS_HINTS: Mapping[Reason, str] = {
    "credentials": "`gcloud auth application-default login`, or set "
    "`GOOGLE_APPLICATION_CREDENTIALS` to a key file.",
    "keys": "Make a new key file and set `GOOGLE_APPLICATION_CREDENTIALS`, or "
    "`gcloud auth application-default login`.",
    "token": "`gcloud auth application-default login`.",
    "permission": "Grant it the role `roles/storage.objectAdmin` on the bucket: "
    "`gcloud storage buckets add-iam-policy-binding gs://{bucket} --member=… --role=…`.",
    "bucket": "`gcloud storage buckets create gs://{bucket}`, or set another `root` of "
    "[artifacts].",
}
_FILE_HINTS: Mapping[Reason, str] = {
    "permission": "`ls -ld` shows whose it is; or set another `root` of [artifacts].",
}
_VARIABLES = {
    "s3": ", or `MLFLOW_S3_ENDPOINT_URL`",
    "gs": ", or `STORAGE_EMULATOR_HOST`",
}


def fault(reason: Reason, access: Access, where: str, detail: str = "") -> MlopsError:
    """Return the error for what went wrong.

    Args:
        reason: Which of the causes.
        access: How the store was reached, for the hint.
        where: URI of the thing asked for.
        detail: The client's message; credentials are left out.
    """
    kind, text = _MEANING[reason]
    own = {"s3": _S3_HINTS, "gs": _GS_HINTS, "file": _FILE_HINTS}.get(access.scheme, {})
    facts = {
        "where": without_credentials(where),
        "scheme": access.scheme,
        "endpoint": without_credentials(access.endpoint) or "the provider's own address",
        "bucket": where.partition("://")[2].partition("/")[0],
        "variable": _VARIABLES.get(access.scheme, ""),
        "endpoint_option": f" --endpoint-url {access.endpoint}" if access.endpoint else "",
    }
    message = text.format_map(facts)
    said = "" if reason in _TOLD else first_line(without_credentials(detail))
    hint = (own.get(reason) or _HINTS.get(reason) or _AGAIN).format_map(facts)
    return kind(f"{message}: {said}" if said else f"{message}.", hint=hint, reason=reason)


def os_fault(error: OSError, access: Access, where: str) -> MlopsError:
    """Return the error for a refusal of the operating system."""
    reasons: Mapping[int | None, Reason] = {
        errno.ENOENT: "file",
        errno.EACCES: "permission",
        errno.EPERM: "permission",
        errno.EROFS: "permission",
        errno.ENOSPC: "full",
        errno.EDQUOT: "full",
        errno.ETIMEDOUT: "timeout",
    }
    return fault(reasons.get(error.errno, "failed"), access, where, error.strerror or str(error))


def network_reason(error: BaseException) -> Reason:
    """Classify a failure to connect by its message and causes."""
    text = f"{type(error).__name__} {error}"
    causes: tuple[tuple[Reason, tuple[str, ...]], ...] = (
        ("address", ("NameResolution", "getaddrinfo", "Name or service", "nodename")),
        ("refused", ("Connection refused", "Errno 111", "Errno 61", "EndpointConnectionError")),
        ("tls", ("SSL", "CERTIFICATE")),
        ("timeout", ("Timeout", "timed out")),
    )
    for reason, words in causes:
        if any(word in text for word in words):
            return reason
    return "broken"


def first_line(text: str) -> str:
    """Return what a user needs of a client's often long message."""
    line = text.strip().splitlines()[0] if text.strip() else ""
    return line if len(line) <= 300 else line[:300] + "…"
