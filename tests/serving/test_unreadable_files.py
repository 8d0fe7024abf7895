"""Keys and certificates whose file could not be opened once: they are read as soon as it can."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import resource
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from mlops.serving.access import Gate, watch
from mlops.serving.access.buckets import shared_places
from mlops.serving.access.keyring import Keyring
from mlops.serving.tls import ServerTls
from mlops.spec.access import Key, Tls, new_key, write_keys
from tests.serving.certificates import Authority
from tests.waiting import until


@contextlib.contextmanager
def _no_more_files() -> Iterator[None]:
    """Let this process open none: each attempt fails with EMFILE."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def _put(path: Path, *keys: Key) -> None:
    draft = path.with_suffix(".draft")
    draft.write_text(write_keys(keys))
    draft.replace(path)


@contextlib.asynccontextmanager
async def _followed(gate: Gate) -> AsyncIterator[None]:
    following = asyncio.create_task(watch.follow(gate, []))
    try:
        yield
    finally:
        following.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await following


def test_a_key_that_is_revoked_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(watch, "EVERY_S", 0.01)
    path = tmp_path / "wine.keys"
    key, secret = new_key("shop", ["predict"])
    _put(path, key)
    ring = Keyring(str(path), shared_places())

    async def look() -> None:
        async with _followed(Gate(keyring=ring)):
            _put(path, replace(key, revoked_ms=1))
            with _no_more_files():
                await until(lambda: bool(ring.warnings))
                # Longer than several looks, of which the log has one line.
                await asyncio.sleep(0.1)
            await until(lambda: ring.of_key(secret.encode()) is None)

    asyncio.run(look())
    assert ring.warnings == []
    faults = [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert len(faults) == 1
    assert "Too many open files" in faults[0].getMessage()


def test_the_first_keys_are_read_at_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What changed between the first reading and the first look, and could not be read then."""
    monkeypatch.setattr(watch, "EVERY_S", 0.01)
    path = tmp_path / "wine.keys"
    key, secret = new_key("shop", ["predict"])
    ring = Keyring(str(path), shared_places())

    async def look() -> None:
        _put(path, key)
        async with contextlib.AsyncExitStack() as stack:
            with _no_more_files():
                await stack.enter_async_context(_followed(Gate(keyring=ring)))
                await until(lambda: bool(ring.warnings))
            await until(lambda: ring.of_key(secret.encode()) is not None)

    asyncio.run(look())


def test_a_damaged_file_of_the_first_keys(tmp_path: Path) -> None:
    path = tmp_path / "wine.keys"
    ring = Keyring(str(path), shared_places())
    path.write_text("{")
    assert not ring.reload()
    assert "no key is needed until it is mended" in ring.warnings[0]
    assert "stay valid" not in ring.warnings[0]
    # What is wrong with it is in it: reading it again would not help.
    assert ring.is_read
    path.unlink()
    assert not ring.reload()
    assert (ring.warnings, ring.exists) == ([], False)


def test_a_certificate_that_is_revoked_meanwhile(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    authority = Authority(tmp_path)
    cert = authority.issue("server")
    lists = authority.revoke()
    tls = ServerTls(Tls(str(cert), str(cert.with_suffix(".key")), str(authority.file), str(lists)))
    before = tls._current
    authority.revoke(authority.issue("shop"))
    with _no_more_files():
        for _ in range(3):
            tls.watch.look()
    assert tls._current is before
    assert "Too many open files" in tls.warnings[0]
    assert len([each for each in caplog.records if each.levelno >= logging.ERROR]) == 1
    tls.watch.look()
    assert tls._current is not before
    assert tls.warnings == []
    # One that holds no list is read once.
    lists.write_bytes(cert.read_bytes())
    assert tls.reload()
    assert tls.warnings
