"""`mlops monitor test-alert`: whether alarms would arrive."""

from __future__ import annotations

import time

from mlops.consumers.webhook import post
from mlops.errors import InvalidInputError
from mlops.settings import Settings
from mlops.settings.schema import check_webhook


def send_test(settings: Settings) -> str:
    """Post a message to the webhook; return where its URL is.

    Raises:
        InvalidInputError: No webhook is set, or what is set leads to none.
        RemoteError: It did not take the message.
    """
    reference = settings.watch.webhook
    check_webhook(reference)
    if not reference:
        raise InvalidInputError(
            "No webhook is set.", hint='webhook = "env:ALERTS_URL" in [watch] of `mlops.toml`'
        )
    text = f"A test of the alarms of `{settings.project_name}`: nothing has happened."
    post(reference, text, f"test {time.time_ns()}")
    return reference
