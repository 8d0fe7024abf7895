"""What does one call of a model cost, by pyfunc and by the runtime that `auto` chooses?

    python benchmarks/runtimes.py [NAME …] [--patient]

Prints processor time of `prepare` and `infer` together, per call with 1 and with 100 rows as a
client sends them, and the proof. Medians of batches; processor time of all threads, since other
programs on the machine cannot change it much. `--patient` lets conversions take minutes, for a
machine that is busy.
"""

from __future__ import annotations

import argparse
import logging
import os
import statistics
import tempfile
import time
import warnings
from pathlib import Path

# As in the server: one thread for a small model.
os.environ.setdefault("OMP_NUM_THREADS", "1")

from common import machine
from example_models import MODELS, save

from mlops.protocols.base import Payload, Records
from mlops.runtimes import choosing, onnx_conversion
from mlops.runtimes.base import LoadedModel, Runtime
from mlops.runtimes.load import load_model

_SECONDS = 0.5


def _call_us(runtime: Runtime, payload: Payload) -> float:
    """Return processor time per call in microseconds, the median of batches."""

    def batch(n: int) -> float:
        started = time.process_time_ns()
        for _ in range(n):
            runtime.infer(runtime.prepare(payload, {}))
        return (time.process_time_ns() - started) / 1000 / n

    n = max(1, int(5_000 / max(batch(2), 0.1)))
    until = time.monotonic() + _SECONDS
    times = [batch(n)]
    while time.monotonic() < until or len(times) < 5:
        times.append(batch(n))
    return statistics.median(times)


def _proof(loaded: LoadedModel) -> str:
    if loaded.proof is None:
        return ""
    return f"{loaded.proof.rows} rows, {loaded.proof.largest_difference:.1g}"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("names", nargs="*", default=[*MODELS])
    parser.add_argument("--patient", action="store_true")
    arguments = parser.parse_args()
    if arguments.patient:
        onnx_conversion._TIMEOUT_S = choosing._OPEN_S = choosing._PROOF_S = 600.0
    logging.disable(logging.WARNING)
    warnings.simplefilter("ignore")
    print(machine())
    print("| model | runtime | pyfunc, 1 row | 1 row | pyfunc, 100 rows | 100 rows | proof |")
    print("|---|---|---|---|---|---|---|")
    for name in arguments.names:
        made = MODELS[name]()
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "model"
            save(made, path)
            loaded, plain = load_model(path), load_model(path, "pyfunc")
        records = made[1].head(100).to_dict("records")
        records *= 100 // len(records)
        cells = []
        for payload in (Records(records[:1]), Records(records)):
            for model in (plain.model, loaded.model):
                assert isinstance(model, Runtime)
                cells.append(f"{_call_us(model, payload):,.1f}")
        print("|", " | ".join([name, loaded.path_taken, *cells, _proof(loaded)]), "|", flush=True)


if __name__ == "__main__":
    main()
