"""Fixtures that several folders share."""

import os
import signal
import sys
from collections.abc import Iterator

import pytest

from tests.fixtures_cluster import cluster_shop, kubernetes_api, namespace, platforms
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
from tests.prometheus import promtool

__all__ = [
    "clean_environ",
    "cli",
    "cluster_shop",
    "database",
    "direct_mlflow",
    "empty_database",
    "free_port",
    "gcs",
    "kubernetes_api",
    "minio",
    "namespace",
    "own_gcs",
    "own_minio",
    "own_wine",
    "platforms",
    "postgresql_url",
    "promtool",
    "proxied_mlflow",
    "ready_folder",
    "shop",
    "trained_wine",
    "wine_shop",
]

# Tests interrupt programs. A shell that starts pytest in the background has it ignore Ctrl-C, and
# what it starts would inherit that.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# What runs tests side by side says how wide its terminal is; the commands under test have none.
os.environ.pop("COLUMNS", None)

_OF_STORES = ("AWS_", "GOOGLE_", "MLFLOW_", "STORAGE_")


@pytest.fixture(autouse=True)
def variables_of_stores() -> Iterator[None]:
    """Put back what a command sets for MLflow's clients, as the end of its process would."""
    before = {name: value for name, value in os.environ.items() if name.startswith(_OF_STORES)}
    yield
    for name in [name for name in os.environ if name.startswith(_OF_STORES)]:
        if name not in before:
            del os.environ[name]
    os.environ.update(before)
    if "boto3" in sys.modules:
        # The session that all of MLflow's clients share has read the profiles of this test's home.
        vars(sys.modules["boto3"])["DEFAULT_SESSION"] = None
