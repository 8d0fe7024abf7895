"""Says at the very end of a run where each test failed: often only the end of a log is kept."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from typing import Any

import pytest

_LINES, _WIDTH = 12, 300


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter,
) -> Generator[None, None, None]:
    """Write the frames of each failure below what pytest writes by itself, and no captured output.

    Its summary has one line for each, which tells neither where that was nor the whole message.
    """
    yield
    failed = [each for kind in ("error", "failed") for each in terminalreporter.getreports(kind)]
    if failed:
        terminalreporter.section("where it failed")
    for report in failed:
        phase = getattr(report, "when", "") or "collect"
        terminalreporter.write_line(f"{report.nodeid} ({phase})")
        for line in _told(report.longrepr):
            terminalreporter.write_line(f"  {line[:_WIDTH]}")


def _told(failure: Any) -> Iterator[str]:
    """The frames of a failure, and of those that it came from, then what each says."""
    chain = getattr(failure, "chain", None)
    if chain is None:
        yield from str(failure).splitlines()[-_LINES:]
        return
    for traceback, _, after in chain:
        said: list[str] = []
        for entry in traceback.reprentries:
            at = getattr(entry, "reprfileloc", None)
            lines = getattr(entry, "lines", ())
            said = [line for line in lines if line.startswith("E")] or said
            theirs = "site-packages" in getattr(at, "path", "")
            if at is not None and not (theirs and entry is not traceback.reprentries[-1]):
                yield f"{at.path}:{at.lineno}: {_source(lines)}"
        yield from said[:_LINES]
        if after:
            yield str(after)


def _source(lines: Sequence[str]) -> str:
    """The line of a frame: marked in the whole function, or the first where there is no more."""
    marked = [line[1:].strip() for line in lines if line.startswith(">")]
    return " ".join(marked) or next((line.strip() for line in lines), "")
