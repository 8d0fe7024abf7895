"""The request id: what goes in comes out, and nothing else is let in."""

from __future__ import annotations

import os
import string
from base64 import urlsafe_b64decode, urlsafe_b64encode
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mlops.spec.request_id import (
    LENGTH,
    NONCE_BYTES,
    ForgedRequestIdError,
    RequestId,
    fresh_nonce,
    mint,
    nonce_of,
    read,
)

KEY = bytes(range(32))
_ALPHABET = string.ascii_letters + string.digits + "-_"

ids = st.builds(
    RequestId,
    nonce=st.binary(min_size=NONCE_BYTES, max_size=NONCE_BYTES),
    time_ms=st.integers(0, 2**48 - 1),
    revision=st.integers(1, 2**24 - 1),
    arm=st.integers(0, 2**16 - 1),
    propensity=st.floats(0, 1),
)


def write(rid: RequestId, key: bytes = KEY) -> str:
    return mint(
        key,
        nonce=rid.nonce,
        time_ms=rid.time_ms,
        revision=rid.revision,
        arm=rid.arm,
        propensity=rid.propensity,
    )


@given(ids)
def test_what_goes_in_comes_out(rid: RequestId) -> None:
    text = write(rid)
    assert len(text) == LENGTH
    assert set(text) <= set(_ALPHABET)
    found = read(KEY, text)
    assert (found.nonce, found.time_ms) == (rid.nonce, rid.time_ms)
    assert (found.revision, found.arm) == (rid.revision, rid.arm)


@given(ids)
@example(RequestId(b"n" * 12, 0, 1, 0, 1e-12))
def test_a_propensity_keeps_nine_digits(rid: RequestId) -> None:
    found = read(KEY, write(rid))
    assert found.propensity == pytest.approx(rid.propensity, abs=2**-32 + 1e-15)
    # However small, it was not forced: 0 says that and nothing else does.
    assert found.forced is (rid.propensity == 0)


@pytest.mark.parametrize("propensity", [0.0, 0.25, 0.5, 1.0])
def test_common_propensities(propensity: float) -> None:
    text = write(RequestId(b"n" * 12, 5, 3, 1, propensity))
    assert read(KEY, text).propensity == pytest.approx(propensity, abs=1e-9)
    assert propensity not in (0.0, 1.0) or read(KEY, text).propensity == propensity


@given(ids, st.integers(0, 36 * 8 - 1))
def test_no_bit_may_change(rid: RequestId, bit: int) -> None:
    raw = bytearray(urlsafe_b64decode(write(rid)))
    raw[bit // 8] ^= 1 << bit % 8
    with pytest.raises(ForgedRequestIdError):
        read(KEY, urlsafe_b64encode(raw).decode())


@given(ids, st.integers(0, LENGTH - 1), st.characters())
def test_no_character_may_change(rid: RequestId, position: int, character: str) -> None:
    text = write(rid)
    changed = text[:position] + character + text[position + 1 :]
    if changed == text:
        return
    with pytest.raises(ForgedRequestIdError):
        read(KEY, changed)


def test_an_id_is_written_in_one_way() -> None:
    """Else one outcome could be sent under two names."""
    texts = (write(RequestId(bytes([n]) * 12, n, 1, 0, 0.5)) for n in range(256))
    text = next(text for text in texts if "-" in text and "_" in text)
    for other in (text.replace("-", "+"), text.replace("_", "/"), text + "=", f" {text}"):
        with pytest.raises(ForgedRequestIdError):
            read(KEY, other)


@given(ids, st.integers(0, LENGTH - 1))
def test_a_part_is_not_enough(rid: RequestId, length: int) -> None:
    text = write(rid)
    for part in (text[:length], text[LENGTH - length :], text + text[:length]):
        if part == text:
            continue
        with pytest.raises(ForgedRequestIdError):
            read(KEY, part)


@given(ids, st.binary(min_size=32, max_size=32).filter(lambda key: key != KEY))
def test_an_id_of_another_deployment_is_foreign(rid: RequestId, key: bytes) -> None:
    with pytest.raises(ForgedRequestIdError) as caught:
        read(KEY, write(rid, key))
    assert caught.value.hint


@given(st.text(max_size=100) | st.text(_ALPHABET, min_size=LENGTH, max_size=LENGTH))
def test_any_other_text_is_refused(text: str) -> None:
    with pytest.raises(ForgedRequestIdError):
        read(KEY, text)


@given(st.text(), st.text())
def test_a_key_of_a_retry_gives_its_nonce(one: str, other: str) -> None:
    assert len(nonce_of(KEY, one)) == NONCE_BYTES
    assert (nonce_of(KEY, one) == nonce_of(KEY, other)) is (one == other)
    assert nonce_of(KEY, one) != nonce_of(b"x" * 32, one)


def test_no_two_nonces_are_the_same_in_threads_or_copies_of_a_process() -> None:
    found = [fresh_nonce() for _ in range(10)]
    with ThreadPoolExecutor(4) as pool:
        for several in pool.map(lambda _: [fresh_nonce() for _ in range(3_000)], range(4)):
            found += several
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        os.write(writing, b"".join(fresh_nonce() for _ in range(300)))
        os._exit(0)
    os.waitpid(child, 0)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        copied = pipe.read()
    found += [copied[at : at + NONCE_BYTES] for at in range(0, len(copied), NONCE_BYTES)]
    found += [fresh_nonce() for _ in range(300)]
    assert len(found) == len(set(found)) == 12_610
    assert {len(nonce) for nonce in found} == {NONCE_BYTES}
