"""Whether other machines reach the store that the settings name."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from mlops.errors import InvalidInputError
from mlops.settings.secrets import without_credentials

if TYPE_CHECKING:
    from mlops.settings.needs import StoreSettings

_OWN_STORES = ("sqlite:", "file:", "/", ".")


def check_shared(settings: StoreSettings, who: str) -> None:
    """Refuse a store in files of this machine, before anything runs.

    Args:
        settings: Name the store.
        who: Subject of a sentence that continues with "do not see files of this machine".

    Raises:
        InvalidInputError: Runs or artifacts are kept in files of this machine.
    """
    uri = settings.tracking_uri
    shared = f"{who} do not see files of this machine"
    if uri.startswith(_OWN_STORES):
        raise InvalidInputError(
            f"{shared}, but MLflow is `{without_credentials(uri)}`.",
            hint="Use an MLflow server or PostgreSQL: `tracking.uri` or MLFLOW_TRACKING_URI.",
        )
    root = urlsplit(settings.artifact_root)
    if not uri.startswith("http") and root.scheme in ("", "file"):
        raise InvalidInputError(
            f"{shared}, but artifacts go to `{settings.artifact_root}`.",
            hint="Set `artifacts.root` to s3://… or gs://…, or use an MLflow server.",
        )
