"""`python -P -m mlops.explaining`: explain rows that come as JSON lines, one answer for each.

The first line says which models: `deployment`, `journal_url` and `arms`, each with `name`, `path`
and `python`. Each other line is a list of objects. Models are loaded when the first rows come.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
from pathlib import Path
from typing import Any

from mlops.errors import InvalidInputError, MlopsError
from mlops.explaining import Explainable, Rows, explain, newest_requests
from mlops.journal.null import open_journal
from mlops.journal.url import journal_url

_NICENESS = 10
_OOM_SCORE = "1000"


def main() -> int:
    """Answer until the input ends; return the exit code."""
    with contextlib.suppress(OSError):
        # The first that the kernel ends when memory is short.
        Path("/proc/self/oom_score_adj").write_text(_OOM_SCORE)
        os.nice(_NICENESS)
    # Whatever a library prints must not get between the lines.
    out = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    # As in the server: for the code of models that is in the project.
    sys.path.append(os.getcwd())  # noqa: PTH109 - sys.path holds text
    asked = json.loads(sys.stdin.readline())
    models: dict[str, Explainable] = {}
    for line in sys.stdin:
        try:
            if not models:
                models = {
                    arm["name"]: Explainable.load(Path(arm["path"]), arm["python"])
                    for arm in asked["arms"]
                }
            answer: dict[str, Any] = {"explanations": _explained(asked, models, json.loads(line))}
        except MlopsError as error:
            answer = {"error": error.message, "hint": error.hint}
        except Exception as error:  # noqa: BLE001 - of a model; the next rows may be explained
            answer = {"error": f"The models cannot be explained: {error!r}"}
        out.write(json.dumps(answer) + "\n")
        out.flush()
    return 0


def _explained(
    asked: dict[str, Any], models: dict[str, Explainable], rows: list[dict[str, Any]]
) -> list[dict[str, Any]]:
    """Return for each row the explanation of each arm, by name."""
    names = next(iter(models.values())).signature.names or tuple(rows[0])
    cells: Rows = {name: [row.get(name) for row in rows] for name in names}
    journal = open_journal(journal_url(asked["journal_url"], asked["deployment"]))
    try:
        background = newest_requests(journal, names)
    finally:
        journal.close()
    if not background:
        raise InvalidInputError(
            "There are no requests yet that shares could count from.",
            hint="`mlops explain --data FILE --background FILE`",
        )
    found: list[dict[str, Any]] = [{} for _ in rows]
    for name, model in models.items():
        said = explain(model, cells, background)
        for at, row in enumerate(found):
            errors = None if said.errors is None else said.errors[at].tolist()
            row[name] = {
                "method": said.method,
                "output": said.output,
                "base": float(said.base[at]),
                "prediction": float(said.outputs[at]),
                "shares": dict(zip(said.names, said.shares[at].tolist(), strict=True)),
                "errors": errors and dict(zip(said.names, errors, strict=True)),
            }
    return found


if __name__ == "__main__":
    sys.exit(main())
