"""What Seldon's storage initializer can fetch: it runs `rclone copy URI /mnt/models`.

The scheme of the URI is the name of an rclone remote, so `s3://bucket/model` needs a remote called
`s3`, which the keys `RCLONE_CONFIG_S3_*` of a secret define. Only `gs` is defined beforehand, for
public buckets; `pvc` is handled by the operator itself.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from urllib.parse import SplitResult, urlsplit

from mlops.deployment.targets.base import Refusal

_REACHABLE = (
    "Keep artifacts where the cluster can reach them: set `root` of `[artifacts]` in mlops.toml to "
    "an s3:// or gs:// URI and train again."
)
_ONLY_MLFLOW = ("models", "runs", "mlflow-artifacts", "dbfs", "databricks")
_AZURE = ("wasb", "wasbs", "abfs", "abfss")
_KEYS = {
    "s3": ("TYPE", "PROVIDER", "ENV_AUTH", "ACCESS_KEY_ID", "SECRET_ACCESS_KEY", "ENDPOINT"),
    "gcs": ("TYPE", "ANONYMOUS", "SERVICE_ACCOUNT_CREDENTIALS"),
    "azureblob": ("TYPE", "ACCOUNT", "KEY"),
}


def refusal(source: str) -> Refusal | None:
    """Say why a model cannot be fetched from `source`, and what would help; None if it can.

    >>> refusal("s3://bucket/wine/3") is None
    True
    >>> refusal("file:///srv/wine").fault
    'is on this machine'
    """
    parts = _split(source)
    if parts is None or not source.isprintable() or source != source.strip():
        return Refusal("is no URI", _REACHABLE)
    # A single letter is a drive, not a scheme.
    if parts.scheme == "file" or len(parts.scheme) < 2:
        return Refusal("is on this machine", _REACHABLE)
    if parts.scheme in _ONLY_MLFLOW:
        return Refusal(
            f"can be fetched by MLflow only, as `{parts.scheme}:` is its own scheme", _REACHABLE
        )
    if parts.scheme in _AZURE:
        return Refusal(
            f"has the scheme `{parts.scheme}`, whose form rclone does not know",
            "Name the model as `azureblob://CONTAINER/PATH`.",
        )
    if "@" in parts.netloc or parts.query:
        return Refusal(
            "may carry a secret, which must not stand in a manifest",
            "Leave out what comes before `@` and after `?`; credentials belong into a secret.",
        )
    if not re.fullmatch(r"[a-z][a-z0-9]*", parts.scheme):
        return Refusal(
            f"has the scheme `{parts.scheme}`, which cannot name an rclone remote", _REACHABLE
        )
    if not parts.netloc:
        return Refusal("names no bucket", _REACHABLE)
    return None


def notes(sources: Iterable[str], secret: str) -> list[str]:
    """Say what the secret must hold, once for each scheme.

    Args:
        sources: URIs that `refusal` has no objection to.
        secret: Name of the secret, empty for the operator's default.
    """
    where = f"the secret `{secret}`" if secret else "the operator's default rclone secret"
    schemes = sorted({urlsplit(source).scheme for source in sources} - {"pvc"})
    return [_note(scheme, where) for scheme in schemes]


def _note(scheme: str, where: str) -> str:
    if scheme == "gs":
        return (
            "Seldon reads gs:// without credentials, so from public buckets only. For a private "
            "one write gcs:// in its place, and put "
            f"{_listed('gcs')} into {where}."
        )
    if scheme in _KEYS:
        return f"To read {scheme}://, {where} must hold {_listed(scheme)}."
    return (
        f"rclone knows {scheme}:// only if {where} holds RCLONE_CONFIG_{scheme.upper()}_TYPE and "
        f"what that type needs, all named RCLONE_CONFIG_{scheme.upper()}_*."
    )


def _listed(remote: str) -> str:
    return ", ".join(f"RCLONE_CONFIG_{remote.upper()}_{key}" for key in _KEYS[remote])


def _split(source: str) -> SplitResult | None:
    try:
        return urlsplit(source)
    except ValueError:
        return None
