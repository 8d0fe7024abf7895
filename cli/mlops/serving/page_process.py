"""A page about a large journal, written apart from the server.

    python -P -m mlops.serving.page_process

Reading millions of outcomes takes gigabytes. In a process of its own they are given back at once,
and where there is too little memory it is this process that the kernel ends, not the server.

It reads one JSON line, what to write, and writes one, the page or why there is none. In between it
may ask for predictions of rows, `{"ask": EXPERIMENT, "rows": [...]}`, and reads the answer.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO, Any

from mlops.errors import PUBLIC, MlopsError, RemoteError, kind_of
from mlops.journal.base import Journal
from mlops.serving.report import PAGES, Ask

# From this many outcomes on a page is written apart; below it takes less than 200 MB.
_FEW_OUTCOMES = 200_000
_NICENESS = 10
_WHERE = ("page", "deployment", "journal_url")
# The first that the kernel ends when memory is short: Linux, Documentation/filesystems/proc.rst.
_OOM_SCORE = "1000"


class PageApart:
    """A `Page` that is written here while the journal is small, and else in a process of its own.

    Args:
        name: A name of `PAGES`.
        deployment: Name of the deployment.
        journal_url: Where its journal is, or where to find out.
        few: Outcomes up to which it is written here.
        importance: Gives what the report says of how important each feature is to each arm.
    """

    def __init__(
        self,
        name: str,
        deployment: str,
        journal_url: str,
        *,
        few: int = _FEW_OUTCOMES,
        importance: Callable[[], dict[str, Any]] | None = None,
    ) -> None:
        self._asked = {"page": name, "deployment": deployment, "journal_url": journal_url}
        self._few = few
        self._importance = importance

    def __call__(
        self, journal: Journal, *, alpha: float, baseline: str, live: bool, ask: Ask | None
    ) -> str:
        """See `Page`.

        Raises:
            RemoteError: The process was ended.
        """
        more = {} if self._importance is None else self._importance()
        if journal.totals().get("outcomes", 0) <= self._few:
            write: Callable[..., str] = PAGES.load(self._asked["page"])
            return write(journal, alpha=alpha, baseline=baseline, live=live, ask=ask, **more)
        asked = {**self._asked, "alpha": alpha, "baseline": baseline, "live": live, **more}
        with subprocess.Popen(
            [sys.executable, "-P", "-m", "mlops.serving.page_process"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        ) as child:
            assert child.stdin is not None
            assert child.stdout is not None
            _say(child.stdin, asked)
            for line in child.stdout:
                said = json.loads(line)
                if "page" in said:
                    page: str = said["page"]
                    return page
                if "error" in said:
                    raise _error_of(said["error"])
                _say(child.stdin, _answer(ask, said))
        raise RemoteError(
            "The report of this many outcomes could not be written beside the server.",
            hint="Run `mlops report` on a machine with more memory.",
            reason=PUBLIC,
        )


def _answer(ask: Ask | None, said: dict[str, Any]) -> dict[str, Any]:
    try:
        return {"arms": ask(said["ask"], said["rows"]) if ask else []}
    except MlopsError as error:
        return {"error": _as_json(error)}


def main() -> int:
    """Write what standard input asks for to standard output; return the exit code."""
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text(_OOM_SCORE)
        os.nice(_NICENESS)
    # Output of a library must not get between the lines.
    out = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    asked = json.loads(sys.stdin.readline())
    try:
        _say(out, {"page": _write(asked, out)})
    except MlopsError as error:
        _say(out, {"error": _as_json(error)})
    return 0


def _write(asked: dict[str, Any], out: IO[str]) -> str:
    from mlops.journal.null import open_journal
    from mlops.journal.url import journal_url

    def ask(experiment: str, rows: Sequence[Any]) -> Sequence[Sequence[Any]]:
        _say(out, {"ask": experiment, "rows": list(rows)})
        answer = json.loads(sys.stdin.readline())
        if "error" in answer:
            raise _error_of(answer["error"])
        arms: list[list[Any]] = answer["arms"]
        return arms

    journal = open_journal(journal_url(asked["journal_url"], asked["deployment"]))
    write: Callable[..., str] = PAGES.load(asked["page"])
    terms = {key: value for key, value in asked.items() if key not in _WHERE}
    return write(journal, ask=ask, **terms)


def _say(to: IO[str], document: dict[str, Any]) -> None:
    to.write(json.dumps(document) + "\n")
    to.flush()


def _as_json(error: MlopsError) -> dict[str, Any]:
    return {"code": error.code, "message": error.message, "hint": error.hint}


def _error_of(document: dict[str, Any]) -> MlopsError:
    return kind_of(code=document["code"])(document["message"], hint=document["hint"])


if __name__ == "__main__":
    sys.exit(main())
