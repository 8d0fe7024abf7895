"""Following the policy epochs that are published in the journal."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import replace

from mlops.errors import MlopsError
from mlops.journal.base import Journal
from mlops.journal.outage import OutageLog
from mlops.journal.records import PolicyEpoch
from mlops.policies.base import State
from mlops.policies.drawing import draws_of, is_distribution
from mlops.serving.revision import LiveRevision

_LOG = logging.getLogger(__name__)
# A published epoch is in force in every worker and replica within a second.
_EVERY_S = 0.5
_LONGEST_PAUSE_S = 8.0
_NAME = "policy epochs"


async def follow_epochs(
    journal: Journal,
    get: Callable[[], LiveRevision],
    put: Callable[[LiveRevision], None],
    outage: OutageLog,
) -> None:
    """Draw by the newest epoch of the live revision, until cancelled. Only where its policy learns.

    While the journal cannot be read the last one stays in force; each decision names its epoch, so
    that it is weighed correctly.

    Args:
        journal: Where epochs are published.
        get: Returns the live revision; called on the event loop.
        put: Called on the event loop with the same revision and other draws.
        outage: Where this process says that the journal is away.
    """
    pause_s = _EVERY_S
    while True:
        live = get()
        if live.policy.learns:
            number = live.served.revision.number
            try:
                newest = await asyncio.to_thread(journal.newer_epoch, number, live.draws.epoch)
            except MlopsError as error:
                outage.away(_NAME, error)
                pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
            else:
                outage.back(_NAME)
                pause_s = _EVERY_S
                # It may have been replaced in the meantime.
                live = get()
                if newest and live.served.revision.number == number:
                    _follow(live, newest, put)
        else:
            outage.back(_NAME)
            pause_s = _EVERY_S
        await asyncio.sleep(pause_s)


def _follow(live: LiveRevision, newest: PolicyEpoch, put: Callable[[LiveRevision], None]) -> None:
    if newest.epoch <= live.draws.epoch:
        return
    told = newest.probabilities
    if len(told) == len(live.arms) and is_distribution(told):
        state = State(newest.epoch, told, newest.parameters or {})
        draws = draws_of(live.policy, state, live.draws)
        told = draws.probabilities
    if len(told) != len(live.arms) or not is_distribution(told):
        _LOG.warning("policy epoch %d is not a distribution: %s", newest.epoch, told)
        return
    put(replace(live, draws=draws))
