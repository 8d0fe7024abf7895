"""Environments of public clients, whose pins do not agree with ours: made once per machine.

They are in a cache outside the checkout, as `tests/minio.py` is. `python -m tests.environments`
makes all of them.
"""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
from pathlib import Path

from tests.requirements import require

#: Programs that only tests need; read before a test says that home is elsewhere.
_CACHE = Path(os.environ.get("MLOPS_TEST_CACHE") or Path.home() / ".cache" / "mlops-tests")
_ENOUGH_S = 600.0
#: What is installed for each, beside what that wants itself. seldon-core 1.18.2 is licensed under
#: the BSL, and used in tests only; 1.17.1, under Apache-2.0, passes the same tests where NumPy 1
#: can be installed (`MLOPS_TEST_SELDON_PYTHON`).
REQUIREMENTS = {
    "seldon-client": ("seldon-core==1.18.2", "setuptools<81", "pandas<3"),
    "kserve-client": ("kserve==0.21.0",),
    "protoc": ("grpcio-tools==1.85.1",),
    # The oldest that `mlops.protocols.protobuf` is made for.
    "old-protobuf": ("protobuf==4.25.0",),
}


def client_python(name: str) -> Path:
    """Return the interpreter that has a client, after installing it if need be.

    A variable such as `MLOPS_TEST_SELDON_PYTHON` or `MLOPS_TEST_KSERVE_PYTHON` names one that has
    it already.
    """
    given = os.environ.get(f"MLOPS_TEST_{name.partition('-')[0].upper()}_PYTHON")
    if given:
        return Path(given)
    fault = ""
    try:
        return _installed(name)
    except (OSError, subprocess.SubprocessError) as error:
        said = getattr(error, "stderr", None) or str(error)
        fault = f"{' '.join(REQUIREMENTS[name])} cannot be installed: {said.strip()[-300:]}"
    require(name, False, fault)
    raise AssertionError("unreachable")


def _installed(name: str) -> Path:
    folder = _CACHE / name
    _CACHE.mkdir(parents=True, exist_ok=True)
    python, done = folder / "bin" / "python", folder / "requirements"
    requirements = REQUIREMENTS[name]
    with (_CACHE / f".{name}.lock").open("w") as lock:
        # Several test processes want it at once.
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not done.is_file() or done.read_text() != "\n".join(requirements):
            done.unlink(missing_ok=True)
            _run(sys.executable, "-m", "venv", "--clear", str(folder))
            quiet = ("--quiet", "--disable-pip-version-check", "--no-input", "--no-compile")
            _run(str(python), "-m", "pip", "install", *quiet, *requirements)
            done.write_text("\n".join(requirements))
    return python


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True, text=True, timeout=_ENOUGH_S)


if __name__ == "__main__":
    for each in REQUIREMENTS:
        print(_installed(each))
