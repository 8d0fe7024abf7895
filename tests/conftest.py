"""Fixtures that several folders share."""

import contextlib
import functools
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest

from tests import fixtures_cluster, warm_start
from tests.browser import browser, chromium
from tests.failures import pytest_terminal_summary
from tests.fixtures_cluster import cluster_shop, kubernetes_api, namespace, platforms
from tests.fixtures_deployment import eager_consumers, free_port, shop, wine_shop
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
    "browser",
    "chromium",
    "clean_environ",
    "cli",
    "cluster_shop",
    "cold_starts",
    "database",
    "direct_mlflow",
    "eager_consumers",
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
    "pytest_terminal_summary",
    "ready_folder",
    "shop",
    "trained_wine",
    "wine_shop",
]

# Tests interrupt programs. A shell that starts pytest in the background has it ignore Ctrl-C, and
# what it starts would inherit that.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# Machines that run tests are busy: how long an example takes says nothing of the code.
hypothesis.settings.register_profile(
    "busy", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("busy")

# What runs tests side by side says how wide its terminal is; the commands under test have none.
os.environ.pop("COLUMNS", None)

#: Files that take more than half a minute each.
_LONGEST = (
    "tests/commands/test_audit",
    "tests/commands/test_deploy.py",
    "tests/commands/test_deploy_apply.py",
    "tests/commands/test_init.py",
    "tests/commands/test_journal.py",
    "tests/commands/test_operate_cluster.py",
    "tests/commands/test_sweep.py",
    "tests/compatibility/",
    "tests/docs/test_recipes.py",
    "tests/docs/test_tutorials.py",
    "tests/monitoring/test_situations.py",
    "tests/serving/test_docs",
    "tests/story/",
    "tests/training/test_ray.py",
    "tests/training/test_sweep.py",
    "tests/workflows/test_killed.py",
    "tests/workflows/test_mlflow_deployments.py",
)
#: Says where all pytest processes of one run keep what they share.
_SHARED = "PYTEST_SHARED_FOLDER"


def pytest_configure(config: pytest.Config) -> None:
    """Make the folder, unless this is a worker of a run that has one, and the first warm start."""
    if not hasattr(config, "workerinput"):
        os.environ[_SHARED] = tempfile.mkdtemp(prefix="mlops-tests-")
        config.add_cleanup(lambda: shutil.rmtree(os.environ.pop(_SHARED), ignore_errors=True))
    warm_start.install(Path(os.environ[_SHARED]) / "requirements")
    # By default xdist puts files with few tests at the end, which are the longest.
    config.option.loadscopereorder = False


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the longest files: the last one keeps one worker busy and the others idle."""
    items.sort(key=lambda item: not item.nodeid.startswith(_LONGEST))
    fixtures_cluster.note_files(items)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Let servers of all tests rest where a test has no use for them."""
    fixtures_cluster.rest_between(item)


@pytest.fixture(autouse=True)
def cold_starts(request: pytest.FixtureRequest) -> Iterator[None]:
    """Start the programs of a test that is marked `cold` as users do; see `warm_start`."""
    cold = request.node.get_closest_marker("cold") is not None
    with warm_start.suspended() if cold else contextlib.nullcontext():
        yield


@pytest.fixture(autouse=True)
def variables() -> Iterator[None]:
    """Put back what a command or a library sets in this process, as the end of its own would.

    Ray sets `PYTHONBREAKPOINT`, for one, with which no later start could be forked.
    """
    before = dict(os.environ)
    _keep_service_models()
    yield
    after = {name for name in os.environ if name != "PYTEST_CURRENT_TEST"}
    for name in after - before.keys():
        del os.environ[name]
    before.pop("PYTEST_CURRENT_TEST", None)
    os.environ.update(before)
    if "boto3" in sys.modules:
        # The session that all of MLflow's clients share has read the profiles of this test's home.
        vars(sys.modules["boto3"])["DEFAULT_SESSION"] = None


def _keep_service_models() -> None:
    """Have boto3 read what services offer once a process, not once for each of many sessions.

    That is 3 MB of JSON, and half of the time of tests that speak to S3.
    """
    if "botocore.loaders" not in sys.modules:
        return
    kind = sys.modules["botocore.loaders"].JSONFileLoader
    if hasattr(kind, "kept"):
        return
    read = kind.load_file
    kind.kept = staticmethod(functools.cache(lambda path: read(kind(), path)))
    kind.load_file = lambda self, path: self.kept(path)
