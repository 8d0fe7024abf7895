"""Fixtures that several folders share."""

import os
import signal

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

# Tests interrupt programs. A shell that starts pytest in the background has it ignore Ctrl-C, and
# what it starts would inherit that.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# What runs tests side by side says how wide its terminal is; the commands under test have none.
os.environ.pop("COLUMNS", None)
