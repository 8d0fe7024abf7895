"""The sockets that processes of a server have in common."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

import pytest

from mlops.serving.sockets import bind, unix_socket


@pytest.mark.parametrize("count", [1, 2])
def test_a_connection_that_another_process_took_is_not_waited_for(count: int) -> None:
    with contextlib.ExitStack() as stack:
        for each in bind("127.0.0.1", 0, count):
            stack.enter_context(each)
            assert not os.get_blocking(each.fileno())
            # A copy that would wait, had all others wait too: they share one state.
            stack.enter_context(each.dup())
            assert not os.get_blocking(each.fileno())


def test_nor_on_the_socket_of_the_owner(tmp_path: Path) -> None:
    with unix_socket(tmp_path / "socket") as control, control.dup():
        assert not os.get_blocking(control.fileno())
