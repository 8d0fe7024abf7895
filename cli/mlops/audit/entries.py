"""Entries of a trail, and the lines they are written as.

A line is `{"entry":{…},"hash":"…"}`, all of it canonical JSON. The hash is the SHA-256 of the bytes
of the entry as written, so checking it does not require writing equal JSON again.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from mlops.audit.canonical import canonical
from mlops.settings.actor import Actor

#: The hash before the first entry.
NONE = "0" * 64

_TEXTS = frozenset({"action", "id", "recorded", "subject", "time", "trail"})
_KEYS = _TEXTS | {"after", "before", "by", "evidence"}
_LINE = re.compile(rb'\{"entry":(\{.*\}),"hash":"([0-9a-f]{64})"\}', re.DOTALL)


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened, to be recorded once.

    Attributes:
        action: What was done, in a word: `deploy`, `promote`, `void`, ….
        subject: What it was done to, human-readable.
        time_ms: When, milliseconds since 1970 in UTC.
        by: Who did it: `user`, `host`, `job`, `key`, as far as they are known.
        id: It is written once for each id; empty for what is reported only once.
        before: What was so before, as JSON data.
        after: What is so since.
        evidence: What led to it: reason, verdict, counts.
    """

    action: str
    subject: str
    time_ms: int
    by: Mapping[str, str]
    id: str = ""
    before: Any = None
    after: Any = None
    evidence: Any = None


@dataclass(frozen=True, slots=True)
class State:
    """A state; recorded if it differs from the one last recorded.

    Attributes:
        action: What a change of it is called.
        subject: What it is about, human-readable.
        id: Whose state it is.
        value: It, as JSON data; None if there is none.
    """

    action: str
    subject: str
    id: str
    value: Any


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry of a trail.

    Attributes:
        seq: Its number, from 1.
        hash: Of its own bytes, hexadecimal.
        document: Its content, as JSON data.
    """

    seq: int
    hash: str
    document: Mapping[str, Any] = field(repr=False)

    @property
    def id(self) -> str:
        """Id of its event; empty if it has none."""
        return str(self.document["id"])

    @property
    def action(self) -> str:
        """What was done, in a word."""
        return str(self.document["action"])

    @property
    def previous(self) -> str:
        """Hash of the entry before."""
        return str(self.document["previous"])


def by_actor(actor: Actor, key: str = "") -> dict[str, str]:
    """Say who did something, in the form of `Event.by`."""
    named = {"user": actor.user, "host": actor.host, "job": actor.job, "key": key}
    return {name: value for name, value in named.items() if value}


def by_name(name: str, job: str = "") -> dict[str, str]:
    """Say who did something, from `user@host`.

    >>> by_name("ann@box")
    {'user': 'ann', 'host': 'box'}
    """
    user, _, host = name.partition("@")
    return by_actor(Actor(user, host, job))


def write_entry(event: Event, trail: str, seq: int, previous: str, now_ms: int) -> bytes:
    """Write the line of an entry, with its newline.

    Args:
        event: What it says.
        trail: Id of the trail.
        seq: Its number.
        previous: Hash of the entry before.
        now_ms: Now, milliseconds since 1970 in UTC.
    """
    document = {
        "action": event.action,
        "after": event.after,
        "before": event.before,
        "by": dict(event.by),
        "evidence": event.evidence,
        "id": event.id,
        "previous": previous,
        "recorded": iso(now_ms),
        "seq": seq,
        "subject": event.subject,
        "time": iso(event.time_ms),
        "trail": trail,
    }
    body = canonical(document).encode()
    return b'{"entry":' + body + b',"hash":"' + digest(body).encode() + b'"}\n'


def read_entry(line: bytes) -> Entry:
    """Read a line without its newline.

    Raises:
        ValueError: It is not an entry, or its hash is not that of its bytes; the text says which.
    """
    match = _LINE.fullmatch(line)
    if match is None:
        raise ValueError("it is not an entry of an audit trail")
    body, said = match[1], match[2].decode()
    if digest(body) != said:
        raise ValueError("its bytes have another hash: it was changed")
    document = orjson.loads(body)
    if type(document.get("seq")) is not int or not isinstance(document.get("previous"), str):
        raise ValueError("it has no number, or no hash of the entry before")
    by = document.get("by")
    if (
        not (document.keys() >= _KEYS and isinstance(by, dict))
        or not isinstance(document["evidence"], dict | None)
        or not all(isinstance(document[key], str) for key in _TEXTS)
        or not all(isinstance(each, str) for each in by.values())
    ):
        raise ValueError("it does not say what an entry says")
    return Entry(document["seq"], said, document)


def digest(data: bytes) -> str:
    """SHA-256 in hexadecimal."""
    return hashlib.sha256(data).hexdigest()


def digest_of(value: object) -> str:
    """SHA-256 of JSON data, whatever program wrote it."""
    return f"sha256:{digest(canonical(value).encode())}"


def iso(time_ms: int) -> str:
    """Write a time as ISO 8601 in UTC.

    >>> iso(1_500_000_000_123)
    '2017-07-14T02:40:00.123Z'
    """
    time = dt.datetime.fromtimestamp(time_ms // 1000, dt.UTC).replace(tzinfo=None)
    return f"{time.isoformat()}.{time_ms % 1000:03d}Z"
