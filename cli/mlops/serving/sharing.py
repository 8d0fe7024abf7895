"""What the workers of a deployment share."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from mlops.serving.access.buckets import Places
from mlops.spec.server import Launch


@dataclass(frozen=True, slots=True)
class Shared:
    """What all workers of a deployment have in common.

    Attributes:
        launch: How to start them.
        sockets: On which they listen, one for each.
        pools: Of the libraries that were imported, see `workers.preload`.
        places: Where the requests of each key are counted.
        key: Of the request ids. A worker that is started again must not read another one.
    """

    launch: Launch
    sockets: Sequence[socket.socket]
    pools: Any
    places: Places
    key: bytes = field(repr=False)
