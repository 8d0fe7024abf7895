"""Models of several kinds, each in several servers, in turn: how many requests a core answers.

    python benchmarks/models.py [NAME …] [--mlserver PYTHON] [--rounds 3] [--json FILE]

Ours (one arm, journal and metrics on, in the runtime that `auto` chooses) against `mlflow models
serve` and MLServer, over HTTP with 1 and with 100 rows a request, on one core; wrk has the other,
with 16 keep-alive connections and distinct rows. Before anything is timed, answers of every server
are compared with the model's own: labels are identical, numbers within 2e-6 of their size or of a
typical answer's, which is what rounding in float32 explains. MLServer runs its
sklearn runtime where there is an estimator with a `predict`, else its mlflow runtime. `--mlserver`
names the Python of an environment of its own, with the versions of scikit-learn, LightGBM and
XGBoost that are here:

    pip install mlserver mlserver-sklearn mlserver-mlflow 'setuptools<81' lightgbm xgboost-cpu
"""

from __future__ import annotations

import argparse
import contextlib
import json
import logging
import statistics
import tempfile
import urllib.request
import warnings
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from common import (
    SERVER_CORE,
    Asked,
    Peer,
    machine,
    measure,
    ml_server,
    mlflow_server,
    need,
    pin,
    run,
    split_body,
    state_of,
    wrk_script,
)
from example_models import MODELS, save

_SIZES = (1, 100)
_BODIES = {1: 200, 100: 20}
_COMPARED = 10
_TOLERANCE = 2e-6


@dataclass(frozen=True, slots=True)
class Line:
    """What was measured of one model with requests of one size.

    Attributes:
        model: Its name.
        rows: Rows of a request.
        runtime: What `auto` chose.
        theirs: The runtime of MLServer; empty if that was left out.
        rates: Requests per second by server, medians.
        p99_ms: Likewise.
    """

    model: str
    rows: int
    runtime: str
    theirs: str
    rates: dict[str, float]
    p99_ms: dict[str, float]


def main(
    names: list[str], mlserver: str | None, rounds: int, seconds: float, out: Path | None
) -> None:
    need("wrk", "wrk")
    logging.disable(logging.WARNING)
    warnings.simplefilter("ignore")
    print(machine())
    if mlserver is None:
        print("MLServer is left out: no --mlserver was given.")
    lines: list[Line] = []
    print(_HEAD, flush=True)
    for name in names:
        with tempfile.TemporaryDirectory(prefix="mlops-bench-") as folder:
            for line in _measured(name, Path(folder), mlserver, rounds, seconds):
                lines.append(line)
                print(_row(line), flush=True)
    if out is not None:
        document = {"machine": machine(), "lines": [asdict(line) for line in lines]}
        out.write_text(json.dumps(document, indent=2) + "\n")


def _measured(
    name: str, folder: Path, mlserver: str | None, rounds: int, seconds: float
) -> Iterator[Line]:
    made = MODELS[name]()
    model = folder / "model"
    save(made, model)
    by_size = {rows: _parts(made[1], rows) for rows in _SIZES}
    with contextlib.ExitStack() as stack:
        ours = stack.enter_context(_ours(folder / "project", model))
        split = {
            rows: wrk_script(
                folder, f"split-{rows}", [split_body(list(f.columns), _cells(f)) for f in parts]
            )
            for rows, parts in by_size.items()
        }
        first = split[_SIZES[0]]
        # Each with its scripts, by rows of a request.
        peers = [
            (stack.enter_context(mlflow_server(model, first)), split),
            (Peer("ours", ours.url, first), split),
        ]
        theirs = ""
        if mlserver:
            flavour = "" if made[0] is None else type(made[0]).__module__.partition(".")[0]
            theirs = "sklearn" if flavour else "mlflow"
            v2 = {
                rows: wrk_script(folder, f"v2-{rows}", [_v2(frame) for frame in parts])
                for rows, parts in by_size.items()
            }
            bodies = v2 if flavour else split
            place = folder / "mlserver"
            serving = ml_server(mlserver, place, model, bodies[_SIZES[0]], flavour)
            peers.append((stack.enter_context(serving), bodies))
        for rows in _SIZES:
            asked = [Peer(peer.name, peer.url, bodies[rows]) for peer, bodies in peers]
            expected = _expected(model, by_size[rows][:_COMPARED])
            for peer in asked:
                _compare(name, peer, expected)
            found = measure(asked, rounds, seconds)
            yield Line(name, rows, ours.runtime, theirs, _medians(found, "rate"),
                       _medians(found, "p99_ms"))  # fmt: skip


def _medians(found: dict[str, list[Asked]], field: str) -> dict[str, float]:
    return {
        name.partition(",")[0]: statistics.median(getattr(each, field) for each in asked)
        for name, asked in found.items()
    }


