"""Heads of trails in MLflow: tags with the number and hash of a trail's last entry.

The deployment has one tag for each trail and project, which is updated by every command; each
revision keeps the one of the command that recorded it.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Sequence

from mlops.audit.entries import Entry
from mlops.audit.trail import Known
from mlops.audit.verifying import Head
from mlops.registry.ledger import Ledger

_LOG = logging.getLogger(__name__)
_PREFIX = "mlops.audit."


def read_heads(ledger: Ledger) -> list[Head]:
    """Return all heads of trails of a deployment in MLflow."""
    found = []
    for number, key, value in ledger.tags(_PREFIX):
        where = f"revision {number} in MLflow" if number else "MLflow"
        try:
            told = json.loads(value)
            head = Head(
                str(told["trail"]), str(told["place"]), int(told["seq"]), str(told["hash"]), where
            )
        except (ValueError, KeyError, TypeError):
            # A tag that was overwritten holds nothing to compare.
            _LOG.warning("the tag `%s` of %s is damaged", key, where)
            continue
        found.append(head)
    return found


def anchor(ledger: Ledger, known: Known, new: Sequence[Entry]) -> None:
    """Tag the end of a trail, unless it contradicts the tag that MLflow has.

    A tag that shows that entries are missing must not be replaced by one that hides it.
    """
    if not known.seq or not ledger.numbers():
        return
    key = _PREFIX + hashlib.sha256(f"{known.trail}{ledger.place}".encode()).hexdigest()[:16]
    heads = [h for h in read_heads(ledger) if (h.trail, h.place) == (known.trail, ledger.place)]
    lost = [h for h in heads if h.seq > known.seq or known.hashes[h.seq - 1] != h.hash]
    if lost:
        _LOG.warning(
            "the audit trail does not match what %s knows of it; run `mlops audit verify`",
            lost[0].where,
        )
        return
    if all(h.seq < known.seq for h in heads):
        ledger.tag(key, _value(ledger, known, known.seq))
    for entry in new:
        kind, _, rest = entry.id.partition("/")
        number, _, state = rest.partition("/")
        if (kind, state) == ("revision", "live"):
            ledger.tag(key, _value(ledger, known, entry.seq), int(number))


def _value(ledger: Ledger, known: Known, seq: int) -> str:
    told = {
        "trail": known.trail,
        "place": ledger.place,
        "seq": seq,
        "hash": known.hashes[seq - 1],
    }
    return json.dumps(told)
