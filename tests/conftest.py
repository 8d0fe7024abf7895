"""Fixtures that several folders share."""

from tests.fixtures_deployment import free_port, shop, wine_shop
from tests.fixtures_training import (
    clean_environ,
    cli,
    empty_database,
    own_wine,
    ready_folder,
    trained_wine,
)

__all__ = [
    "clean_environ",
    "cli",
    "empty_database",
    "free_port",
    "own_wine",
    "ready_folder",
    "shop",
    "trained_wine",
    "wine_shop",
]