def _parts(frame: pd.DataFrame, rows: int) -> list[pd.DataFrame]:
    """Cut a frame into requests, no two of which are the same."""
    starts = range(0, min(len(frame), rows * _BODIES[rows]), rows)
    return [frame.iloc[start : start + rows] for start in starts]


def _cells(frame: pd.DataFrame) -> list[list[Any]]:
    cells: list[list[Any]] = frame.to_numpy(dtype=object).tolist()
    return cells


def _v2(frame: pd.DataFrame) -> dict[str, object]:
    """Return a frame of numbers as one tensor, another as a tensor per column."""
    if all(kind.kind == "f" for kind in frame.dtypes):
        data = frame.to_numpy().ravel().tolist()
        return {"inputs": [_tensor("input-0", list(frame.shape), "FP64", data)]}
    inputs = [
        _tensor(str(name), [len(frame), 1], "FP64", column.tolist())
        if column.dtype.kind == "f"
        else {
            **_tensor(str(name), [len(frame), 1], "BYTES", column.tolist()),
            "parameters": {"content_type": "str"},
        }
        for name, column in frame.items()
    ]
    return {"parameters": {"content_type": "pd"}, "inputs": inputs}


def _tensor(name: str, shape: list[int], datatype: str, data: list[Any]) -> dict[str, object]:
    return {"name": name, "shape": shape, "datatype": datatype, "data": data}


def _expected(model: Path, parts: list[pd.DataFrame]) -> list[list[Any]]:
    import mlflow.pyfunc

    loaded = mlflow.pyfunc.load_model(str(model))
    return [np.asarray(loaded.predict(frame)).ravel().tolist() for frame in parts]


def _compare(name: str, peer: Peer, expected: list[list[Any]]) -> None:
    """Compare answers with what the model itself says.

    Raises:
        SystemExit: One is another.
    """
    bodies = peer.script.with_suffix("").read_bytes().splitlines()
    numbers = [abs(cell) for part in expected for cell in part if not isinstance(cell, str)]
    size = statistics.fmean(numbers) if numbers else 0.0
    for number, (body, known) in enumerate(zip(bodies, expected, strict=False)):
        answer = _post(peer.url, body)
        found = answer["predictions"] if "predictions" in answer else answer["outputs"][0]["data"]
        found = [cell for row in found for cell in (row if isinstance(row, list) else [row])]
        is_text = isinstance(known[0], str)
        same = found == known if is_text else _close(found, known, size)
        if not same:
            raise SystemExit(f"{peer.name} answers request {number} of {name} with {found[:3]} …")


def _close(found: list[Any], known: list[Any], size: float) -> bool:
    return len(found) == len(known) and np.allclose(found, known, _TOLERANCE, _TOLERANCE * size)


def _post(url: str, body: bytes) -> dict[str, Any]:
    request = urllib.request.Request(url, body, {"content-type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as answer:
        found: dict[str, Any] = json.load(answer)
    return found


@dataclass(frozen=True, slots=True)
class _Ours:
    url: str
    runtime: str


@contextlib.contextmanager
def _ours(project: Path, model: Path) -> Iterator[_Ours]:
    project.mkdir()
    run("deploy", "--model", str(model), "--name", "bench", "--json", cwd=project)
    try:
        state = state_of(project, "bench")
        pin(int(str(state["pid"])), SERVER_CORE)
        launch: Any = state["launch"]
        shown = json.loads(run("status", "bench", "--json", cwd=project))["deployments"][0]
        runtime = shown["arms"][0]["runtime"]["name"]
        yield _Ours(f"http://127.0.0.1:{launch['port']}/invocations", runtime)
    finally:
        run("stop", "bench", cwd=project)


_HEAD = """\
| model | rows | ours | p99 ms | `mlflow models serve` | ours / it | MLServer | ours / it |
|---|---|---|---|---|---|---|---|"""


def _row(line: Line) -> str:
    ours, mlflow = line.rates["ours"], line.rates["mlflow models serve"]
    cells = [
        line.model, str(line.rows), f"{ours:,.0f} ({line.runtime})", f"{line.p99_ms['ours']:,.1f}",
        f"{mlflow:,.0f}", f"{ours / mlflow:.1f}",
    ]  # fmt: skip
    if line.theirs:
        rate = line.rates["MLServer"]
        cells += [f"{rate:,.0f} ({line.theirs})", f"{ours / rate:.1f}"]
    else:
        cells += ["", ""]
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    chosen_by_default = [name for name in MODELS if name != "custom pyfunc, 600 columns"]
    parser.add_argument("names", nargs="*", metavar="NAME", default=chosen_by_default)
    parser.add_argument("--mlserver", metavar="PYTHON")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=4)
    parser.add_argument("--json", type=Path, metavar="FILE")
    chosen = parser.parse_args()
    main(chosen.names, chosen.mlserver, chosen.rounds, chosen.seconds, chosen.json)
