"""Manifests as users get them: what is read of the models, and the command's files and output."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from mlops.__main__ import run
from mlops.deployment.files_target import Rendering, plan_files
from mlops.deployment.ledgers import open_ledger
from mlops.deployment.request import read_request
from mlops.deployment.targets.seldon import FILE
from mlops.errors import InvalidInputError, NotAllowedError, NotFoundError, RemoteError
from mlops.registry import open_registry
from mlops.registry.details import Details
from mlops.settings import load_settings
from tests.deployment.seldon_manifests import TENSOR, graph, target


def registered(project: Path, read: Callable[[str], Details]) -> Rendering:
    """Render a registered model whose files are in a bucket, and one that is only a URI."""
    settings = load_settings(project, environ={})
    client = open_registry(settings)
    if not client.search_registered_models(filter_string="name = 'far'"):
        client.create_registered_model("far")
        client.create_model_version("far", "s3://bucket/far/1")
    request = read_request(settings, ab=("far", "s3://bucket/m"))
    return plan_files(target(settings), request, to="-", read=read).rendering


def test_files_of_registered_models_are_read_and_bare_uris_are_not(project: Path) -> None:
    asked: list[str] = []

    def read(source: str) -> Details:
        asked.append(source)
        return TENSOR

    result = registered(project, read)
    assert asked == ["s3://bucket/far/1"]
    first, second = graph(yaml.safe_load(result.stream))["children"]
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
        plan_files(target(settings), request, to="-", read=read)
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
    assert graph(document)["parameters"][0]["value"] == "0.9"
    assert [child["modelUri"] for child in graph(document)["children"]] == list(AB[2:4])
    assert "note: " in err
    assert not (project / "deploy").exists()


def test_a_folder_is_written_and_the_way_on_printed(cli: Cli, tmp_path: Path) -> None:
    folder = tmp_path / "my manifests"
    code, out, err = cli(*SELDON, "--render", folder)
    assert code == 0
    beside = {FILE, "Dockerfile", "kustomization.yaml", "requirements.txt"}
    assert {path.name for path in folder.iterdir()} == beside
    assert "docker build -t wine-mlops:" in out
    assert f"kubectl apply -k '{folder}'" in out
    assert "kubectl wait --for=condition=ready --timeout=20m sdep/wine" in out
    assert "Apache-2.0" in err
    assert "Apache-2.0" not in (folder / FILE).read_text()


def test_the_folder_is_deploy_and_the_name_by_default(cli: Cli, project: Path) -> None:
    code, out, _ = cli(*SELDON)
    assert code == 0
    assert (project / "deploy/wine" / FILE).is_file()
    assert "kubectl apply -k deploy/wine" in out


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
        assert [each["manifest"] for each in beside] == [False] * 3
        assert (file["path"], file["change"]) == (str(tmp_path / FILE), expected)
        assert file["text"] == (tmp_path / FILE).read_text()
        assert document["written"] is True
        assert len(document["next_commands"]) == 3


def test_a_secret_gets_the_key_that_is_here(cli: Cli, tmp_path: Path, project: Path) -> None:
    key = project / ".mlops/run/wine.key"
    key.parent.mkdir(parents=True, exist_ok=True)
    words = [word if word != "seldon" else "kubernetes" for word in SELDON]
    for content, printed in ((bytes(32), str(key)), (b"short", "<(head -c 32 /dev/urandom)")):
        key.write_bytes(content)
        document = json.loads(cli(*words, "--render", tmp_path / "made", "--json")[1])
        (command,) = (each for each in document["next_commands"] if "create secret" in each)
        assert f"--from-file=request-id-key={printed}" in command
        assert any("has 5 bytes" in note for note in document["notes"]) == (content == b"short")
    key.unlink()


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


def test_files_that_are_no_longer_rendered_are_deleted(cli: Cli, tmp_path: Path) -> None:
    words = [word if word != "seldon" else "kserve" for word in SELDON]
    assert cli(*words, "--render", tmp_path)[0] == 0
    of_others = {
        "own.yaml": "kind: InferenceGraph\nmetadata: {name: wine}\n",
        "beer.yaml": "# Rendered by `mlops deploy`\nkind: Service\nmetadata: {name: beer}\n",
    }
    for name, text in of_others.items():
        (tmp_path / name).write_text(text)
    before = {path.name for path in tmp_path.iterdir()}
    assert "inferencegraph.yaml" in before
    alone = ("deploy", "--model", AB[2], "--name", "wine", "--target", "kserve")
    planned = cli(*alone, "--render", tmp_path, "--dry-run")[1]
    assert f"- {tmp_path / 'inferencegraph.yaml'}" in planned
    assert {path.name for path in tmp_path.iterdir()} == before
    code, out, _ = cli(*alone, "--render", tmp_path)
    assert code == 0
    left = {path.name for path in tmp_path.iterdir()}
    assert "inferencegraph.yaml" not in left
    assert of_others.keys() <= left
    (command,) = (line for line in out.splitlines() if "kubectl delete" in line)
    assert "inferencegraph.serving.kserve.io/wine" in command
    assert "inferenceservice.serving.kserve.io/wine " not in f"{command} "
    assert "kubectl delete" not in cli(*alone, "--render", tmp_path)[1]


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
