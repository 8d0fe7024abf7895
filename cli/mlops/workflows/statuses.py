"""The status of deployments, on any target.

What clusters need is imported only if there is one: it takes longer than the rest of a status.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from mlops.deployment.deploy import open_target
from mlops.deployment.locate import Found, locate, locate_all
from mlops.deployment.owners import all_ahead
from mlops.deployment.runtime_files import places
from mlops.deployment.status import Status
from mlops.deployment.targets.contract import TargetStatus
from mlops.errors import MlopsError
from mlops.settings import Settings

_AT_ONCE = 8


def statuses(settings: Settings, name: str | None) -> list[TargetStatus]:
    """Return the status of one deployment, or of all of this project, in alphabetical order.

    Raises:
        NotFoundError: There is none of that name.
    """
    found = [locate(settings, name)] if name else locate_all(settings)
    return [_status(settings, each) for each in found]


def each_status(settings: Settings) -> list[tuple[str, TargetStatus | MlopsError]]:
    """Return each deployment of this project with its status, or with why there is none.

    They are asked at the same time: a server that hangs is waited for once.
    """
    from concurrent.futures import ThreadPoolExecutor

    def one(found: Found) -> tuple[str, TargetStatus | MlopsError]:
        try:
            return found.name, _status(settings, found)
        except MlopsError as error:
            return found.name, error

    with ThreadPoolExecutor(_AT_ONCE) as pool:
        return list(pool.map(one, locate_all(settings)))


def told_of_owners(settings: Settings, found: Sequence[TargetStatus]) -> list[TargetStatus]:
    """Add a warning to what runs here under a name that another project deployed since.

    Args:
        settings: The project's settings.
        found: Status of deployments; those on clusters are left as they are.
    """
    local = [places(settings, each.name) for each in found if isinstance(each, Status)]
    said = all_ahead(settings, local)
    return [
        replace(each, warnings=(*each.warnings, " ".join(text for text in said[each.name] if text)))
        if isinstance(each, Status) and each.name in said
        else each
        for each in found
    ]


def _status(settings: Settings, found: Found) -> TargetStatus:
    if found.fault is not None:
        from mlops.deployment.clusters.status import unknown_status

        return unknown_status(found.name, found.fault)
    return open_target(settings, found.target).status(found)
