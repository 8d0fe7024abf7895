"""The consumers of the journal, among them the sinks of the request log, and their lag."""

from __future__ import annotations

import time

from mlops.live_page.looking import Look
from mlops.live_page.templates import render

#: What the built-in consumers do, in words.
_WORDS = {
    "drift": "compares requests with the training data",
    "outliers": "flags rows unlike those of the training",
    "quality": "compares answers with the truth",
    "policy": "learns the shares of the arms",
    "ramp": "moves the traffic of a canary",
    "alerts": "sends alarms to the webhook",
    "journal-size": "keeps the journal below its limit",
}


def consumers(look: Look) -> str:
    """Write the part."""
    journal = look.journal
    found = journal.progress(time.time_ns() // 1_000_000)
    running = [each for each in found if each.name in look.desk.consumers]
    return render(
        "consumers",
        consumers=running,
        words=_WORDS,
        alarms=journal.alarms()[:-9:-1],
        size=journal.size_bytes(),
        lost=journal.losses(),
    )
