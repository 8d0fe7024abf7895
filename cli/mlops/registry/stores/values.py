"""Credentials themselves, read from a source that the user named, only for a Secret."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from pathlib import Path

from mlops.errors import InvalidInputError, MlopsError, UsageError
from mlops.registry.stores.access import AWS_KEYS, Access
from mlops.registry.stores.faults import fault


@dataclass(frozen=True, slots=True)
class Values:
    """What a store asks for. Never printed by accident: no field is in the `repr`.

    Attributes:
        access_key: Of S3.
        secret_key: Of S3.
        key_file: Google's key file, as JSON on one line.
    """

    access_key: str = field(default="", repr=False)
    secret_key: str = field(default="", repr=False)
    key_file: str = field(default="", repr=False)


def read_values(access: Access, where: str) -> Values:
    """Read credentials from the source that `access` names.

    Raises:
        UsageError: It names none; what a client happens to find is not to be handed on.
        NotAllowedError: There are none at the source.
        InvalidInputError: They are temporary, or no key file.
    """
    if access.source == "default":
        raise UsageError(
            "`--with-values` hands on credentials, so their source has to be named.",
            hint='Set `credentials = "environment"`, `"profile:NAME"` or `"file:PATH"` of '
            "[artifacts] in mlops.toml, or `MLOPS_ARTIFACTS_CREDENTIALS`.",
        )
    return _of_google(access, where) if access.scheme == "gs" else _of_amazon(access, where)


def _of_amazon(access: Access, where: str) -> Values:
    from mlops.registry.stores.s3 import find_keys

    keys = find_keys(access, where)
    if keys.token:
        raise InvalidInputError(
            f"The credentials of {access.credentials} are temporary, and a Secret is not.",
            hint=f"Name a source with lasting keys, without `{AWS_KEYS[2]}`.",
        )
    return Values(access_key=keys.access_key, secret_key=keys.secret_key)


def _of_google(access: Access, where: str) -> Values:
    path = access.name or os.environ.get("GOOGLE_APPLICATION_CREDENTIALS", "")
    if access.source == "profile" or not path or not Path(path).is_file():
        raise fault("credentials", access, where, f"no key file at {access.credentials}")
    try:
        return Values(key_file=json.dumps(json.loads(Path(path).read_text(encoding="utf-8"))))
    except ValueError:
        raise _no_key_file(path) from None


def _no_key_file(path: str) -> MlopsError:
    return InvalidInputError(
        f"`{path}` is not a key file of Google: it is not JSON.",
        hint="`gcloud iam service-accounts keys create FILE --iam-account=…` makes one.",
    )
