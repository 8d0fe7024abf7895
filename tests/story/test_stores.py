"""The demo's story with artifacts in a store, and on from there with a pushed model."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fixtures_deployment import Shop
from tests.gcs import Gcs
from tests.minio import Minio


@pytest.fixture(params=["minio", "gcs"])
def story(request: pytest.FixtureRequest, ready_folder: Path) -> Iterator[tuple[Shop, str]]:
    """Return a wine project whose artifacts lie in a store, and the store's root."""
    server: Minio | Gcs = request.getfixturevalue(request.param)
    root = f"{'s3' if request.param == 'minio' else 'gs'}://{server.bucket()}"
    # Few customers: whether they suffice for a verdict is not the question here.
    shop = Shop(ready_folder, environ={**server.environ, "MLOPS_FEEDBACK_DRAWS": "300"})
    shop.ok("init", "--template", "wine")
    with (shop.folder / "mlops.toml").open("a") as file:
        file.write(f'\n[artifacts]\nroot = "{root}/artifacts"\n')
    yield shop, root
    shop.close()


def test_train_deploy_and_promote_in_a_store_then_push_and_deploy_from_there(
    story: tuple[Shop, str],
) -> None:
    shop, root = story
    shop.ok("train", "-P", "alpha=0.1", "--alias", "modelA")
    shop.ok("train", "-P", "alpha=1.0", "--alias", "modelB")
    shown = shop.ok("models", "show", "modelA", "--json").document
    assert shown["version"]["source"].startswith(f"{root}/artifacts/")
    assert not (shop.folder / ".mlops" / "artifacts").exists()

    shop.ok("deploy", "--ab", "modelA", "modelB")
    assert len(shop.ok("cache", "list", "--json").document["models"]) == 2
    assert "accepted 300" in shop.ok("feedback").out
    arms = shop.ok("report", "--json").document["arms"]
    assert [arm["name"] for arm in arms] == ["modelA", "modelB"]
    shop.ok("promote", "--arm", "modelA", "--force", "a short test")
    assert "champion" in shop.ok("models", "show", "wine", "--json").document["aliases"]
    before, _ = shop.post("/invocations", shop.state.request)

    uri = f"{root}/stable/wine"
    assert shop.ok("models", "push", "wine@champion", uri, "--json").document["recorded"]
    said = shop.ok("deploy", "--model", uri)
    assert uri in said.err
    after, _ = shop.post("/invocations", shop.state.request)
    assert after == before
    # The same bytes, so nothing was kept twice.
    models = shop.ok("cache", "list", "--json").document["models"]
    (champion,) = [model for model in models if uri in model["sources"]]
    assert len(champion["sources"]) == 2
    shop.ok("stop")
