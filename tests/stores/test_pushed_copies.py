"""What was pushed is what a cluster fetches, and stays the registered version that it is."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import yaml

from tests.fixtures_deployment import Shop
from tests.minio import Minio


@pytest.fixture
def pushed(wine_shop: Shop, minio: Minio) -> tuple[Shop, str]:
    """Return a shop whose two models were pushed, and where."""
    wine_shop.environ.update(minio.environ)
    place = f"s3://{minio.bucket()}/wine"
    for alias in ("modelA", "modelB"):
        wine_shop.ok("models", "push", alias, f"{place}/{alias}")
    return wine_shop, place


def _rendered(shop: Shop, name: str) -> Path:
    return shop.folder / "deploy" / name


def test_a_model_is_fetched_from_where_it_was_pushed(pushed: tuple[Shop, str]) -> None:
    shop, place = pushed
    said = shop.ok("deploy", "--ab", "modelA", "modelB", "--target", "kubernetes")
    assert f"`modelA` is fetched from `{place}/modelA`, where wine/1 was pushed." in said.err
    (config,) = _rendered(shop, "wine").glob("configmap.yaml")
    revision = json.loads(next(iter(yaml.safe_load(config.read_text())["data"].values())))
    arms = json.dumps(revision)
    assert re.findall(r'"source": "([^"]*)"', arms) == [f"{place}/modelA", f"{place}/modelB"]
    assert re.findall(r'"label": "([^"]*)"', arms) == ["wine/1", "wine/2"]
    assert len(re.findall(r'"digest": "sha256:[0-9a-f]{64}"', arms)) == 2
    assert "scikit-learn==" in (_rendered(shop, "wine") / "requirements.txt").read_text()


def test_a_uri_that_was_pushed_to_is_checked_like_a_registered_model(
    pushed: tuple[Shop, str],
) -> None:
    shop, place = pushed
    # The store is not needed for it: the registry knows what was pushed.
    shop.environ.clear()
    both = [f"{place}/modelA", f"{place}/modelB"]
    shop.ok("deploy", "--ab", *both, "--target", "kubernetes", "--name", "other")
    assert "scikit-learn==" in (_rendered(shop, "other") / "requirements.txt").read_text()
    refused = shop.run("deploy", "--ab", *both, "--target", "seldon2", "--json")
    assert refused.code == 3
    assert "was logged by MLflow" in refused.error["message"]
