"""What Seldon's storage initializer can fetch: it runs `rclone copy URI /mnt/models`.

The scheme of the URI is the name of an rclone remote, so `s3://bucket/model` needs a remote called
`s3`, which the keys `RCLONE_CONFIG_S3_*` of a secret define. Only `gs` is defined beforehand, for
public buckets; `pvc` is handled by the operator itself.
"""

from __future__ import annotations

from collections.abc import Iterable
from urllib.parse import SplitResult, urlsplit

from mlops.deployment.targets.base import Refusal
from mlops.deployment.targets.sources import only_mlflow, remote_name

_REACHABLE = "Keep models where rclone can reach them, in s3:// or gcs:// for example."
_AZURE = ("wasb", "wasbs", "abfs", "abfss")
_KEYS = {
    "s3": ("TYPE", "PROVIDER", "ENV_AUTH", "ACCESS_KEY_ID", "SECRET_ACCESS_KEY", "ENDPOINT"),
    "gcs": ("TYPE", "ANONYMOUS", "SERVICE_ACCOUNT_CREDENTIALS"),
    "azureblob": ("TYPE", "ACCOUNT", "KEY"),
}


def unfetchable(parts: SplitResult) -> Refusal | None:
    """Say why rclone cannot fetch from a URI; None if it can."""
    if parts.scheme in _AZURE:
        return Refusal(
            f"has the scheme `{parts.scheme}`, whose form rclone does not know",
            "Name the model as `azureblob://CONTAINER/PATH`.",
        )
    if not remote_name(parts) and not only_mlflow(parts, _REACHABLE):
        return Refusal(
            f"has the scheme `{parts.scheme}`, which cannot name an rclone remote", _REACHABLE
        )
    return only_mlflow(parts, _REACHABLE)


def notes(sources: Iterable[str], secret: str) -> list[str]:
    """Say what the secret must hold, once for each scheme.

    Args:
        sources: URIs that `unfetchable` has no objection to.
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
