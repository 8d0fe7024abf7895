"""What every target that renders keeps to, over the matrix of what it can render.

Manifests are checked in three ways that know nothing of each other: by our own linter, against the
schemas of the CustomResourceDefinitions as their projects publish them, which lie beside the
checkout and not in it, and against Kubernetes' own types in several versions.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any, TypeAlias

import jsonschema
import kubernetes_validate
import pytest
import yaml

from mlops.deployment.targets import TARGETS, Rendered
from mlops.deployment.targets.sources import push_hint
from mlops.errors import InvalidInputError
from mlops.linting import Context, lint
from tests.deployment.matrix import CASES, options
from tests.deployment.specs import from_sources, spec
from tests.requirements import require

Json: TypeAlias = Any
CRDS = Path(__file__).parents[3] / "shared/crds"
KUBERNETES = ("1.28", "1.34")
#: Groups of Kubernetes' own kinds.
_OWN = ("apps/v1", "autoscaling/v2", "networking.k8s.io/v1", "policy/v1")
#: Targets whose manifests are rendered; this machine has none.
RENDERED = tuple(name for name in TARGETS if name != "local")
_STARTS = "# Rendered by `mlops deploy"
_STARTS_JSON = '{\n  "description": "Rendered by `mlops deploy'


@cache
def rendered(name: str) -> Rendered:
    target, deployment, given = CASES[name]
    found: Rendered = TARGETS.load(target)().render(deployment, given)
    return found


@cache
def documents(name: str) -> tuple[Json, ...]:
    made = rendered(name)
    texts = [*made.files.values(), *(t for n, t in made.beside.items() if n == "canary.yaml")]
    return tuple(document for text in texts for document in yaml.safe_load_all(text))


def test_every_target_is_in_the_matrix() -> None:
    assert {target for target, _, _ in CASES.values()} == set(RENDERED)


@pytest.mark.parametrize("name", CASES)
def test_rendering_again_gives_the_same_bytes(name: str) -> None:
    target, deployment, given = CASES[name]
    assert TARGETS.load(target)().render(deployment, given) == rendered(name)


@pytest.mark.parametrize("name", CASES)
def test_texts_are_commented_ascii(name: str) -> None:
    made = rendered(name)
    assert not set(made.files) & set(made.beside)
    for file, text in {**made.files, **made.beside}.items():
        assert text.startswith((_STARTS, _STARTS_JSON)), file
        assert text.isascii(), file
        assert text.endswith("\n"), file
        assert not text.endswith("\n\n"), file
        if not file.startswith("dashboard"):
            # JSON has one line for each text, and an address in the revision cannot be broken.
            lines = [line for line in text.splitlines() if '"remote": ' not in line]
            assert max(map(len, lines)) <= 110, file
    assert sum(text.count("# ") for text in made.files.values()) > 2 * len(made.files)


@pytest.mark.parametrize("name", CASES)
def test_manifests_lint_clean(name: str) -> None:
    target, _, given = CASES[name]
    made = rendered(name)
    context = Context(versions={"kserve": given.kserve.version})
    findings = lint(made.files, context)
    for file in ("canary.yaml",):
        if file in made.beside:
            findings += lint({file: made.beside[file]}, context)
    # Seldon's own server is used where asked for, and the notes say so.
    allowed = {"seldon/stock-server"} if given.cluster.model_server == "prepackaged" else set()
    if target == "seldon" and "-zero" in name:
        allowed |= {"seldon/zero-traffic"}
    assert [(f.rule, f.file, f.path) for f in findings if f.rule not in allowed] == []


@cache
def crds() -> Mapping[tuple[str, str], jsonschema.Validator]:
    found = {}
    for path in CRDS.glob("*/*.json"):
        crd = json.loads(path.read_text())["spec"]
        for version in crd["versions"]:
            key = f"{crd['group']}/{version['name']}", crd["names"]["kind"]
            # Made once: looking over a schema of half a megabyte takes seconds.
            found[key] = jsonschema.Draft202012Validator(version["schema"]["openAPIV3Schema"])
    return found


def unknown_fields(value: Json, schema: Json, path: str = "") -> Iterator[str]:
    """Name the fields that the API server would prune without a word."""
    properties, others = schema.get("properties"), schema.get("additionalProperties")
    if isinstance(value, Mapping) and (properties is not None or isinstance(others, Mapping)):
        for key, item in value.items():
            inner = (properties or {}).get(key, others)
            if inner is None:
                yield f"{path}.{key}"
            else:
                yield from unknown_fields(item, inner, f"{path}.{key}")
    elif isinstance(value, list):
        for item in value:
            yield from unknown_fields(item, schema.get("items", {}), f"{path}[]")


@pytest.mark.parametrize("name", CASES)
def test_custom_resources_fit_their_definitions(name: str) -> None:
    require("crds", CRDS.is_dir(), f"the schemas of the CRDs are not at {CRDS}")
    for document in documents(name):
        validator = crds().get((document["apiVersion"], document["kind"]))
        if validator is None:
            continue
        validator.validate(document)
        # The API server knows `metadata` by itself.
        body = {key: value for key, value in document.items() if key != "metadata"}
        assert list(unknown_fields(body, validator.schema)) == []


def test_the_schemas_are_the_published_ones() -> None:
    """What ships with the package says the same as the definitions it was made from."""
    require("crds", CRDS.is_dir(), f"the schemas of the CRDs are not at {CRDS}")
    from tests.linting.make_schemas import OUTPUT, expanded, kinds

    shipped, made = expanded(json.loads(OUTPUT.read_text())), expanded(kinds([CRDS]))
    assert made.keys() <= shipped.keys()
    # Runtimes gained a field since; the file says from which commit they are.
    later = {kind for kind in made if kind.endswith("ServingRuntime")}
    assert [kind for kind in made if made[kind] != shipped[kind]] == sorted(later)


@pytest.mark.parametrize("version", KUBERNETES)
def test_kubernetes_own_kinds_fit_its_types(version: str) -> None:
    # Many cases have the same Service, and looking at one takes a while.
    every = {json.dumps(document) for name in CASES for document in documents(name)}
    checked = set()
    for document in map(json.loads, sorted(every)):
        if "/" not in document["apiVersion"] or document["apiVersion"] in _OWN:
            kubernetes_validate.validate(document, version, strict=True)
            checked.add(document["kind"])
    assert {"Deployment", "Service", "HorizontalPodAutoscaler", "NetworkPolicy"} <= checked


@pytest.mark.parametrize("name", CASES)
def test_models_come_from_where_the_registry_says(name: str) -> None:
    _, deployment, _ = CASES[name]
    text = "".join(str(document) for document in documents(name))
    for model in deployment.models:
        assert model.source in text
    assert "models:/" not in text
    assert "runs:/" not in text


@pytest.mark.parametrize("name", [name for name in CASES if "-router" in name])
def test_behind_our_server_traffic_is_not_split(name: str) -> None:
    kinds = [document["kind"] for document in documents(name)]
    assert not {"InferenceGraph", "Experiment"} & set(kinds)
    for document in documents(name):
        if document["kind"] == "SeldonDeployment":
            (predictor,) = document["spec"]["predictors"]
            assert not {"traffic", "shadow"} & predictor.keys()
        if document["kind"] == "InferenceService":
            assert "canaryTrafficPercent" not in document["spec"]["predictor"]
    _, deployment, _ = CASES[name]
    models = ("InferenceService", "SeldonDeployment", "Model")
    elsewhere = sum(model.endpoint is not None for model in deployment.models)
    assert sum(kind in models for kind in kinds) == len(deployment.models) - elsewhere
    assert kinds.count("Deployment") == 1


@pytest.mark.parametrize("name", CASES)
def test_every_file_is_applied_once(name: str) -> None:
    made = rendered(name)
    if "kustomization.yaml" in made.beside:
        listed = yaml.safe_load(made.beside["kustomization.yaml"])["resources"]
        assert listed == list(made.files)
    else:
        assert len(made.files) == 1


@pytest.mark.parametrize("target", RENDERED)
@pytest.mark.parametrize(
    ("source", "fault"),
    [
        ("/srv/models/wine", "is on this machine"),
        ("file:///srv/models/wine", "is on this machine"),
        ("C:/models/wine", "is on this machine"),
        ("models:/wine/3", "by MLflow only"),
        ("runs:/0123/model", "by MLflow only"),
        ("mlflow-artifacts:/1/models/m-1", "by MLflow only"),
        ("s3:///wine", "names no bucket"),
        ("s3://[bucket/wine", "is not a URI"),
        ("s3://bucket/wine\n", "is not a URI"),
        ("s3://key:hunter2@bucket/wine", "may carry a secret"),
        ("https://host/wine?sig=hunter2", "may carry a secret"),
        ("gopher://bucket/wine", ""),
    ],
)
def test_models_out_of_reach_are_refused(target: str, source: str, fault: str) -> None:
    platform = TARGETS.load(target)()
    if source.startswith("gopher") and target.startswith("seldon"):
        # Any scheme can name a remote of rclone's.
        platform.check(from_sources(source), options())
        return
    with pytest.raises(InvalidInputError) as caught:
        platform.check(from_sources("s3://b/m", source), options())
    assert "the model of `m2` (`" in caught.value.message
    assert fault in caught.value.message
    assert "hunter2" not in caught.value.message + (caught.value.hint or "")
    assert caught.value.hint
    if fault in ("is on this machine", "by MLflow only"):
        assert "`mlops models push wine/2 s3://BUCKET/wine-2`" in caught.value.hint


@pytest.mark.parametrize("target", RENDERED)
@pytest.mark.parametrize(
    "setting", ["cluster_namespace", "cluster_storage_secret", "cluster_service_account"]
)
def test_settings_that_name_objects_hold_no_values(target: str, setting: str) -> None:
    given: dict[str, Any] = {setting: "AWS_KEY=hunter2"}
    with pytest.raises(InvalidInputError) as caught:
        TARGETS.load(target)().check(spec(1.0), options(target, **given))
    assert "hunter2" not in caught.value.message


@pytest.mark.parametrize("target", RENDERED)
def test_all_reasons_are_named_at_once(target: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        TARGETS.load(target)().check(from_sources("/a", "s3:///b"), options())
    first, *faults = caught.value.message.splitlines()
    assert first.endswith(":")
    assert [fault[:17] for fault in faults] == ["- the model of `m", "- the model of `m"]
    assert "`m1` (`/a`) is on this machine" in faults[0]
    assert "`m2` (`s3:///b`) names no bucket" in faults[1]


@pytest.mark.parametrize("target", RENDERED)
def test_what_holds_for_several_arms_is_said_once(target: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        TARGETS.load(target)().check(from_sources("/a", "/b"), options())
    told = "each model of `m1` (`/a`) and `m2` (`/b`) is on this machine."
    assert caught.value.message.endswith(f": {told}")
    assert (caught.value.hint or "").splitlines() == [push_hint("wine/1"), push_hint("wine/2")]


@pytest.mark.parametrize("target", RENDERED)
def test_no_text_can_change_the_structure(target: str) -> None:
    from dataclasses import replace

    deployment = spec(0.5, 0.5)
    nasty = '"\n- x: {{ 1 }}\n# \x07\u2028 yes: [&a *a]'
    arms = tuple(
        replace(arm, model=replace(arm.model, label=nasty + str(i)))
        for i, arm in enumerate(deployment.arms)
    )
    plain = TARGETS.load(target)().render(deployment, options())
    made = TARGETS.load(target)().render(replace(deployment, arms=arms, reward="given"), options())

    def shape(value: Json) -> Json:
        if isinstance(value, dict):
            return {key: shape(item) for key, item in value.items()}
        return [shape(item) for item in value] if isinstance(value, list) else type(value)

    for (_, before), (_, after) in zip(plain.files.items(), made.files.items(), strict=True):
        assert shape(yaml.safe_load(after)) == shape(yaml.safe_load(before))
