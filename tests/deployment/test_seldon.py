"""The Seldon Core v1 target, and the door a user takes to any target."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from mlops.__main__ import run
from mlops.deployment.clusters.target import ClusterTarget
from mlops.deployment.files_target import Rendering, plan_files
from mlops.deployment.ledgers import open_ledger
from mlops.deployment.request import read_request
from mlops.deployment.targets import TARGETS, Rendered, RenderOptions
from mlops.deployment.targets.seldon import FILE, node_names, ratio_a
from mlops.deployment.yaml_templates import render_template, yaml_scalar
from mlops.errors import InvalidInputError, NotAllowedError, NotFoundError, RemoteError
from mlops.registry import open_registry
from mlops.registry.details import Column, Details
from mlops.settings import Settings, load_settings
from mlops.spec.deployment import Arm, DeploymentSpec
from mlops.spec.model import ModelVersion
from tests.deployment.matrix import options
from tests.deployment.specs import details, from_sources, model, spec

ROOT = Path(__file__).parents[2]
GOLDEN = ROOT / "tests/golden/seldon"

#: A rendering takes tens of milliseconds, more on a busy machine.
PROPERTY = settings(deadline=None, derandomize=True, max_examples=40)

COLUMNS = details(Column("alcohol", "double", required=True))
TENSOR = details(Column("", "float64[-1, 11]", required=True))


def ab(weight: float = 0.5) -> DeploymentSpec:
    return spec(weight, 1 - weight)


def stock(details: Mapping[str, Details] | None = None, **given: Any) -> RenderOptions:
    """Options for Seldon's own MLflow server."""
    base = options("seldon", **{"cluster_model_server": "prepackaged", **given})
    return replace(base, details=details or {})


def rendered(spec: DeploymentSpec, options: RenderOptions | None = None) -> Rendered:
    made: Rendered = TARGETS.load("seldon")().render(spec, options or stock())
    return made


def _target(settings: Settings) -> ClusterTarget:
    return ClusterTarget(settings, "seldon", TARGETS.load("seldon")())


def manifest(spec: DeploymentSpec, options: RenderOptions | None = None) -> dict[str, Any]:
    (text,) = rendered(spec, options).files.values()
    document: dict[str, Any] = yaml.safe_load(text)
    return document


def predictor(spec: DeploymentSpec) -> dict[str, Any]:
    (found,) = manifest(spec)["spec"]["predictors"]
    return dict(found)


def refusal(spec: DeploymentSpec, options: RenderOptions | None = None) -> tuple[str, str]:
    with pytest.raises(InvalidInputError) as caught:
        rendered(spec, options)
    return caught.value.message, caught.value.hint or ""


# Golden manifests

