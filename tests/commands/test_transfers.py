"""`mlops models push` and `pull`, `mlops cache`, and deploying what was pushed."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from mlops.errors import ConflictError
from mlops.registry.client import open_registry
from mlops.serving.pod import Places, fetch, read_config
from mlops.spec.content import MANIFEST
from tests.fixtures_deployment import Said, Shop, open_shop
from tests.fixtures_training import TrainedWine
from tests.gcs import Gcs
from tests.minio import Minio


@pytest.fixture(scope="module")
def store_shop(
    trained_wine: TrainedWine,
    minio: Minio,
    gcs: Gcs,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Shop]:
    """Return a trained project that knows a MinIO and a Cloud Storage."""
    shop = open_shop(trained_wine, tmp_path_factory.mktemp("store") / "wine")
    shop.environ.update(minio.environ | gcs.environ)
    yield shop
    shop.close()


@pytest.fixture(scope="module")
def places(minio: Minio, gcs: Gcs) -> dict[str, str]:
    return {"s3": f"s3://{minio.bucket()}/stable", "gs": f"gs://{gcs.bucket()}/stable"}


def conforming(schema: str, said: Said) -> dict[str, Any]:
    """Return the document that a command printed, which its schema describes."""
    document = said.document
    path = Path(__file__).parents[2] / "docs" / "schemas" / f"{schema}.v1.json"
    jsonschema.validate(document, json.loads(path.read_text()))
    return document


def secrets(minio: Minio) -> list[str]:
    return [minio.keys.secret, minio.keys.access]


def test_push_says_what_it_did_and_show_where_it_went(
    store_shop: Shop, places: dict[str, str], minio: Minio
) -> None:
    uri = f"{places['s3']}/first"
    planned = conforming(
        "push", store_shop.ok("models", "push", "modelA", uri, "--dry-run", "--json")
    )
    assert (planned["change"], planned["done"], planned["recorded"]) == ("create", False, False)
    said = store_shop.ok("models", "push", "modelA", uri)
    first, second, *_ = said.out.splitlines()
    assert first == f"wine/1 is now at {uri}"
    assert second.startswith(f"{planned['files']} files, ")
    assert ", 0 there already; sha256:" in second
    assert f"next: mlops deploy --model {uri}" in said.out
    assert "Pushing" in said.err

    again = store_shop.ok("models", "push", "wine/1", uri, "--json")
    document = conforming("push", again)
    assert {key: document[key] for key in ("change", "transferred", "recorded", "done")} == {
        "change": "nothing",
        "transferred": 0,
        "recorded": True,
        "done": True,
    }
    assert document["digest"] == planned["digest"]

    pushed = store_shop.ok("models", "show", "modelA", "--json").document["pushed"]
    assert [(p["uri"], p["digest"]) for p in pushed] == [(uri, document["digest"])]
    assert f"pushed to     {uri}" in store_shop.ok("models", "show", "modelA").out
    assert "pushed to" not in store_shop.ok("models", "show", "modelB").out
    for words in (said, again):
        assert not any(secret in words.out + words.err for secret in secrets(minio))


def test_a_taken_place_is_a_conflict(store_shop: Shop, places: dict[str, str]) -> None:
    uri = f"{places['gs']}/taken"
    store_shop.ok("models", "push", "modelA", uri)
    refused = store_shop.run("models", "push", "modelB", uri, "--json")
    assert refused.code == 7
    assert "wine/1 (sha256:" in refused.error["message"]
    assert "--force" in refused.error["hint"]
    assert "wine/2 is now at" in store_shop.ok("models", "push", "modelB", uri, "--force").out


def test_pull(store_shop: Shop, places: dict[str, str]) -> None:
    uri = f"{places['s3']}/pulled"
    digest = conforming("push", store_shop.ok("models", "push", "modelA", uri, "--json"))["digest"]
    said = store_shop.ok("models", "pull", uri)
    folder = store_shop.folder / "pulled"
    assert said.out.splitlines()[0] == f"{uri} is now in {folder}"
    assert (folder / "MLmodel").is_file()
    again = conforming("pull", store_shop.ok("models", "pull", uri, "--json"))
    assert (again["change"], again["digest"], again["folder"]) == ("nothing", digest, str(folder))
    # The other way, from the registry, and to where it lies already.
    document = conforming("pull", store_shop.ok("models", "pull", "wine/1", "./pulled", "--json"))
    assert (document["model"], document["change"]) == ("wine/1", "nothing")
    assert store_shop.run("models", "pull", "modelB", "./pulled").code == 7
    assert "replacing" in store_shop.ok("models", "pull", "modelA", "./pulled", "--dry-run").out
    assert store_shop.ok("models", "pull", "modelB").out.startswith("wine/2 is now in")
    assert (store_shop.folder / "wine-2" / "MLmodel").is_file()


def predicted(shop: Shop) -> float:
    answer, _ = shop.post("/invocations", shop.state.request)
    return float(answer["predictions"][0])


def cached(shop: Shop) -> list[dict[str, Any]]:
    models: list[dict[str, Any]] = conforming("cache", shop.ok("cache", "list", "--json"))["models"]
    return models


def test_pushed_models_are_deployed_cached_and_kept_while_they_serve(
    store_shop: Shop, places: dict[str, str], tmp_path: Path
) -> None:
    shop, path = store_shop, str(tmp_path / "stable")
    s3, gs = (f"{place}/deployed" for place in places.values())
    for uri, ref in ((s3, "modelA"), (gs, "modelB"), (path, "modelB")):
        shop.ok("models", "push", ref, uri)
    shop.ok("cache", "clear")
    plan = shop.ok("deploy", "--ab", s3, gs, "--dry-run", "--json").document["plan"]
    assert [arm["model"]["digest"][:7] for arm in plan["after"]["arms"]] == ["sha256:"] * 2
    assert cached(shop) == []
    shop.ok("deploy", "--arm", f"a={s3}", "--arm", f"b={gs}")
    assert shop.ok("deploy", "--arm", f"a={s3}", "--arm", f"b={gs}", "--json").document[
        "change"
    ] == ("nothing")
    assert sorted(model["sources"] for model in cached(shop)) == sorted([[s3], [gs]])

    # The same content elsewhere is another source, and no other folder.
    shop.ok("deploy", "--arm", f"a={s3}", "--arm", f"b={path}")
    assert sorted(model["sources"] for model in cached(shop)) == sorted([[s3], sorted([gs, path])])
    assert [model["in_use"] for model in cached(shop)] == [True, True]
    assert conforming("cache", shop.ok("cache", "clear", "--json"))["models"] == []
    shutil.rmtree(path)
    assert predicted(shop) > 0

    # What is at a place may change; what is served does not, and says so when it is named again.
    shop.ok("deploy", "--model", s3)
    before = predicted(shop)
    assert [model["in_use"] for model in cached(shop)].count(True) == 1
    shop.ok("models", "push", "modelB", s3, "--force")
    assert predicted(shop) == before
    said = shop.ok("deploy", "--model", s3)
    assert "(was other files, 100 %)" in said.err
    assert predicted(shop) != before
    # Back to what the cache still has, though the place holds another model now.
    shop.ok("rollback")
    assert predicted(shop) == before
    shop.ok("stop")
    removed = conforming("cache", shop.ok("cache", "clear", "--json"))
    assert len(removed["models"]) == 2
    assert removed["left"] == 0
    # And where it is gone everywhere, nothing else is taken for it.
    refused = shop.run("rollback", "--to", "3", "--json")
    assert refused.code == 7
    assert "holds another model now" in refused.error["message"]


def test_the_cache_keeps_to_its_limit(store_shop: Shop, places: dict[str, str]) -> None:
    shop = Shop(store_shop.folder, environ=store_shop.environ | {"MLOPS_CACHE_MAX_MB": "0"})
    uri = f"{places['s3']}/limit"
    shop.ok("models", "push", "modelA", uri)
    shop.ok("models", "push", uri, f"{places['gs']}/limit")
    assert len(cached(shop)) == 1
    said = shop.ok("cache", "prune", "--dry-run")
    assert "would be freed, 0 bytes stay" in said.out
    assert "of at most 0 bytes" in shop.ok("cache", "list").out
    assert " kB freed, 0 bytes stay" in shop.ok("cache", "prune").out
    assert cached(shop) == []


def test_wrong_keys_and_no_bucket(store_shop: Shop, minio: Minio, tmp_path: Path) -> None:
    wrong = store_shop.environ | {"AWS_SECRET_ACCESS_KEY": "planted-" + "x" * 32}
    shop = Shop(store_shop.folder, environ=wrong)
    for words in (
        ("models", "push", "modelA", "s3://some-bucket/m"),
        ("models", "pull", "s3://some-bucket/m", str(tmp_path / "pulled")),
        ("deploy", "--model", "s3://some-bucket/m"),
    ):
        refused = shop.run(*words, "--json")
        assert refused.code == 4, refused
        assert "AWS_SECRET_ACCESS_KEY" in refused.error["hint"]
        assert "planted" not in refused.out + refused.err
        missing = store_shop.run(*words, "--json")
        assert missing.code == 5, missing
        assert "bucket of `s3://some-bucket/m" in missing.error["message"]
    assert not (tmp_path / "pulled").exists()
    planted = "s3://key:planted@bucket/m"
    for words in (("models", "push", "modelA", planted), ("models", "pull", planted)):
        refused = store_shop.run(*words)
        assert refused.code == 3
        assert "planted" not in refused.out + refused.err


def test_no_secret_is_left_anywhere(store_shop: Shop, minio: Minio) -> None:
    """In state, logs, ledger, journal or registry, after all of the above."""
    for folder, _, names in os.walk(store_shop.folder):
        for name in names:
            content = Path(folder, name).read_bytes()
            assert not any(secret.encode() in content for secret in secrets(minio)), name


def test_a_pod_refuses_a_registered_version_whose_files_were_replaced(
    store_shop: Shop, minio: Minio, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """What the ConfigMap pins is what lay in the store when it was rendered."""
    shop, bucket = store_shop, minio.bucket()
    source = f"s3://{bucket}/models/m-1/artifacts"
    shop.ok("models", "push", "modelA", source)
    client = minio.client()
    # As MLflow leaves a model: without our manifest.
    client.delete_object(Bucket=bucket, Key=f"models/m-1/artifacts/{MANIFEST}")
    registry = open_registry(shop.settings)
    registry.create_registered_model("far")
    registry.create_model_version("far", source)
    shop.ok("deploy", "--model", "far/1", "--target", "kubernetes", "--render", str(tmp_path))
    config = _config(tmp_path)
    (arm,) = config["spec"]["arms"]
    assert arm["model"]["digest"].startswith("listing:")
    (tmp_path / "revision.json").write_text(json.dumps(config))
    for name, value in shop.environ.items():
        monkeypatch.setenv(name, value)
    places = Places(config=tmp_path, models=tmp_path / "models")
    places.models.mkdir()
    fetch(read_config(tmp_path), places)
    assert len(list(places.models.glob("*/MLmodel"))) == 1
    client.put_object(Bucket=bucket, Key="models/m-1/artifacts/model.pkl", Body=b"another")
    for _ in range(2):
        # One that is there, and one that is not.
        with pytest.raises(ConflictError, match="far/1 was deployed as listing:"):
            fetch(read_config(tmp_path), places)
        shutil.rmtree(places.models)
        places.models.mkdir()
    assert not list(places.models.iterdir())


def _config(folder: Path) -> dict[str, Any]:
    for path in folder.rglob("*.yaml"):
        for document in yaml.safe_load_all(path.read_text()):
            if document and document["kind"] == "ConfigMap" and "revision.json" in document["data"]:
                found: dict[str, Any] = json.loads(document["data"]["revision.json"])
                return found
    raise AssertionError("no ConfigMap")


def test_a_model_that_cannot_be_looked_at_is_rendered_with_a_note(
    store_shop: Shop, tmp_path: Path
) -> None:
    strangers = replace(store_shop, environ={})
    words = ("--model", "s3://elsewhere/m", "--target", "kubernetes", "--render", str(tmp_path))
    # Nor is one in a bucket that only the cluster knows.
    for shop in (strangers, store_shop):
        said = shop.ok("deploy", "--name", "far", *words)
        assert "is not pinned" in said.err + said.out
