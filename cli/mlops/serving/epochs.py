"""Following the policy epochs that are published in the journal."""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Callable
from dataclasses import replace

from mlops.errors import MlopsError
from mlops.journal.base import Journal
from mlops.journal.records import PolicyEpoch
from mlops.policies.base import State
from mlops.policies.drawing import draws_of
from mlops.serving.revision import LiveRevision

_LOG = logging.getLogger(__name__)
# A published epoch is in force in every worker and replica within a second.
_EVERY_S = 0.5


async def follow_epochs(
    journal: Journal, get: Callable[[], LiveRevision], put: Callable[[LiveRevision], None]
) -> None:
    """Draw by the newest epoch of the live revision, until cancelled. Only where its policy learns.

    While the journal cannot be read the last one stays in force; each decision names its epoch, so
    that it is weighed correctly.

    Args:
        journal: Where epochs are published.
        get: Returns the live revision; called on the event loop.
        put: Called on the event loop with the same revision and other draws.
    """
    while True:
        live = get()
        if live.policy.learns:
            number = live.served.revision.number
            try:
                newest = await asyncio.to_thread(journal.newer_epoch, number, live.draws.epoch)
            except MlopsError as error:
                _LOG.info("policy epochs: %s", error.message)
            else:
                # It may have been replaced in the meantime.
                live = get()
                if newest and live.served.revision.number == number:
                    _follow(live, newest, put)
        await asyncio.sleep(_EVERY_S)


def _follow(live: LiveRevision, newest: PolicyEpoch, put: Callable[[LiveRevision], None]) -> None:
    if newest.epoch <= live.draws.epoch:
        return
    state = State(newest.epoch, newest.probabilities, newest.parameters or {})
    draws = draws_of(live.policy, state, live.draws)
    shares = draws.probabilities
    if len(shares) != len(live.arms) or not _is_distribution(shares):
        _LOG.warning("policy epoch %d is not a distribution: %s", newest.epoch, shares)
        return
    put(replace(live, draws=draws))


def _is_distribution(shares: tuple[float, ...]) -> bool:
    whole = math.isclose(sum(shares), 1, abs_tol=1e-6)
    return whole and all(0 <= share <= 1 for share in shares)
