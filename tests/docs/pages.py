"""Runs a page of the documentation, block by block, as a reader would.

- A `sh` block is executed line by line. `mlops` runs in this process, `cd` changes the folder, a
  line that ends with `&` starts a process that lives until the end of the page, and everything else
  goes to bash. `exit code N` in a comment at the end of a line says what it ends with; 0 otherwise.
- A `python` block is executed; all of a page share their names.
- A block with a title, such as `yaml title="MLproject"`, is written to that file.
- A `text` block after these is what they print: each of its lines must be in the output, where `…`
  stands for anything, and blanks and frames do not count.
- `<!-- not run: why -->` before a block leaves it out, with the `text` after it; so does
  `<!-- with a cluster -->` where there is none.

Pages say that servers listen on port 8080 and 9000, and that a bucket is `s3://models`; a test that
runs beside others takes its own.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.fixtures_deployment import Shop
from tests.servers import unused_port

_FENCE = re.compile(
    r"^(?:<!-- (?P<note>not run: .+?|with a cluster) -->\n)?"
    r"```(?P<language>\w+)(?: title=\"(?P<title>[^\"]+)\")?\n(?P<body>.*?)^```$",
    re.DOTALL | re.MULTILINE,
)
_ENDS_WITH = re.compile(r"\s+# exit code (\d+)$")
_ENOUGH_S = 120


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block that is executed, written or compared.

    Attributes:
        language: The word after the fence.
        title: File to write it to; empty for none.
        body: Its lines.
        line: Number of its first line on the page.
        note: Under what condition it is run; empty for always.
    """

    language: str
    title: str
    body: str
    line: int
    note: str = ""


def blocks(page: Path) -> Iterator[Block]:
    """Yield the blocks of a page in order."""
    text = page.read_text(encoding="utf-8")
    note = ""
    for match in _FENCE.finditer(text):
        # Output belongs to what was printed before it.
        note = note if match["language"] == "text" else match["note"] or ""
        line = text.count("\n", 0, match.start("body")) + 1
        yield Block(match["language"], match["title"] or "", match["body"], line, note)


@dataclass
class Reader:
    """Somebody who does what a page says.

    Attributes:
        folder: Where they begin.
        database: An MLflow database with its tables, which each project gets: making one takes
            seconds.
        environ: Variables of the commands.
        bucket: Its own name of the bucket `models`.
        has_cluster: Whether it has a cluster.
    """

    folder: Path
    database: Path
    environ: dict[str, str] = field(default_factory=dict)
    bucket: str = "models"
    has_cluster: bool = False

    def __post_init__(self) -> None:
        self._now_in = self.folder
        self._names: dict[str, Any] = {"__name__": "__main__"}
        self._said = ""
        self._running: list[subprocess.Popen[bytes]] = []
        self._ports = {"8080": str(unused_port()), "9000": str(unused_port())}
        self.environ.setdefault("MLOPS_DEPLOY_PORT", self._ports["8080"])

    def follow(self, page: Path) -> None:
        """Do all of a page.

        Raises:
            AssertionError: Something is not as the page says; the message names the line.
        """
        for block in blocks(page):
            if block.note and not (self.has_cluster and block.note == "with a cluster"):
                continue
            with contextlib.chdir(self._now_in):
                try:
                    self._do(block)
                except Exception as error:
                    said = f"{page.name}:{block.line}: {error}\n{self._said}"
                    raise AssertionError(said) from error

    def close(self) -> None:
        """End what is left running."""
        for process in self._running:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)
            process.wait(timeout=_ENOUGH_S)
        for home in self.folder.rglob(".mlops"):
            Shop(home.parent).close()

    def _do(self, block: Block) -> None:
        body = self._with_own_names(block.body)
        if block.title:
            path = Path(block.title)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(body, encoding="utf-8")
        elif block.language == "sh":
            self._said = ""
            for line in body.replace("\\\n", " ").splitlines():
                if line.strip() and not line.startswith("#"):
                    self._run(line)
        elif block.language == "python":
            out = io.StringIO()
            with contextlib.redirect_stdout(out), _variables(self.environ):
                exec(compile(body, f"line {block.line}", "exec"), self._names)
            self._said = out.getvalue()
        elif block.language == "text":
            self._compare(body)

    def _with_own_names(self, text: str) -> str:
        text = text.replace("s3://models", f"s3://{self.bucket}")
        for shown, own in self._ports.items():
            text = re.sub(rf"(?<=[: =]){shown}\b", own, text)
        return text

    def _run(self, line: str) -> None:
        expected = _ENDS_WITH.search(line)
        line = _ENDS_WITH.sub("", line)
        words = shlex.split(line)
        if words[0] == "cd":
            self._now_in = (Path.cwd() / words[1]).resolve()
            os.chdir(self._now_in)
        elif words[-1] == "&":
            self._start(line.rstrip(" &"))
        elif words[0] == "mlops" and not {"|", ">", "<", "&&"} & set(words):
            if words[1] != "init":
                self._prepare()
            said = Shop(Path.cwd(), environ=self.environ).run(*words[1:])
            self._told(line, said.code, said.out + said.err, expected)
        else:
            done = subprocess.run(
                ["bash", "-c", line], env=self._environ(), stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT, text=True, timeout=_ENOUGH_S, check=False,
            )  # fmt: skip
            self._told(line, done.returncode, done.stdout, expected)

    def _told(self, line: str, code: int, said: str, expected: re.Match[str] | None) -> None:
        self._said += said
        assert code == int(expected[1] if expected else 0), f"`{line}` ended with {code}"

    def _start(self, line: str) -> None:
        process = subprocess.Popen(
            ["bash", "-c", f"exec {line}"], env=self._environ(), start_new_session=True,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        self._running.append(process)

    def _prepare(self) -> None:
        database = Path(".mlops/mlflow.db")
        if Path("MLproject").exists() and not database.exists():
            database.parent.mkdir(mode=0o700, exist_ok=True)
            shutil.copy(self.database, database)

    def _environ(self) -> dict[str, str]:
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        return {"PATH": path, "HOME": str(self.folder), "LANG": "C.UTF-8", **self.environ}

    def _compare(self, shown: str) -> None:
        said = " ".join(re.sub("[│╭╰]", " ", self._said).split())
        for line in shown.splitlines():
            parts = [re.escape(" ".join(part.split())) for part in line.split("…")]
            assert re.search(r"\s*.*?\s*".join(parts), said), f"`{line.strip()}` is not said"


@contextlib.contextmanager
def _variables(given: Mapping[str, str]) -> Iterator[None]:
    before = dict(os.environ)
    os.environ.update(given)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
