"""The programs of a Kubernetes control plane: found on PATH or in a cache outside the checkout.

`python -m tests.kubernetes_api` builds `kube-apiserver` and `kube-controller-manager` with Go
into the cache, once per machine. Their module has `replace` lines that point into its own
repository, so a wrapper module repeats them with the versions of the published modules. `etcd` is
Debian's (package `etcd-server`). Nothing of them is imported, vendored or shipped.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

VERSION = "1.34.4"
PROGRAMS = ("kube-apiserver", "kube-controller-manager")
HOW = (
    "`apt-get install etcd-server` and `python -m tests.kubernetes_api`, which builds "
    f"{' and '.join(PROGRAMS)} with Go"
)
#: Programs that only tests need; read before a test says that home is elsewhere.
_CACHE = Path(os.environ.get("MLOPS_TEST_CACHE") or Path.home() / ".cache" / "mlops-tests")
_MAIN = """package main

import (
	"os"

	"k8s.io/component-base/cli"
	"k8s.io/kubernetes/cmd/{program}/app"
)

func main() {{
	os.Exit(cli.Run(app.{command}()))
}}
"""
_COMMANDS = {
    "kube-apiserver": "NewAPIServerCommand",
    "kube-controller-manager": "NewControllerManagerCommand",
}


def find_program(name: str) -> Path | None:
    """Return a program, from PATH or the cache."""
    on_path = shutil.which(name)
    if on_path:
        return Path(on_path)
    cached = _CACHE / "bin" / name
    return cached if cached.is_file() else None


def missing() -> list[str]:
    """Name what a control plane lacks here."""
    return [name for name in ("etcd", *PROGRAMS) if find_program(name) is None]


def build(name: str) -> Path:
    """Build a program into the cache, which takes Go ten minutes, and return it."""
    folder = _CACHE / "bin"
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="kubernetes-") as temporary:
        module = Path(temporary)
        (module / "go.mod").write_text(_go_mod())
        (module / "main.go").write_text(_MAIN.format(program=name, command=_COMMANDS[name]))
        # A build that is interrupted leaves no program that looks like one.
        part = folder / f".part-{os.getpid()}"
        subprocess.run(
            [
                *("go", "build", "-mod=mod", "-trimpath", "-o", str(part), "-ldflags"),
                f"-s -w -X k8s.io/component-base/version.gitVersion=v{VERSION}",
                ".",
            ],
            cwd=module,
            env=os.environ | {"CGO_ENABLED": "0"},
            check=True,
        )
    return part.rename(folder / name)


def _go_mod() -> str:
    """Write the wrapper's module file, with every `replace` that Kubernetes' own has."""
    said = subprocess.run(
        ["go", "mod", "download", "-json", f"k8s.io/kubernetes@v{VERSION}"],
        capture_output=True,
        text=True,
        check=True,
    )
    theirs = Path(json.loads(said.stdout)["GoMod"]).read_text()
    staged = re.findall(r"(k8s\.io/\S+) => \./staging/", theirs)
    of_go = re.search(r"^go \S+$", theirs, re.MULTILINE)
    assert staged, theirs
    assert of_go, theirs
    library = VERSION.replace("1.", "0.", 1)
    return "\n".join(
        [
            "module kubernetes_programs",
            of_go[0],
            f"require k8s.io/kubernetes v{VERSION}",
            f"require k8s.io/component-base v{library}",
            *(f"replace {each} => {each} v{library}" for each in dict.fromkeys(staged)),
            "",
        ]
    )
