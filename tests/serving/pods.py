"""Our server's containers without a cluster: their entry point as a container engine runs it.

A user without an account, group 0, no capabilities, a root that cannot be written to, and the
environment that the Dockerfile and the manifests set, and nothing else. Where the machine does not
allow that much (it takes root), the rest is tried without.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlops.deployment.targets.base import RenderOptions
from mlops.deployment.targets.kubernetes import Kubernetes
from mlops.deployment.targets.own_image import DOCKERFILE
from tests.deployment.specs import spec

USER = 1_000_620_000
_ENOUGH_S = 120.0


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
            "setpriv", f"--reuid={USER}", "--regid=0", "--clear-groups", "--no-new-privs",
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
            # While models are loaded the port is bound and does not answer.
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
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.loads(answer.read()), {k.lower(): v for k, v in answer.getheaders()}


def can_confine() -> bool:
    """Whether this machine can do what a container engine does."""
    if os.getuid() != 0 or not shutil.which("setpriv") or not shutil.which("unshare"):
        return False
    tried = subprocess.run(["unshare", "-m", "true"], capture_output=True, check=False)
    others = subprocess.run(
        ["setpriv", f"--reuid={USER}", "--regid=0", "--clear-groups", sys.executable, "-c",
         "import mlops"],
        capture_output=True,
        check=False,
        cwd="/",
    )  # fmt: skip
    return tried.returncode == 0 and others.returncode == 0


@contextmanager
def new_pod(document: object, *, confined: bool) -> Iterator[Pod]:
    """Make a pod as the manifests make it, before its containers have run.

    Args:
        document: What its ConfigMap holds as `revision.json`.
        confined: See `Pod`.
    """
    folder = Path(tempfile.mkdtemp(prefix="pod-"))
    try:
        folder.chmod(0o755)
        for name in ("config", "key", "models", "run", "journal", "tmp"):
            (folder / name).mkdir()
            # Volumes belong to root and to the group, which may write.
            (folder / name).chmod(0o775)
        (folder / "config/revision.json").write_text(json.dumps(document))
        (folder / "key/request-id-key").write_bytes(bytes(32))
        (folder / "key/request-id-key").chmod(0o440)
        (folder / "config").chmod(0o555)
        (folder / "key").chmod(0o555)
        yield Pod(folder, confined)
    finally:
        shutil.rmtree(folder)