CASES: Mapping[str, tuple[DeploymentSpec, RenderOptions]] = {
    "abtest": (
        ab(0.7),
        stock({"modelA": COLUMNS, "modelB": COLUMNS}, env_secret="seldon-rclone-secret"),
    ),
    "abtest_tensors": (
        replace(ab(0.5), reward="exact"),
        stock({"modelA": TENSOR, "modelB": COLUMNS}),
    ),
    "model": (ab().only("modelA"), stock(env_secret="seldon-rclone-secret")),
    "abtest_ours": (ab(0.7), options("seldon", cluster_image="me/wine:1")),
    "abn_ours": (spec(0.5, 0.3, 0.2), options("seldon", cluster_image="me/wine:1")),
    "shadow_mlserver": (
        spec(1.0, shadows=(0.2,)),
        options("seldon", cluster_model_server="mlserver"),
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_manifest_is_the_golden_one(case: str) -> None:
    golden = yaml.safe_load((GOLDEN / f"{case}.yaml").read_text())
    assert manifest(*CASES[case]) == golden


# What the in-graph A/B test needs


def test_feedback_can_be_attributed() -> None:
    found = predictor(ab())
    assert found["svcOrchSpec"]["env"] == [
        {"name": "SELDON_ENABLE_ROUTING_INJECTION", "value": "true"}
    ]
    assert [p["name"] for p in found["graph"]["parameters"]] == ["ratioA"]
    assert "type" not in found["graph"]
    assert "traffic" not in found


def test_annotations_say_which_model_a_node_is() -> None:
    metadata = manifest(ab())["metadata"]
    assert metadata["labels"] == {"app.kubernetes.io/managed-by": "mlops"}
    assert metadata["annotations"]["mlops/arm-model-a"] == "wine/3"
    assert metadata["annotations"]["mlops/arm-model-b"] == "wine/4"


def test_version_of_the_metrics_is_the_experiment() -> None:
    assert predictor(ab(0.5))["annotations"] == {"version": ab(0.9).experiment}


def test_data_frame_where_inputs_have_names_or_are_unknown() -> None:
    frame = [{"name": "xtype", "value": "DataFrame", "type": "STRING"}]
    given = stock({"modelA": TENSOR})
    (found,) = manifest(ab(), given)["spec"]["predictors"]
    tensor, unknown = found["graph"]["children"]
    assert "parameters" not in tensor
    assert unknown["parameters"] == frame
    notes = " ".join(rendered(ab(), given).notes)
    assert "The signature of `modelB` was not read" in notes


@PROPERTY
@given(st.floats(0, 1))
def test_ratio_is_the_first_weight_exactly(weight: float) -> None:
    text = predictor(ab(weight))["graph"]["parameters"][0]["value"]
    assert re.fullmatch(r"[01]\.\d+", text)
    assert float(text) == ratio_a(ab(weight))
    assert float(text) == pytest.approx(weight, abs=1e-15)
    assert (weight == 1) <= (float(text) == 1)
    assert (weight == 0) <= (float(text) == 0)


@pytest.mark.parametrize(
    ("weight", "idle"), [(0.0, "modelA"), (1.0, "modelB"), (1e-60, "modelA"), (1 - 1e-12, "modelB")]
)
def test_an_arm_without_traffic_is_said(weight: float, idle: str) -> None:
    assert f"`{idle}` gets no request at all" in " ".join(rendered(ab(weight)).notes)


def test_nothing_is_said_of_idle_arms_if_there_is_none() -> None:
    assert "no request at all" not in " ".join(rendered(ab(0.01)).notes)


# Names

ARM_NAMES = st.from_regex(r"\A[A-Za-z0-9]([A-Za-z0-9._-]{0,30}[A-Za-z0-9])?\Z")


@PROPERTY
@given(st.lists(ARM_NAMES, min_size=2, max_size=2, unique=True))
def test_nodes_are_unique_dns_labels(names: list[str]) -> None:
    arms = tuple(Arm(name, model(i + 1), 0.5) for i, name in enumerate(names))
    graph = predictor(DeploymentSpec("wine", arms))["graph"]
    nodes = [graph["name"], *(child["name"] for child in graph["children"])]
    assert len(set(nodes)) == 3
    assert all(re.fullmatch(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?", node) for node in nodes)


@pytest.mark.parametrize(
    ("names", "nodes"),
    [
        (("modelA", "modelB"), ("model-a", "model-b")),
        (("wine_1", "wine.1"), ("wine-1", "wine-1-2")),
        (("ab", "seldon-container-engine"), ("ab-2", "seldon-container-engine-2")),
        (("m", "m-model-initializer"), ("m", "m-m")),
    ],
)
def test_nodes_of_arms(names: tuple[str, str], nodes: tuple[str, str]) -> None:
    arms = tuple(Arm(name, model(1), 0.5) for name in names)
    assert tuple(node_names(DeploymentSpec("wine", arms)).values()) == nodes


@PROPERTY
@given(st.text(min_size=1), st.text())
def test_no_text_can_change_the_structure(label: str, reward: str) -> None:
    arm = Arm("a", ModelVersion(ref="a", label=label, source="s3://b/m"), 0.5)
    spec = DeploymentSpec("wine", (arm, Arm("b", model(2), 0.5)), reward=reward)
    document = manifest(spec)
    annotations = document["metadata"]["annotations"]
    assert annotations["mlops/arm-a"] == label
    assert annotations["mlops/reward"] == reward
    assert set(document) == {"apiVersion", "kind", "metadata", "spec"}
    assert len(annotations) == 4


@PROPERTY
@given(st.text())
def test_a_source_is_written_as_it_is_or_refused(path: str) -> None:
    source = f"s3://bucket/m{path}"
    spec = from_sources(source, "s3://b/m")
    if source.isprintable() and source == source.strip() and "?" not in path:
        assert predictor(spec)["graph"]["children"][0]["modelUri"] == source
    else:
        assert "model of arm 1" in refusal(spec)[0]


@PROPERTY
@given(st.one_of(st.text(), st.integers(), st.booleans(), st.floats(allow_nan=False)))
def test_scalars_come_back(value: object) -> None:
    if value in (float("inf"), float("-inf")):
        with pytest.raises(TypeError):
            yaml_scalar(value)
        return
    text = str(yaml_scalar(value))
    assert "\n" not in text
    if isinstance(value, float):
        assert float(yaml.safe_load(text)) == value
    else:
        assert yaml.safe_load(f"key: {text}") == {"key": value}


def test_long_text_stays_on_one_line() -> None:
    text = "a word and another " * 20
    assert str(yaml_scalar(text)) == f'"{text}"'


def test_a_template_cannot_name_what_is_not_there() -> None:
    with pytest.raises(Exception, match="is undefined"):
        render_template("seldon/seldondeployment.yaml", {"namespace": ""})


# Refusals


def test_three_arms_do_not_fit_a_graph() -> None:
    message, hint = refusal(
        from_sources("s3://b/1", "s3://b/2", "s3://b/3"), options("seldon", split="graph")
    )
    assert "never calls a third child, and there are 3 arms" in message
    assert "the gateway splits" in hint


def test_sticky_arms_are_refused() -> None:
    message, hint = refusal(replace(ab(), sticky_by="header:X-User"))
    assert "cannot keep `header:X-User` on one" in message
    assert "`--router` and `--target kubernetes` have sticky arms" in hint


def test_names_that_would_be_hashed_are_refused() -> None:
    spec = replace(ab(), name="w" * 46)
    message, hint = refusal(spec)
    assert f"`{'w' * 46}-default-0-model-a`, which has 64 characters" in message
    assert "`--name`" in hint
    assert manifest(replace(ab(), name="w" * 45))["metadata"]["name"] == "w" * 45


def test_a_name_that_begins_with_a_digit_is_refused() -> None:
    assert "begins with a letter" in refusal(replace(ab(), name="3wines"))[0]


@pytest.mark.parametrize(
    ("source", "fault"),
    [
        ("wasbs://box@account.blob.core.windows.net/wine", "may carry a secret"),
        ("wasbs://box/wine", "whose form rclone does not know"),
        ("s3+x://bucket/wine", "cannot name an rclone remote"),
    ],
)
def test_what_rclone_cannot_fetch_is_refused(source: str, fault: str) -> None:
    message, hint = refusal(from_sources("s3://b/m", source))
    assert "the model of arm 2, `" in message
    assert fault in message
    assert hint


def test_several_shadows_are_refused() -> None:
    message, hint = refusal(spec(1.0, shadows=(1.0, 1.0)))
    assert "one shadow, and there are 2" in message
    assert "`--router` and `--target kubernetes` take several" in hint


def test_a_shadow_of_less_than_a_percent_would_get_all() -> None:
    assert "whole percentages" in refusal(spec(1.0, shadows=(0.004,)))[0]


def test_a_share_that_would_vanish_is_refused() -> None:
    message, _ = refusal(spec(0.996, 0.002, 0.002))
    assert "`modelB` gets 0.2 % of the traffic" in message


def test_ambassador_would_give_an_idle_arm_its_share() -> None:
    given = options("seldon", mode="ambassador", split="predictors")
    message, hint = refusal(ab(1.0), given)
    assert "leaves out a weight of 0" in message
    assert "Istio" in hint


def test_a_secret_has_a_name_and_not_a_value() -> None:
    message, _ = refusal(ab(), stock(env_secret="AWS_KEY=abc"))
    assert "cannot be the name of an object" in message
    assert "abc" not in message


@pytest.mark.parametrize(
    "given",
    [{"mode": "nginx"}, {"split": "both"}, {"version": "one"}, {"version": "1.5"},
     {"cluster_model_server": "torch"}],
)  # fmt: skip
def test_settings_that_mean_nothing_are_refused(given: dict[str, Any]) -> None:
    refusal(ab(), options("seldon", **given))


def test_mlserver_cannot_load_what_a_current_mlflow_logs() -> None:
    given = replace(options("seldon", cluster_model_server="mlserver"), details={"modelA": COLUMNS})
    message, hint = refusal(ab(), given)
    assert "`modelA` was logged by MLflow 3.17.2, and `docker.io/seldonio/mlserver" in message
    assert "is kept as skops" in message
    assert "`--model-server mlops`" in hint


def test_an_unknown_image_is_taken_as_it_is() -> None:
    given = replace(
        options("seldon", cluster_model_server="mlserver", cluster_image="me/mlserver:1"),
        details={"modelA": COLUMNS},
    )
    assert "used as named" in " ".join(rendered(ab(), given).notes)


# Notes


@pytest.mark.parametrize(
    ("source", "note"),
    [
        ("s3://b/m", "RCLONE_CONFIG_S3_ACCESS_KEY_ID"),
        ("gs://b/m", "write gcs://"),
        ("gcs://b/m", "RCLONE_CONFIG_GCS_SERVICE_ACCOUNT_CREDENTIALS"),
        (
            "minio://b/m",
            "rclone knows minio:// only if the secret `store` holds RCLONE_CONFIG_MINIO",
        ),
    ],
)
def test_notes_say_what_the_secret_must_hold(source: str, note: str) -> None:
    assert note in " ".join(rendered(from_sources(source), stock(env_secret="store")).notes)


def test_a_volume_needs_no_secret() -> None:
    assert "RCLONE" not in " ".join(rendered(from_sources("pvc://claim/m")).notes)


@pytest.mark.parametrize(
    ("reward", "negative"),
    [
        ("squared-error", "is negative"),
        ("given", "can be negative"),
        ("rewards:profit", "can be negative"),
        ("exact", ""),
    ],
)
def test_notes_on_rewards(reward: str, negative: str) -> None:
    notes = " ".join(rendered(replace(ab(), reward=reward)).notes)
    assert "a reward of 0 not even those" in notes
    assert negative in notes
    assert ("negative" in notes) == bool(negative)


def test_notes_on_licence_and_images() -> None:
    notes = " ".join(rendered(ab(), stock({"modelA": COLUMNS})).notes)
    assert "Seldon Core 1.17.1 is under Apache-2.0" in notes
    assert "`modelA` was logged by MLflow 3.17.2 and Python 3.11.7" in notes
    later = " ".join(rendered(ab(), stock(version="1.18.2")).notes)
    assert "Seldon Core 1.18.2 is under the Business Source License 1.1" in later
    assert "1.17.1 is the last under Apache-2.0" in later


def test_three_arms_take_no_feedback() -> None:
    made = rendered(spec(0.5, 0.3, 0.2))
    document = yaml.safe_load(made.files[FILE])
    assert [p["traffic"] for p in document["spec"]["predictors"]] == [50, 30, 20]
    assert document["metadata"]["annotations"]["mlops/feedback"] == "none"
    assert "feedback is not possible here" in " ".join(made.notes)


# Models of the registry


def _graph(document: dict[str, Any]) -> dict[str, Any]:
    graph: dict[str, Any] = document["spec"]["predictors"][0]["graph"]
    return graph


def registered(project: Path, read: Callable[[str], Details]) -> Rendering:
    """Render a registered model whose files are in a bucket, and one that is only a URI."""
    settings = load_settings(project, environ={})
    client = open_registry(settings)
    if not client.search_registered_models(filter_string="name = 'far'"):
        client.create_registered_model("far")
        client.create_model_version("far", "s3://bucket/far/1")
    request = read_request(settings, ab=("far", "s3://bucket/m"))
    return plan_files(_target(settings), request, to="-", read=read).rendering


def test_files_of_registered_models_are_read_and_bare_uris_are_not(project: Path) -> None:
    asked: list[str] = []

    def read(source: str) -> Details:
        asked.append(source)
        return TENSOR

    result = registered(project, read)
    assert asked == ["s3://bucket/far/1"]
    first, second = _graph(yaml.safe_load(result.stream))["children"]
    assert first["modelUri"] == "s3://bucket/far/1"
    assert second["modelUri"] == "s3://bucket/m"
    assert "`far` means far/1: newest version." in result.notes


@pytest.mark.parametrize("error", [RemoteError, NotAllowedError])
def test_rendering_does_not_need_the_store(
    project: Path, error: type[RemoteError] | type[NotAllowedError]
) -> None:
    def read(source: str) -> Details:
        raise error(f"`{source}` cannot be read.")

    notes = " ".join(registered(project, read).notes)
    assert "`s3://bucket/far/1` cannot be read." in notes
    assert "The requirements of `far`, `bucket-m` were not read" in notes


def test_what_is_refused_is_not_read(project: Path) -> None:
    registered(project, lambda _: TENSOR)
    settings = load_settings(project, flags={"deploy.sticky_by": "field:user"}, environ={})
    request = read_request(settings, model="far")
    asked: list[str] = []

    def read(source: str) -> Details:
        asked.append(source)
        return TENSOR

    with pytest.raises(InvalidInputError, match="field:user"):
        plan_files(_target(settings), request, to="-", read=read)
    assert asked == []


def test_a_model_whose_files_are_gone_is_an_error(project: Path) -> None:
    def read(source: str) -> Details:
        raise NotFoundError(f"`{source}` has no `MLmodel` file.")

    with pytest.raises(NotFoundError, match="s3://bucket/far/1"):
        registered(project, read)


# The door a user takes

Cli = Callable[..., tuple[int, str, str]]
AB = ("deploy", "--ab", "s3://bucket/wine/1", "gs://bucket/wine/2", "--name", "wine")
SELDON = (*AB, "--target", "seldon")


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a project whose MLflow database is there: making one takes seconds."""
    return tmp_path_factory.mktemp("project")


@pytest.fixture
def cli(project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Cli:
    monkeypatch.chdir(project)
    for variable in ("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI", "MLOPS_TRACKING_URI"):
        monkeypatch.delenv(variable, raising=False)

    def call(*words: object) -> tuple[int, str, str]:
        code = run([str(word) for word in words])
        out, err = capsys.readouterr()
        return code, out, err

    return call


def test_dash_prints_yaml_and_nothing_else(cli: Cli, project: Path) -> None:
    code, out, err = cli(*SELDON, "--render", "-", "--split", "90/10")
    assert code == 0
    document = yaml.safe_load(out)
    assert document["kind"] == "SeldonDeployment"
    assert _graph(document)["parameters"][0]["value"] == "0.9"
    assert [child["modelUri"] for child in _graph(document)["children"]] == list(AB[2:4])
    assert "note: " in err
    assert not (project / "deploy").exists()


def test_a_folder_is_written_and_the_way_on_printed(cli: Cli, tmp_path: Path) -> None:
    folder = tmp_path / "my manifests"
    code, out, err = cli(*SELDON, "--render", folder)
    assert code == 0
    beside = {FILE, "Dockerfile", "requirements.txt"}
    assert {path.name for path in folder.iterdir()} == beside
    assert "docker build -t wine-mlops:" in out
    assert f"kubectl apply -f '{folder}/{FILE}'" in out
    assert "kubectl wait --for=condition=ready --timeout=20m sdep/wine" in out
    assert "Apache-2.0" in err
    assert "Apache-2.0" not in (folder / FILE).read_text()


def test_the_folder_is_deploy_and_the_name_by_default(cli: Cli, project: Path) -> None:
    code, out, _ = cli(*SELDON)
    assert code == 0
    assert (project / "deploy/wine" / FILE).is_file()
    assert f"kubectl apply -f deploy/wine/{FILE}" in out


def test_rendering_does_not_reach_the_ledger(cli: Cli, project: Path, tmp_path: Path) -> None:
    assert cli(*SELDON, "--render", tmp_path)[0] == 0
    assert open_ledger(load_settings(project), "wine").numbers() == []
    assert not (project / ".mlops/run").exists()


def test_a_dry_run_writes_nothing(cli: Cli, tmp_path: Path) -> None:
    folder = tmp_path / "d"
    code, out, _ = cli(*SELDON, "--render", folder, "--dry-run")
    assert code == 0
    assert "would be rendered" in out
    assert "kubectl" not in out
    assert not folder.exists()


def test_json_is_one_document(cli: Cli, tmp_path: Path) -> None:
    for expected in ("create", "same"):
        code, out, _ = cli(*SELDON, "--render", tmp_path, "--json")
        document = json.loads(out)
        assert code == 0
        assert document["schema_version"] == 1
        file, *beside = document["files"]
        assert [each["manifest"] for each in beside] == [False, False]
        assert (file["path"], file["change"]) == (str(tmp_path / FILE), expected)
        assert file["text"] == (tmp_path / FILE).read_text()
        assert document["written"] is True
        assert len(document["next_commands"]) == 3


def test_json_goes_with_a_dash(cli: Cli) -> None:
    document = json.loads(cli(*SELDON, "--render", "-", "--json")[1])
    assert yaml.safe_load(document["files"][0]["text"])["metadata"]["name"] == "wine"
    assert document["next_commands"] == []


def test_an_earlier_rendering_is_replaced(cli: Cli, tmp_path: Path) -> None:
    cli(*SELDON, "--render", tmp_path)
    before = (tmp_path / FILE).read_text()
    code, out, _ = cli(*SELDON, "--render", tmp_path, "--split", "80/20")
    assert code == 0
    assert "~ " in out
    assert (tmp_path / FILE).read_text() != before


def test_a_file_of_somebody_else_is_not_replaced(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / FILE).write_text("kind: SeldonDeployment\n")
    code, _, err = cli(*SELDON, "--render", tmp_path)
    assert code == 7
    assert "was not rendered by mlops" in err
    assert (tmp_path / FILE).read_text() == "kind: SeldonDeployment\n"


def test_a_folder_that_is_a_file_is_named(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("")
    code, _, err = cli(*SELDON, "--render", tmp_path / "taken")
    assert code == 3
    assert "Not a directory" in err


def test_a_refusal_comes_before_anything_is_written(cli: Cli, tmp_path: Path) -> None:
    local = tmp_path / "model"
    local.mkdir()
    (local / "MLmodel").write_text("flavors: {}\n")
    words = ("deploy", "--ab", local, "s3://bucket/m", "--name", "wine", "--target", "seldon")
    code, out, err = cli(*words, "--render", tmp_path / "d")
    assert (code, out) == (3, "")
    assert "is on this machine" in err
    assert "mlops models push" in err
    assert not (tmp_path / "d").exists()


@pytest.mark.parametrize(
    ("words", "fault"),
    [
        (("--render", "-"), "`--target local` has none"),
        (("--image", "x:1"), "`--image` is about manifests"),
        (("--mode", "istio"), "`--mode` does not go with `--target local`"),
        (
            ("--target", "kubernetes", "--platform-version", "1"),
            "`--platform-version` does not go with `--target kubernetes`",
        ),
        (("--router",), "`--router` does not go with `--target local`"),
        (("--target", "kubernetes", "--router"), "does not go with `--target kubernetes`"),
        (("--target", "kserve", "--router", "--traffic-by", "graph"), "the server splits"),
        (("--target", "sledon"), "no target called `sledon`"),
        (("--target", "seldon", "--port", "80"), "`--port` goes with `--target local` only"),
        (("--target", "seldon", "--foreground"), "`--foreground` goes with `--target local` only"),
    ],
)
def test_wrong_calls(cli: Cli, words: tuple[str, ...], fault: str) -> None:
    code, out, err = cli(*AB, *words)
    assert (code, out) == (2, "")
    assert fault in err
    assert "hint:" in err


def test_a_router_is_rendered_and_the_ledger_is_asked_for_its_revision(
    cli: Cli, tmp_path: Path
) -> None:
    code, out, _ = cli(*SELDON, "--router", "--sticky-by", "header:X", "--render", tmp_path)
    assert code == 0
    text = yaml.safe_load((tmp_path / "configmap.yaml").read_text())["data"]["revision.json"]
    revision = json.loads(text)
    assert (revision["revision"], revision["spec"]["sticky_by"]) == (1, "header:X")
    assert len(list(tmp_path.glob("seldondeployment-*.yaml"))) == 2
    steps = [line for line in out.splitlines() if line.startswith("next: ")]
    apply, wait, kustomize = (
        next(i for i, step in enumerate(steps) if words in step)
        for words in ("kubectl apply -f", "kubectl wait", "kubectl apply -k")
    )
    assert apply < wait < kustomize


def test_targets_are_hinted_at(cli: Cli) -> None:
    assert "Did you mean `local`?" in cli(*AB, "--target", "locl")[2]


# A policy in the graph


def _learning(**changed: Any) -> DeploymentSpec:
    given = {"policy": "thompson floor=0.1", "reward": "given", **changed}
    return replace(spec(0.5, 0.3, 0.2), **given)


def test_a_policy_is_a_router_of_the_graph() -> None:
    made = rendered(_learning(), options("seldon", postgresql=True))
    config, document = (yaml.safe_load(text) for text in made.files.values())
    (found,) = document["spec"]["predictors"]
    graph = found["graph"]
    assert graph["type"] == "ROUTER"
    assert "implementation" not in graph
    # Whatever the policy, a draw is the position of a child, so their order is that of the arms.
    arms = [arm["name"] for arm in json.loads(config["data"]["revision.json"])["spec"]["arms"]]
    assert [child["name"] for child in graph["children"]] == [
        node_names(_learning())[name] for name in arms
    ]
    router = found["componentSpecs"][0]["spec"]
    assert router["containers"][0]["name"] == graph["name"]
    assert router["containers"][0]["args"] == ["route"]
    (volume,) = (each for each in router["volumes"] if each["name"] == "revision")
    assert volume["configMap"]["name"] == config["metadata"]["name"]
    assert any("secret generic wine-journal" in command for command in made.before_apply)
    assert not any("--from-file=token" in command for command in made.before_apply)
    assert any("`mlops report` reads it" in note for note in made.notes)


@pytest.mark.parametrize(
    ("changed", "given", "part"),
    [
        ({}, {"postgresql": False}, "kept in PostgreSQL"),
        ({"reward": "squared-error"}, {}, "what a model answered"),
        ({}, {"cluster_model_server": "prepackaged"}, "a component of the bundled image"),
        ({}, {"split": "predictors"}, "a component of the bundled image"),
        ({"sticky_by": "header:X", "policy": "acme"}, {}, "cannot keep"),
    ],
)
def test_what_a_policy_in_the_graph_needs(
    changed: dict[str, Any], given: dict[str, Any], part: str
) -> None:
    message, hint = refusal(
        _learning(**changed), options("seldon", **{"postgresql": True, **given})
    )
    assert part in message
    assert "--router" in hint or "journal_secret" in hint
