"""The request id: a decision in short, readable with the deployment's key.

An outcome may arrive weeks after its prediction, when the decision's row was shed under load or
lost in a crash. The id therefore carries what credit needs, and a keyed tag that tells an id of
this deployment from a forged or foreign one:

    version 1 | time 6 | nonce 12 | revision 3 | arm 2 | propensity 4 | tag 8     36 bytes

written as 48 characters of URL-safe base64 (RFC 4648, section 5). Numbers are big-endian. The
tag is BLAKE2b (RFC 7693) in keyed mode over the 28 bytes before it. A propensity p in [0, 1] is
stored as round(p * (2**32 - 1)), at least 1; 0 marks a request whose arm was forced, which no
statistic may use. The nonce alone identifies the decision: a retry with the same idempotency key
has the same nonce, whenever it comes.
"""

from __future__ import annotations

import functools
import hashlib
import hmac
import os
import re
import time
from base64 import urlsafe_b64decode
from binascii import b2a_base64
from dataclasses import dataclass

from mlops.errors import InvalidInputError

#: Characters in a request id.
LENGTH = 48
#: Bytes in a nonce.
NONCE_BYTES = 12
#: Bytes in a key.
KEY_BYTES = 32

_VERSION = 1
_BODY_BYTES = 28
_TAG_BYTES = 8
_CERTAIN = 2**32 - 1
_SAME_MOMENT_S = 10
_URL_SAFE = bytes.maketrans(b"+/", b"-_")
_FORM = re.compile(rf"[A-Za-z0-9_-]{{{LENGTH}}}")


def fingerprint(key: bytes) -> str:
    """Return what tells one key from another, and nothing about it: a keyed hash of no message.

    >>> fingerprint(bytes(32)) == fingerprint(bytes(31) + b"1")
    False
    """
    return hmac.new(key, b"mlops request ids", hashlib.sha256).hexdigest()[:32]


class ForgedRequestIdError(InvalidInputError):
    """The id was not minted with this deployment's key."""


@dataclass(frozen=True, slots=True)
class RequestId:
    """The content of a request id.

    Attributes:
        nonce: The decision's identity, 12 bytes.
        time_ms: When the arm was drawn, milliseconds since 1970 in UTC.
        revision: Revision that answered, from 1.
        arm: Position of the arm in that revision, from 0.
        propensity: Probability in [0, 1] with which that arm was drawn; 0 if it was forced.
    """

    nonce: bytes
    time_ms: int
    revision: int
    arm: int
    propensity: float

    @property
    def forced(self) -> bool:
        """Whether a tester chose the arm."""
        return self.propensity == 0


def mint(
    key: bytes, *, nonce: bytes, time_ms: int, revision: int, arm: int, propensity: float
) -> str:
    """Write a request id; the arguments are the attributes of `RequestId`."""
    # One integer per group of fields is twice as fast as struct with its odd field widths.
    drawn = _drawn(revision, arm, propensity)
    body = (_VERSION << 48 | time_ms).to_bytes(7, "big") + nonce + drawn
    return b2a_base64(body + _tag(key, body), newline=False).translate(_URL_SAFE).decode("ascii")


@functools.lru_cache(maxsize=256)
def _drawn(revision: int, arm: int, propensity: float) -> bytes:
    share = round(propensity * _CERTAIN) or (propensity > 0)
    return (revision << 48 | arm << 32 | share).to_bytes(9, "big")


def read(key: bytes, text: str) -> RequestId:
    """Read a request id.

    Raises:
        ForgedRequestIdError: It is not one of this deployment: wrong form, or a wrong tag.

    >>> rid = mint(b"k" * 32, nonce=b"n" * 12, time_ms=5, revision=3, arm=1, propensity=0.5)
    >>> (len(rid), read(b"k" * 32, rid).revision)
    (48, 3)
    """
    # The decoder would also accept other characters for some of the alphabet.
    raw = urlsafe_b64decode(text) if _FORM.fullmatch(text) else b""
    body, tag = raw[:_BODY_BYTES], raw[_BODY_BYTES:]
    ours = bool(raw) and body[0] == _VERSION
    if not ours or not hmac.compare_digest(_tag(key, body), tag):
        raise ForgedRequestIdError(
            f"`{text[:64]}` is not a request id of this deployment.",
            hint="Send the `X-Mlops-Request-Id` that came with the prediction.",
        )
    fields = int.from_bytes(body[19:], "big")
    return RequestId(
        nonce=body[7:19],
        time_ms=int.from_bytes(body[1:7], "big"),
        revision=fields >> 48,
        arm=fields >> 32 & 0xFFFF,
        propensity=(fields & _CERTAIN) / _CERTAIN,
    )


def fresh_nonce() -> bytes:
    """Return the nonce of a request that is not a retry: 4 bytes of time, 8 random ones.

    The journal's index of nonces is then written at its end. Where they come in no order, each
    batch touches all of a large index, and a decision takes three times as long to store.
    """
    seconds = int(time.time()) & 0xFFFFFFFF
    try:
        chance = _chances.pop()
    except IndexError:
        chance = _ask_for_chances()
    return seconds.to_bytes(4, "big") + chance


# Random bytes that no nonce has used. Asking the system for each costs a call and, as Python lets
# other threads run in the meantime, often two changes of threads.
_chances: list[bytes] = []
_AT_ONCE = 256
# A copy of this process must not continue with the same.
os.register_at_fork(after_in_child=_chances.clear)


def _ask_for_chances() -> bytes:
    size = NONCE_BYTES - 4
    several = os.urandom(size * _AT_ONCE)
    one, *others = (several[at : at + size] for at in range(0, len(several), size))
    _chances.extend(others)
    return one


def has_fresh_nonce(rid: RequestId) -> bool:
    """Whether a request had no idempotency key, going by the time in its nonce.

    One of 200 million nonces of such keys has the right time by chance.
    """
    seconds = int.from_bytes(rid.nonce[:4], "big")
    return abs(seconds - (rid.time_ms // 1000 & 0xFFFFFFFF)) <= _SAME_MOMENT_S


def nonce_of(key: bytes, idempotency_key: str) -> bytes:
    """Return the nonce of every request that carries this idempotency key."""
    return hashlib.blake2b(
        idempotency_key.encode(), key=key, digest_size=NONCE_BYTES, person=b"idempotency"
    ).digest()


def _tag(key: bytes, body: bytes) -> bytes:
    return hashlib.blake2b(body, key=key, digest_size=_TAG_BYTES).digest()
