"""A TCP proxy on loopback that delays, cuts, corrupts, or swallows what goes through it."""

from __future__ import annotations

import contextlib
import random
import socket
import threading
import time
from collections.abc import Iterator
from typing import Literal

Mode = Literal["fine", "refuse", "hang", "slow", "cut", "corrupt"]
_BLOCK = 1 << 16


class FaultyProxy:
    """Passes bytes on to a server, and harms them as `mode` says at the moment.

    Attributes:
        port: Where it listens.
        mode: `fine`; `refuse`: connections end at once; `hang`: nothing is passed on; `slow`: every
            block waits `delay_s`; `cut`: answers end after some bytes; `corrupt`: answers have
            bytes flipped.
        delay_s: For `slow`.
    """

    def __init__(self, to_port: int, chance: random.Random) -> None:
        self.mode: Mode = "fine"
        self.delay_s = 1.0
        self._to = to_port
        self._chance = chance
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._closed = False
        self._open: set[socket.socket] = set()
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        """End it, with all connections."""
        self._closed = True
        self.drop()
        self._listener.close()

    def drop(self) -> None:
        """End the connections that are open; clients keep some to use them again."""
        for each in list(self._open):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    def _accept(self) -> None:
        while not self._closed:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with contextlib.suppress(OSError), client:
            if self.mode == "refuse":
                return
            with socket.create_connection(("127.0.0.1", self._to), timeout=10) as server:
                server.settimeout(None)
                self._open |= {client, server}
                there = threading.Thread(
                    target=self._pass, args=(client, server, False), daemon=True
                )
                there.start()
                self._pass(server, client, True)
                there.join()
        self._open -= {client}

    def _pass(self, source: socket.socket, target: socket.socket, answers: bool) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(_BLOCK):
                while self.mode == "hang" and not self._closed:
                    time.sleep(0.05)
                if self.mode == "slow":
                    time.sleep(self.delay_s)
                if answers and self.mode == "cut":
                    target.sendall(data[: self._chance.randrange(len(data))])
                    break
                if answers and self.mode == "corrupt":
                    harmed = bytearray(data)
                    for _ in range(1 + len(harmed) // 50):
                        harmed[self._chance.randrange(len(harmed))] ^= 1 << self._chance.randrange(
                            8
                        )
                    data = bytes(harmed)
                target.sendall(data)
        for each in (source, target):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)


@contextlib.contextmanager
def faulty(to_port: int, chance: random.Random) -> Iterator[FaultyProxy]:
    """Run a proxy before a server until the block ends."""
    proxy = FaultyProxy(to_port, chance)
    try:
        yield proxy
    finally:
        proxy.close()
