"""One step of a deployment from its live revision to the next: registry, endpoint and ledger."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mlops.deployment.deploy import deploy_again, open_target
from mlops.deployment.ledgers import open_ledger
from mlops.deployment.locate import Found
from mlops.deployment.targets.contract import How, Say, Talk
from mlops.errors import NotFoundError
from mlops.registry import mlflow_errors
from mlops.registry.ledger import AliasMove, Entry, Intent
from mlops.registry.refs import CHAMPION, look_up_model
from mlops.settings import Settings
from mlops.spec.deployment import DeploymentSpec
from mlops.spec.short_repr import short_repr

if TYPE_CHECKING:
    from mlflow import MlflowClient


@dataclass(frozen=True, slots=True)
class Moved:
    """What a promotion or rollback did.

    Attributes:
        name: Name of the deployment.
        action: `promote` or `rollback`.
        revision: Revision that is live now.
        replaced: Revision that was live before.
        spec: What is served now.
        aliases: Aliases that moved.
        reason: Why.
        changed: False for a dry run, or if everything was as requested.
        url: Where it is served; empty for a dry run, and if not known.
        place: The cluster and namespace; empty for this machine.
    """

    name: str
    action: str
    revision: int
    replaced: int
    spec: DeploymentSpec
    aliases: tuple[AliasMove, ...]
    reason: str
    changed: bool
    url: str
    place: str = ""

    def __repr__(self) -> str:
        return short_repr(
            self,
            name=self.name,
            action=self.action,
            changed=self.changed,
            revision=self.revision,
            replaced=self.replaced,
            arms=[arm.name for arm in self.spec.arms],
            url=self.url,
        )


def champion_moves(
    client: MlflowClient, settings: Settings, spec: DeploymentSpec, winner: str
) -> tuple[AliasMove, ...]:
    """Say how the alias `champion` moves when an arm wins.

    Arms that are versions of one model: it moves to the winner's version. Different models: the
    winner gains it and the others lose it. Models outside the registry have no aliases.
    """
    best = spec.arms[spec.index_of(winner)].model
    moves = []
    with mlflow_errors(settings):
        if best.name:
            before = _champion(client, best.name)
            moves.append(AliasMove(best.name, CHAMPION, best.version, before))
        for model in sorted({arm.model.name for arm in spec.arms} - {best.name, ""}):
            before = _champion(client, model)
            if before:
                moves.append(AliasMove(model, CHAMPION, 0, before))
    return tuple(moves)


def was_live(entry: Entry) -> bool:
    """Whether a revision serves or has served; others were given up before."""
    return entry.state in ("live", "replaced")


def complete_interrupted(settings: Settings, found: Found) -> list[Entry]:
    """Complete or abandon what killed commands left, wherever it is; return what was finished."""
    return open_target(settings, found.target).recover(found)


def interrupted_change(settings: Settings, found: Found, action: str) -> Moved | None:
    """Complete what was killed, and return it if it equals the present request."""
    name, target = found.name, open_target(settings, found.target)
    for entry in complete_interrupted(settings, found):
        if entry.intent.action == action:
            earlier = (e for e in open_ledger(settings, name).history() if e.state == "replaced")
            return Moved(
                name=name,
                action=action,
                revision=entry.number,
                replaced=next((e.number for e in earlier), 0),
                spec=entry.intent.spec,
                aliases=_real(entry.intent.aliases),
                reason=entry.intent.reason,
                changed=True,
                url=target.status(Found(name, entry)).url,
                place=str(entry.intent.place or ""),
            )
    return None


def _real(moves: tuple[AliasMove, ...]) -> tuple[AliasMove, ...]:
    return tuple(move for move in moves if move.version != move.before)


def _champion(client: MlflowClient, model: str) -> int:
    found = look_up_model(client, model)
    return int(found.aliases.get(CHAMPION, 0)) if found else 0


def move(
    settings: Settings,
    live: Entry,
    like: Entry,
    intent: Intent,
    dry_run: bool,
    say: Say,
    on_wait: Say,
    *,
    force: bool = False,
) -> Moved:
    """Make an intent the live revision, where the deployment is, in the ledger and in its trail.

    Args:
        settings: The project's settings.
        live: The live revision.
        like: The revision whose options it has, on a cluster.
        intent: What the new one is to do.
        dry_run: Say what would be done, and do nothing.
        say: Called with each phase.
        on_wait: Called with what is waited for.
        force: Take over a name that another project has.
    """
    spec = intent.spec
    changed = _real(intent.aliases)
    result = Moved(
        name=spec.name,
        action=intent.action,
        revision=live.number,
        replaced=live.number,
        spec=spec,
        aliases=changed,
        reason=intent.reason,
        changed=False,
        url="",
        place=str(live.intent.place or ""),
    )
    how = How(anew=bool(changed), dry_run=dry_run, force=force)
    done = deploy_again(settings, live, like, intent, how, Talk(say=say, on_wait=on_wait))
    if dry_run:
        return result
    moved = done.revision != live.number
    return dataclasses.replace(result, revision=done.revision, changed=moved, url=done.url)


def live_entry(entry: Entry | None, name: str) -> Entry:
    """Return the live revision.

    Raises:
        NotFoundError: There is none.
    """
    if entry is None:
        raise NotFoundError(
            f"No revision of `{name}` is live.", hint="`mlops deploy --ab modelA modelB`"
        )
    return entry
