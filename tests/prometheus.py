"""A Prometheus of one's own: in a temporary folder, on loopback, gone with the tests."""

from __future__ import annotations

import contextlib
import json
import shutil
import subprocess
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import pytest
import yaml

from tests.requirements import require
from tests.servers import unused_port

Json: TypeAlias = Any
_START_TIMEOUT_S = 30.0


@dataclass(frozen=True, slots=True)
class Series:
    """One series of an answer."""

    labels: Mapping[str, str]
    value: float


class Prometheus:
    """A server that scrapes some addresses every second."""

    def __init__(self, folder: Path, targets: Sequence[str], rules: str = "groups: []\n") -> None:
        program = shutil.which("prometheus")
        assert program is not None
        (folder / "rules.yml").write_text(rules)
        configuration = {
            "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
            "scrape_configs": [
                {"job_name": "mlops", "static_configs": [{"targets": list(targets)}]}
            ],
            "rule_files": [str(folder / "rules.yml")],
        }
        (folder / "prometheus.yml").write_text(yaml.safe_dump(configuration))
        port = unused_port()
        self.url = f"http://127.0.0.1:{port}"
        self._log = folder / "log"
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                [
                    program,
                    f"--config.file={folder / 'prometheus.yml'}",
                    f"--storage.tsdb.path={folder / 'data'}",
                    f"--web.listen-address=127.0.0.1:{port}",
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def wait(self) -> Prometheus:
        """Return once it is ready."""
        deadline = time.monotonic() + _START_TIMEOUT_S
        while time.monotonic() < deadline:
            assert self.process.poll() is None, self._log.read_text()
            try:
                with urllib.request.urlopen(f"{self.url}/-/ready", timeout=5):
                    return self
            except OSError:
                time.sleep(0.05)
        raise AssertionError(f"not ready in time:\n{self._log.read_text()}")

    def query(self, query: str) -> list[Series]:
        """Ask for the value of a query now."""
        words = urllib.parse.urlencode({"query": query})
        try:
            answer = self._get(f"/api/v1/query?{words}")
        except urllib.error.HTTPError as error:
            raise AssertionError(f"{error.read().decode()}\n{query}") from error
        if answer["resultType"] == "scalar":
            return [Series({}, float(answer["result"][1]))]
        return [Series(each["metric"], float(each["value"][1])) for each in answer["result"]]

    def rules(self) -> Json:
        """Return every rule with its state."""
        return [rule for group in self._get("/api/v1/rules")["groups"] for rule in group["rules"]]

    def _get(self, path: str) -> Json:
        with urllib.request.urlopen(self.url + path, timeout=60) as response:
            return json.load(response)["data"]

    def stop(self) -> None:
        self.process.terminate()
        try:
            self.process.wait(15)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def require_prometheus() -> None:
    """Skip, or fail, where Debian's package `prometheus` is not installed."""
    found = shutil.which("prometheus") and shutil.which("promtool")
    require("prometheus", found, "there is no Prometheus here")


@contextlib.contextmanager
def prometheus(*targets: str, rules: str = "groups: []\n") -> Iterator[Prometheus]:
    """Run a server until the block ends."""
    with tempfile.TemporaryDirectory(prefix="prom", ignore_cleanup_errors=True) as name:
        server = Prometheus(Path(name), targets, rules)
        try:
            yield server.wait()
        finally:
            server.stop()


@pytest.fixture(scope="session")
def promtool(tmp_path_factory: pytest.TempPathFactory) -> Promtool:
    """Prometheus' tool for rules."""
    require_prometheus()
    return Promtool(tmp_path_factory.mktemp("promtool"))


class Promtool:
    """Checks and tests rules in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def check(self, rules: str) -> str:
        """Parse rules; return what it says of them."""
        (self._folder / "rules.yml").write_text(rules)
        return self._run("check", "rules", "--lint=all", "--lint-fatal", "rules.yml")

    def test(self, rules: str, *cases: Json) -> None:
        """Evaluate rules on series that are made up; `cases` are `tests` of a unit-test file."""
        (self._folder / "rules.yml").write_text(rules)
        document = {
            "rule_files": ["rules.yml"],
            "evaluation_interval": "1m",
            "tests": [{"interval": "1m", **case} for case in cases],
        }
        (self._folder / "tests.yml").write_text(json.dumps(document))
        self._run("test", "rules", "tests.yml")

    def _run(self, *words: str) -> str:
        done = subprocess.run(
            ["promtool", *words], cwd=self._folder, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr
