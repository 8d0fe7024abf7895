"""The consumers of the journal, among them the sinks of the request log, and their lag."""

from __future__ import annotations

import time

from mlops.live_page.looking import Look
from mlops.live_page.templates import render

_NEWEST_ALARMS, _MOST_ALARMS = 8, 200
# Features whose names are said before the older alarms are opened.
_NAMED = 8
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
    alarms = journal.alarms()[::-1]
    older = alarms[_NEWEST_ALARMS:]
    named = [str(each.details["feature"]) for each in older if each.details.get("feature")]
    features = list(dict.fromkeys(named))
    running = [each for each in found if each.name in look.source.consumers]
    return render(
        "consumers",
        consumers=running,
        words=_WORDS,
        alarms=alarms[:_NEWEST_ALARMS],
        older=older[:_MOST_ALARMS],
        older_count=len(older),
        features=features[:_NAMED],
        more_features=len(features) > _NAMED,
        size=journal.size_bytes(),
        lost=journal.losses(),
    )
