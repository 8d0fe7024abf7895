"""Artifact stores: one contract over local files, S3 (MinIO too) and Google Cloud Storage.

MLflow's own clients carry what a training script logs; `access.mlflow_environment` configures them.
What mlops transfers, probes and pushed models, goes through `Store`, which maps every client's
exceptions to errors of mlops, each with the command or variable that fixes it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from mlops.plugins import Plugins
from mlops.registry.stores.access import PATIENT, Access, Patience, access_for
from mlops.registry.stores.base import File, Location, Store, parse_location

if TYPE_CHECKING:
    from mlops.settings.needs import StoreSettings

#: URI scheme to strategy.
STORES: Plugins[Callable[[Location, Access], Store]] = Plugins(
    "kind of artifact store",
    {
        "file": "mlops.registry.stores.files:FileStore",
        "s3": "mlops.registry.stores.s3:S3Store",
        "gs": "mlops.registry.stores.gcs:GcsStore",
    },
    group="mlops.stores",
    needs=("__call__",),
)


def open_store(uri: str, settings: StoreSettings, patience: Patience = PATIENT) -> Store:
    """Return the store whose root is `uri`; nothing is sent yet.

    Args:
        uri: `s3://bucket/prefix`, `gs://bucket/prefix`, `file:///folder` or a path.
        settings: `[artifacts]` says how stores of the kind of its `root` are reached.
        patience: How long to try.

    Raises:
        InvalidInputError: The URI is of no known kind or names no bucket, or the settings
            contradict it.
        NotAllowedError: There are no credentials where the settings say.
    """
    location = parse_location(uri)
    make = STORES.load(location.scheme)
    return make(location, access_for(location.scheme, settings, patience))


def check_credentials(uri: str, settings: StoreSettings) -> None:
    """Say at once if there are none for a store, which some clients take minutes to find out.

    Nothing is sent; a store of a kind that is left to MLflow is not checked.

    Raises:
        NotAllowedError: There are no credentials where the settings say.
    """
    if parse_location(uri).scheme in ("s3", "gs"):
        open_store(uri, settings).close()


__all__ = [
    "STORES",
    "Access",
    "File",
    "Location",
    "Patience",
    "Store",
    "access_for",
    "check_credentials",
    "open_store",
    "parse_location",
]
