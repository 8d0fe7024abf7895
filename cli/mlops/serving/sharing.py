"""What the workers of a deployment share."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from mlops.serving.access.keyring import Keyring
from mlops.serving.secret_files import Secrets
from mlops.spec.server import Launch


@dataclass(frozen=True, slots=True)
class Shared:
    """What all workers of a deployment have in common.

    Attributes:
        launch: How to start them.
        sockets: On which they listen, one for each.
        pools: Of the libraries that were imported, see `workers.preload`.
        keyring: The API keys that count. A worker that is started again begins with those of the
            others: where their file is gone or damaged, that says nothing of them.
        secrets: The key of request ids and the token. A worker that is started again must not read
            others.
    """

    launch: Launch
    sockets: Sequence[socket.socket]
    pools: Any
    keyring: Keyring
    secrets: Secrets
