"""The server in a pod, without a cluster: its entry point as the container runs it.

A user that nobody knows, group 0, no capabilities, a root that cannot be written to, and the
environment that the Dockerfile and the manifests set, and nothing else. Where the machine does not
allow that much (it takes root), the rest is tried without.
"""

from __future__ import annotations

import json
import os
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
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from mlops.deployment.targets.base import RenderOptions
from mlops.deployment.targets.kubernetes import Kubernetes, config
from mlops.deployment.targets.own_image import DOCKERFILE
from mlops.serving.pod import Places
from mlops.spec.deployment import Arm, DeploymentSpec
from mlops.spec.model import ModelVersion
from tests.deployment.specs import spec
from tests.requirements import require
from tests.serving.models import COLUMNS, ROWS

_USER = 1_000_620_000
_ENOUGH_S = 120.0
_ROWS = {"dataframe_split": {"columns": list(COLUMNS), "data": ROWS[:1]}}
_SELDON = {"data": {"names": list(COLUMNS), "ndarray": ROWS[:1]}}


def container_environment() -> dict[str, str]:
    """Return what the rendered Dockerfile sets; only PATH is this machine's."""
    text = Kubernetes().render(spec(1.0), RenderOptions()).beside[DOCKERFILE]
    block = re.search(r"^ENV ((?:.*\\\n)*.*)$", text, re.MULTILINE)
    assert block is not None
    found = dict(word.split("=", 1) for word in block[1].replace("\\\n", " ").split())
    return {**found, "PATH": os.environ["PATH"]}


@dataclass(frozen=True)
class Pod:
    """The folders that a pod has, and how its containers are started.

    Attributes:
        folder: Under which everything lies.
        confined: Whether the machine lets us be somebody else, on a root that cannot be written.
    """

    folder: Path
    confined: bool

    def command(self, *words: str) -> list[str]:
        program = [sys.executable, "-m", "mlops.serving.pod", *words]
        if not self.confined:
            return program
        become = [
            "setpriv", f"--reuid={_USER}", "--regid=0", "--clear-groups", "--no-new-privs",
            "--bounding-set=-all",
        ]  # fmt: skip
        script = 'mount --bind "$0" "$0" && mount -o remount,bind,ro / && exec "$@"'
        return ["unshare", "-m", "sh", "-c", script, str(self.folder), *become, *program]

    @property
    def environment(self) -> dict[str, str]:
        # The pod's /tmp; ours is the machine's.
        tmp = str(self.folder / "tmp")
        return {**container_environment(), "HOME": tmp, "TMPDIR": tmp}

    def places(self, port: int) -> list[str]:
        named = {name: self.folder / name for name in ("config", "key", "models", "run", "journal")}
        words = [f"--{name}={path}" for name, path in named.items()]
        return [*words, "--host=127.0.0.1", f"--port={port}"]

    @contextmanager
    def running(
        self, port: int, *words: str, **environment: str
    ) -> Iterator[subprocess.Popen[str]]:
        process = subprocess.Popen(
            self.command(*words),
            env={**self.environment, **environment},
            cwd="/",
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            wait_ready(port, process)
            yield process
        finally:
            process.kill()
            process.communicate()


def wait_ready(port: int, process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + _ENOUGH_S
    while True:
        if process.poll() is not None:
            raise AssertionError(process.communicate()[1])
        try:
            # While models are loaded the port is bound and nobody answers.
            assert get(port, "/v2/health/ready", timeout_s=1) == {"ready": True}
            return
        except OSError:
            assert time.monotonic() < deadline, "it did not get ready"
            time.sleep(0.1)


def get(port: int, path: str, timeout_s: float = 20) -> Any:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=timeout_s) as answer:
        return json.loads(answer.read())


def post(port: int, path: str, document: object, **headers: str) -> tuple[Any, Mapping[str, str]]:
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}{path}",
        json.dumps(document).encode(),
        {"content-type": "application/json", **headers},
    )
    with urllib.request.urlopen(request, timeout=20) as answer:
        return json.loads(answer.read()), {k.lower(): v for k, v in answer.getheaders()}


@pytest.fixture(scope="module")
def confined() -> bool:
    """Whether this machine can do what a container engine does."""
    if os.getuid() != 0 or not shutil.which("setpriv") or not shutil.which("unshare"):
        return False
    tried = subprocess.run(["unshare", "-m", "true"], capture_output=True, check=False)
    others = subprocess.run(
        ["setpriv", f"--reuid={_USER}", "--regid=0", "--clear-groups", sys.executable, "-c",
         "import mlops"],
        capture_output=True,
        check=False,
        cwd="/",
    )  # fmt: skip
    return tried.returncode == 0 and others.returncode == 0


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
    folder = Path(tempfile.mkdtemp(prefix="pod-"))
    try:
        folder.chmod(0o755)
        for name in ("config", "key", "models", "run", "journal", "tmp"):
            (folder / name).mkdir()
            # Volumes belong to root and to the group, which may write.
            (folder / name).chmod(0o775)
        document = config(wine[1], RenderOptions(revision=7))
        (folder / "config/revision.json").write_text(json.dumps(document))
        (folder / "key/request-id-key").write_bytes(bytes(32))
        (folder / "key/request-id-key").chmod(0o440)
        (folder / "config").chmod(0o555)
        (folder / "key").chmod(0o555)
        yield Pod(folder, confined)
    finally:
        shutil.rmtree(folder)


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
        assert (pod.folder / "journal/journal.db").stat().st_uid == _USER
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


def test_the_confinement_is_real(pod: Pod) -> None:
    require("root", pod.confined, "only root can be somebody else on a root of its own")
    code = "import os; print(os.getuid()); open('/tmp/x', 'w')"
    words = pod.command("fetch")
    words[-4:] = [sys.executable, "-c", code]
    tried = subprocess.run(words, capture_output=True, text=True, check=False)
    assert tried.stdout == f"{_USER}\n"
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
        assert get(free_port, "/v2/models/wine")["versions"] == ["wine/1"]
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
