"""What the callers of one arm notice while the other arm hangs.

    python benchmarks/hung_arm.py [--rounds 5] [--seconds 4]

Two deployments of the same A/B test on one core: of the wine model, and of one whose calls never
return where a row says so. In one of them twelve calls hang, four in the threads of that arm and
the others behind them. The callers of the first arm are timed in turn in both. Exits with 1 if
their p99 beside the hanging calls is more than 1.5 times that without.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import socket
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from common import (
    SERVER_CORE,
    Peer,
    machine,
    measure,
    pin,
    run,
    split_body,
    state_of,
    wine_project,
    wine_rows,
    wrk_script,
)

_HANGING = 12
_MOST = 1.5
# Slow enough that the server gives it threads.
_MODEL = """
import time
import mlflow.pyfunc

class Hanging(mlflow.pyfunc.PythonModel):
    def predict(self, context, model_input, params=None):
        time.sleep(3600 if (model_input["alcohol"] < 0).any() else 0.005)
        return [0.0] * len(model_input)

mlflow.models.set_model(Hanging())
"""
_SAVE = """
import json, sys
import mlflow.pyfunc
import pandas as pd
from mlflow.models import infer_signature

frame = pd.DataFrame(json.loads(sys.argv[3]))
mlflow.pyfunc.save_model(
    sys.argv[2], python_model=sys.argv[1], input_example=frame,
    signature=infer_signature(frame, [0.0]), pip_requirements=["mlflow"],
)
"""


def main(rounds: int, seconds: int) -> None:
    with wine_project(models=("0.1",)) as project, tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        header, rows = wine_rows(project)
        model = _hanging_model(folder, dict(zip(header, rows[0], strict=True)))
        script = wrk_script(folder, "rows", [split_body(header, [row]) for row in rows])
        with script.open("a") as lines:
            lines.write('wrk.headers["X-Mlops-Arm"] = "wine-1"\n')
        calm, hanging = (_deploy(project, name, model, script) for name in ("calm", "hanging"))
        told = [-1.0 if name == "alcohol" else 1.0 for name in header]
        with _hang(project, hanging, json.dumps(split_body(header, [told])).encode()):
            found = measure([calm, hanging], rounds, seconds)
    print(machine())
    p99s = []
    for name, asked in found.items():
        rate = statistics.median(each.rate for each in asked)
        p99s.append(statistics.median(each.p99_ms for each in asked))
        print(f"{name:<10}{rate:>9.0f} requests/s of `wine-1`, p99 {p99s[-1]:.2f} ms")
    print(f"p99, hanging / calm: {p99s[1] / p99s[0]:.2f}")
    if p99s[1] > _MOST * p99s[0]:
        raise SystemExit(1)


def _deploy(project: Path, name: str, model: Path, script: Path) -> Peer:
    run("deploy", "--ab", "wine/1", str(model), "--name", name, "--json", cwd=project)
    pin(int(str(state_of(project, name)["pid"])), SERVER_CORE)
    launch = _launch(project, name)
    return Peer(name, f"http://127.0.0.1:{launch['port']}/invocations", script)


def _launch(project: Path, name: str) -> dict[str, Any]:
    launch = state_of(project, name)["launch"]
    assert isinstance(launch, dict)
    return launch


def _hanging_model(folder: Path, row: dict[str, float]) -> Path:
    code, model = folder / "hanging.py", folder / "hanging"
    code.write_text(_MODEL)
    command = [sys.executable, "-c", _SAVE, str(code), str(model), json.dumps([row])]
    subprocess.run(command, check=True, capture_output=True)
    return model


@contextlib.contextmanager
def _hang(project: Path, peer: Peer, body: bytes) -> Iterator[None]:
    """Have calls hang in the second arm until the block ends.

    Raises:
        SystemExit: One of them did not.
    """
    port = urlsplit(peer.url).port
    arm = _launch(project, peer.name)["served"]["spec"]["arms"][1]["name"]
    head = f"POST /invocations HTTP/1.1\r\nHost: localhost\r\nX-Mlops-Arm: {arm}\r\n"
    request = f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body
    with contextlib.ExitStack() as stack:
        callers = []
        for _ in range(_HANGING):
            caller = stack.enter_context(socket.create_connection(("127.0.0.1", port)))
            caller.sendall(request)
            callers.append(caller)
        yield
        for caller in callers:
            caller.setblocking(False)
            # Those whose deadline has passed are told so.
            with contextlib.suppress(BlockingIOError):
                said = caller.recv(1000)
                if not said.startswith(b"HTTP/1.1 504"):
                    raise SystemExit(f"A call that was to hang was answered: {said.decode()}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=4)
    chosen = parser.parse_args()
    main(chosen.rounds, chosen.seconds)
