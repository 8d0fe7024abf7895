"""Fixtures that several folders share."""

from tests.fixtures_deployment import free_port, shop, wine_shop
from tests.fixtures_stores import (
    direct_mlflow,
    gcs,
    minio,
    own_gcs,
    own_minio,
    proxied_mlflow,
)
from tests.fixtures_training import (
    clean_environ,
    cli,
    empty_database,
    own_wine,
    ready_folder,
    trained_wine,
)
from tests.postgresql import database, postgresql_url

__all__ = [
    "clean_environ",
    "cli",
    "database",
    "direct_mlflow",
    "empty_database",
    "free_port",
    "gcs",
    "minio",
    "own_gcs",
    "own_minio",
    "own_wine",
    "postgresql_url",
    "proxied_mlflow",
    "ready_folder",
    "shop",
    "trained_wine",
    "wine_shop",
]
