"""`mlops deploy`, `start`, `promote` and `rollback`: one pipeline for every target."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

from mlops.deployment.targets import TARGETS
from mlops.deployment.targets.contract import Again, Done, How, Talk, Target

if TYPE_CHECKING:
    from mlops.deployment.request import DeployRequest
    from mlops.registry.ledger import Entry, Intent
    from mlops.settings.needs import RolloutSettings


def open_target(settings: RolloutSettings, name: str) -> Target[Any, Done]:
    """Open a target by its name.

    Args:
        settings: The project's settings.
        name: Name of the target.

    Raises:
        InvalidInputError: There is none of that name.
    """
    made = TARGETS.load(name)
    if hasattr(made, "plan"):
        return cast("Target[Any, Done]", made(settings))
    # Its import takes longer than a status of this machine may take.
    from mlops.deployment.clusters.target import ClusterTarget

    return ClusterTarget(settings, name, made())


def deploy(
    settings: RolloutSettings,
    wanted: DeployRequest | Again,
    target: str,
    how: How | None = None,
    talk: Talk | None = None,
) -> Any:  # noqa: ANN401 - the target's own plan, and its result
    """Bring a deployment to the requested state, and return the result.

    The same request twice changes nothing the second time.

    Args:
        settings: The project's settings.
        wanted: What is asked for.
        target: Name of the target.
        how: Beside the settings; with `dry_run` the plan is returned, and nothing done.
        talk: Called with each phase, and with the plan before it is carried out.

    Raises:
        MlopsError: As `Target.plan` and `Target.apply`.
    """
    how, talk = how or How(), talk or Talk()
    chosen = open_target(settings, target)
    plan = chosen.plan(wanted, how, talk)
    talk.show_plan(plan)
    return plan if how.dry_run else chosen.apply(plan, how, talk)


def deploy_again(
    settings: RolloutSettings,
    live: Entry,
    like: Entry,
    intent: Intent,
    how: How | None = None,
    talk: Talk | None = None,
) -> Any:  # noqa: ANN401 - as `deploy`
    """Make another revision of a deployment where it is, with the options of an earlier one.

    Args:
        settings: The project's settings.
        live: The live revision.
        like: The revision whose options the new one has.
        intent: What it is to do.
        how: As `deploy`.
        talk: As `deploy`.

    Raises:
        ConflictError: `like` was elsewhere, or another revision went live since.
        MlopsError: As `deploy`.
    """
    intent = replace(intent, given=like.intent.given)
    return deploy(settings, Again(live, like, intent), live.intent.target, how, talk)


def live_revision(settings: RolloutSettings, name: str, *, dry_run: bool = False) -> Entry | None:
    """Return the live revision of a deployment.

    What an interrupted command left on this machine is completed first. What is on a cluster is
    completed by the next command there.

    Args:
        settings: The project's settings.
        name: Deployment.
        dry_run: Write nothing.

    Raises:
        ConflictError: A command is still changing it.
    """
    from mlops.deployment.ledgers import open_ledger
    from mlops.deployment.locate import Found
    from mlops.registry.client import nothing_yet
    from mlops.registry.ledger import LOCAL

    if nothing_yet(settings):
        return None
    if not dry_run:
        open_target(settings, LOCAL).recover(Found(name, None))
    return open_ledger(settings, name).live()
