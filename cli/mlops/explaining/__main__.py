"""`python -P -m mlops.explaining`: explain rows that come as JSON lines, one answer for each.

The first line says which models: `deployment`, `journal_url` and `arms`, each with `name`, `path`
and `python`. Each other line has `rows`, a list of objects, and may have `served`, the arm by whose
classes all are explained, and `output`, the one to explain of several values; or it is
`{"importance": true}`, which asks how important the features of the newest requests are. Models are
loaded when the first line comes.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mlops.errors import InvalidInputError, MlopsError
from mlops.explaining import (
    Explainable,
    Rows,
    explain_all,
    importance,
    newest_requests,
    too_few,
)
from mlops.journal.null import open_journal
from mlops.journal.url import journal_url

_NICENESS = 10
_OOM_SCORE = "1000"
_LOG = logging.getLogger(__name__)
_NO_REQUESTS = "There are no requests yet that shares could count from."
_NO_FEATURES = (
    "None of the newest requests has all features of the model in the journal, which shares could "
    "count from: `[journal] features`, `drop` and `hash` say which are kept. "
    "`mlops explain --data FILE --background FILE` takes other rows."
)


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
    sys.path.append(str(Path.cwd()))
    asked = json.loads(sys.stdin.readline())
    models: dict[str, Explainable] = {}
    for line in sys.stdin:
        out.write(json.dumps(answered(asked, models, json.loads(line))) + "\n")
        out.flush()
    return 0


def answered(
    asked: Mapping[str, Any],
    models: dict[str, Explainable],
    question: Mapping[str, Any],
) -> dict[str, Any]:
    """Return `explanations`, for each row that of each arm by name; or why there are none.

    That goes to callers that may see all arms. They are told what is wrong with their rows,
    `refused`; of what is wrong here, `failed`, the log has the locations and causes.

    Args:
        asked: The first line.
        models: By arm; loaded where it is empty.
        question: Any other line.
    """
    rows = question.get("rows")
    try:
        if not models:
            models |= {
                arm["name"]: Explainable.load(Path(arm["path"]), arm["python"])
                for arm in asked["arms"]
            }
    except Exception as error:  # noqa: BLE001 - whatever the code of a model raises
        return _failed("The models cannot be loaded to be explained.", error)
    names = next(iter(models.values())).signature.names
    if not names and rows:
        names = tuple(rows[0])
    try:
        journal = open_journal(journal_url(asked["journal_url"], asked["deployment"]))
        try:
            background = newest_requests(journal, names)
            is_new = not journal.end().decisions
        finally:
            journal.close()
    except Exception as error:  # noqa: BLE001 - of any journal and archive
        return _failed("The newest requests, which shares count from, cannot be read.", error)
    if not background:
        return {"refused": _NO_REQUESTS if is_new else _NO_FEATURES}
    try:
        if rows is None:
            of = [importance(name, model, background) for name, model in models.items()]
            return {"importance": [each.document() for each in of]}
        return {"explanations": _explained(models, names, question, background)}
    except InvalidInputError as error:
        return {"refused": f"{error.message} {error.hint or ''}".strip()}
    except Exception as error:  # noqa: BLE001 - of a model; the next rows may be explained
        return _failed("The models cannot be explained.", error)


def _failed(text: str, error: Exception) -> dict[str, Any]:
    if isinstance(error, MlopsError):
        _LOG.warning("explain: %s %s %s", text, error.message, error.hint or "")
    else:
        _LOG.warning("explain: %s", text, exc_info=error)
    return {"failed": f"{text} The server's log says why."}


def _explained(
    models: Mapping[str, Explainable], names: tuple[str, ...], question: Mapping[str, Any],
    background: Rows,
) -> list[dict[str, Any]]:  # fmt: skip
    rows, arms = question["rows"], list(models)
    n_background = len(next(iter(background.values())))
    served = arms.index(question["served"]) if question.get("served") in models else 0
    cells: Rows = {name: [row.get(name) for row in rows] for name in names}
    found: list[dict[str, Any]] = [{} for _ in rows]
    output = question.get("output", "")
    every = explain_all(list(models.values()), cells, background, served, output=output)
    for name, said in zip(arms, every, strict=True):
        classes = said.single_classes
        for at, row in enumerate(found):
            errors = None if said.errors is None else said.errors[at].tolist()
            row[name] = {
                "method": said.method,
                "output": said.output_of(at),
                "class": None if classes is None else classes[at],
                "base": float(said.base[at]),
                "prediction": float(said.outputs[at]),
                "shares": dict(zip(said.names, said.shares[at].tolist(), strict=True)),
                "errors": errors and dict(zip(said.names, errors, strict=True)),
                "note": too_few(n_background, [said.method]) or None,
            }
    return found


if __name__ == "__main__":
    sys.exit(main())
