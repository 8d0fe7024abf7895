"""The server in a pod, without a cluster: its entry point as the container runs it."""

from __future__ import annotations

import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from mlops.deployment.targets.base import RenderOptions
from mlops.deployment.targets.kubernetes import Kubernetes, config
from mlops.registry.artifact_digest import read_content
from mlops.serving.pod import Places, processors
from mlops.spec.deployment import Arm, DeploymentSpec
from mlops.spec.model import ModelVersion
from tests.deployment.specs import spec
from tests.requirements import require
from tests.serving.models import COLUMNS, ROWS
from tests.serving.pods import USER, Pod, can_confine, get, new_pod, post

_ROWS = {"dataframe_split": {"columns": list(COLUMNS), "data": ROWS[:1]}}
_SELDON = {"data": {"names": list(COLUMNS), "ndarray": ROWS[:1]}}


@pytest.mark.parametrize(
    ("files", "count"),
    [
        ({"cpu.max": "200000 100000\n"}, 2),
        ({"cpu.max": "350000 100000\n"}, 3),
        ({"cpu.max": "50000 100000\n"}, 1),
        ({"cpu.max": "max 100000\n"}, 1),
        ({"cpu/cpu.cfs_quota_us": "400000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 4),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, 1),
        ({}, 1),
    ],
)
def test_a_pod_has_a_worker_for_each_processor_of_its_limit(
    tmp_path: Path, files: dict[str, str], count: int
) -> None:
    (tmp_path / "cpu").mkdir()
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    assert processors(tmp_path) == count


@pytest.fixture(scope="module")
def confined() -> bool:
    """Whether this machine can do what a container engine does."""
    return can_confine()


@pytest.fixture(scope="module")
def wine(models: dict[str, Path]) -> Iterator[tuple[Path, DeploymentSpec]]:
    """Return a folder that anybody can read, with both models, and the spec that names them."""
    # pytest's own folders are closed to other users.
    folder = Path(tempfile.mkdtemp(prefix="pod-"))
    try:
        folder.chmod(0o755)
        arms = []
        for version, (name, path) in enumerate(models.items(), start=1):
            shutil.copytree(path, folder / name)
            model = ModelVersion(name, f"wine/{version}", f"file://{folder / name}")
            arms.append(Arm(name, model, 0.5))
        yield folder, DeploymentSpec("wine", tuple(arms))
    finally:
        shutil.rmtree(folder)


@pytest.fixture
def pod(wine: tuple[Path, DeploymentSpec], confined: bool) -> Iterator[Pod]:
    """Return a pod as the manifests make it, before its containers have run."""
    with new_pod(config(wine[1], RenderOptions(revision=7)), confined=confined) as made:
        yield made


def test_the_defaults_are_what_the_manifests_mount() -> None:
    text = Kubernetes().render(spec(1.0), RenderOptions()).files["deployment.yaml"]
    places = Places()
    for path in (places.config, places.key, places.models, places.run, places.journal):
        assert f"mountPath: {path}\n" in text
    assert f"containerPort: {places.port}\n" in text


def test_fetch_then_serve(pod: Pod, free_port: int) -> None:
    fetched = subprocess.run(
        pod.command("fetch", *pod.places(free_port)),
        env=pod.environment,
        cwd="/",
        capture_output=True,
        text=True,
        check=False,
    )
    assert fetched.returncode == 0, fetched.stderr
    assert fetched.stderr.count("pulling wine/") == 2
    # The server's mount of it cannot be written to.
    (pod.folder / "models").chmod(0o555)
    with pod.running(free_port, "serve", *pod.places(free_port)) as process:
        answer, headers = post(free_port, "/invocations", _ROWS)
        assert len(answer["predictions"]) == 1
        assert headers["x-mlops-revision"] == "7"
        assert headers["x-mlops-arm"] in ("a", "b")
        said, _ = post(
            free_port, "/feedback", {"request_id": headers["x-mlops-request-id"], "truth": 6}
        )
        assert said["outcome"]["revision"] == 7
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0, process.communicate()
    assert (pod.folder / "journal/journal.db").stat().st_size > 0
    if pod.confined:
        assert (pod.folder / "journal/journal.db").stat().st_uid == USER
    again = subprocess.run(
        pod.command("fetch", *pod.places(free_port)),
        env=pod.environment,
        cwd="/",
        capture_output=True,
        text=True,
        check=False,
    )
    assert again.returncode == 0
    assert "pulling" not in again.stderr
    # Another Secret, on purpose.
    (pod.folder / "key/request-id-key").chmod(0o640)
    (pod.folder / "key/request-id-key").write_bytes(bytes(range(32)))
    words = ("serve", *pod.places(free_port))
    refused = subprocess.run(
        pod.command(*words),
        env=pod.environment,
        cwd="/",
        capture_output=True,
        text=True,
        check=False,
    )
    assert refused.returncode == 7, refused.stderr
    assert "is not the key of the request ids" in refused.stderr
    with pod.running(free_port, *words, MLOPS_DEPLOY_NEW_KEY="true"):
        pass


def test_fetch_takes_only_what_the_revision_pins(
    wine: tuple[Path, DeploymentSpec], confined: bool, free_port: int
) -> None:
    folder, deployed = wine
    pinned = tuple(
        replace(arm, model=replace(arm.model, digest=read_content(folder / arm.name).digest))
        for arm in deployed.arms
    )
    first, second = (arm.model for arm in pinned)
    # Somebody has put the second model where the first was.
    swapped = (pinned[0], replace(pinned[1], model=replace(second, source=first.source)))
    for arms, code in ((pinned, 0), (swapped, 7)):
        revision = config(replace(deployed, arms=arms), RenderOptions(revision=7))
        with new_pod(revision, confined=confined) as pod:
            fetched = subprocess.run(
                pod.command("fetch", *pod.places(free_port)),
                env=pod.environment, cwd="/", capture_output=True, text=True, check=False,
            )  # fmt: skip
            assert fetched.returncode == code, fetched.stderr
            both = first.digest in fetched.stderr and second.digest in fetched.stderr
            assert both == bool(code)


def test_the_confinement_is_real(pod: Pod) -> None:
    require("root", pod.confined, "only root can be somebody else on a root of its own")
    code = "import os; print(os.getuid()); open('/tmp/x', 'w')"
    words = pod.command("fetch")
    words[-4:] = [sys.executable, "-c", code]
    tried = subprocess.run(words, capture_output=True, text=True, check=False)
    assert tried.stdout == f"{USER}\n"
    assert "Read-only file system" in tried.stderr


def test_a_token_in_the_secret_is_asked_for(pod: Pod, free_port: int) -> None:
    (pod.folder / "key").chmod(0o755)
    (pod.folder / "key/token").write_text("0123456789abcdef0123\n")
    subprocess.run(
        pod.command("fetch", *pod.places(free_port)), env=pod.environment, cwd="/", check=True
    )
    with pod.running(free_port, "serve", *pod.places(free_port)):
        with pytest.raises(urllib.error.HTTPError, match="401"):
            post(free_port, "/invocations", _ROWS)
        post(free_port, "/invocations", _ROWS, authorization="Bearer 0123456789abcdef0123")


def test_one_model_under_the_platforms_names(
    pod: Pod, wine: tuple[Path, DeploymentSpec], free_port: int
) -> None:
    """As a ServingRuntime of KServe, and as a node of Seldon's graph."""
    environment = {
        "MLSERVER_MODEL_NAME": "wine",
        "MLSERVER_MODEL_URI": str(wine[0] / "a"),
        "MLSERVER_HTTP_PORT": str(free_port),
        "MLOPS_MODEL_LABEL": "wine/1",
    }
    with pod.running(free_port, "model", "--host=127.0.0.1", **environment):
        inputs = [
            {"name": name, "shape": [1, 1], "datatype": "FP64", "data": [cell]}
            for name, cell in zip(COLUMNS, ROWS[0], strict=True)
        ]
        answer, _ = post(free_port, "/v2/models/wine/infer", {"inputs": inputs})
        assert answer["model_name"] == "wine"
        # Its one arm, whose name a path of a version can hold, as a label with a slash cannot.
        assert get(free_port, "/v2/models/wine")["versions"] == ["wine"]
        assert get(free_port, "/v2/models/wine/versions/wine")["name"] == "wine"
        # What Seldon's executor calls.
        answer, headers = post(free_port, "/predict", _SELDON)
        assert len(answer["data"]["ndarray"]) == 1
        assert answer["meta"] is not None
        feedback = {"request": _SELDON, "response": answer, "reward": 0.0}
        post(free_port, "/send-feedback", feedback)
        post(
            free_port,
            "/feedback",
            {"request_id": headers["x-mlops-request-id"], "reward": -2.0},
        )
        with urllib.request.urlopen(f"http://127.0.0.1:{free_port}/metrics") as said:
            metrics = said.read().decode()
        # A reward of 0 is counted, and a negative one too.
        assert re.search(r"^mlops_rewards_total[^\n]* 2(\.0)?$", metrics, re.MULTILINE), metrics
    assert list((pod.folder / "journal").iterdir()) == []


def test_a_pod_that_loads_can_be_deleted(pod: Pod) -> None:
    """As process 1 it would not end by itself."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    process = subprocess.Popen(
        pod.command("serve", *pod.places(port)),
        env=pod.environment,
        cwd="/",
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        time.sleep(1.5)
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) in (128 + signal.SIGTERM, -signal.SIGTERM, 3)
    finally:
        process.kill()
        process.communicate()


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("{", "cannot be read"),
        ('{"schema_version": 9}', "this image reads 1"),
        ('{"schema_version": 1}', "cannot be read"),
    ],
)
def test_a_broken_revision_is_named(pod: Pod, text: str, fault: str) -> None:
    (pod.folder / "config/revision.json").write_text(text)
    tried = subprocess.run(
        pod.command("fetch", *pod.places(1)),
        env=pod.environment,
        cwd="/",
        capture_output=True,
        text=True,
        check=False,
    )
    assert tried.returncode == 3
    assert fault in tried.stderr
