"""What the journal says, as parts of the live page of a server.

The server asks by name (`QUESTIONS`), in JSON, and sends what comes back to browsers as it is. All
of it is made here, in a process of its own: nothing that takes long, or much memory, happens where
predictions are answered.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mlops.plugins import Plugins

#: What can be asked: each takes a `Source` and its own arguments, and returns JSON data.
QUESTIONS: Plugins[Callable[..., dict[str, Any]]] = Plugins(
    "question",
    {
        "part": "mlops.live_page.sections:part",
        "history": "mlops.live_page.history:history",
        "requests": "mlops.live_page.requests:requests",
        "request": "mlops.live_page.requests:request",
        "rows": "mlops.live_page.requests:rows",
        "explanation": "mlops.live_page.explanation:explanation",
    },
)
