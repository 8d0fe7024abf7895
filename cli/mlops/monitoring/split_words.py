"""What a broken split of the traffic is in words: the counts, where to look, and how to go on."""

from __future__ import annotations

from collections.abc import Sequence

from mlops.spec.attribution import write_duration
from mlops.spec.deployment import DeploymentSpec
from mlops.spec.ramp import Ramp

WHERE_TO_LOOK = (
    "Find out what happens between the draw and the journal: retries, clients that choose their "
    "arm, decisions that were shed, several writers."
)
STAYS = (
    "p is the smallest so far, and does not rise when later traffic is right: what was measured "
    "while the split was broken stays in the evidence."
)


def counts_text(arms: Sequence[str], seen: Sequence[int], expected: Sequence[float]) -> str:
    """Say how many units each arm has, and how many it should have; empty where not known.

    >>> counts_text(["a", "b"], [2758, 109], [2723.65, 143.35])
    '`a` has 2,758 of 2,867 units, expected 2,724; `b` has 109, expected 143.'
    """
    if not seen:
        return ""
    parts = [
        f"`{arm}` has {n:,}{f' of {sum(seen):,} units' if not at else ''}, expected {mean:,.0f}"
        for at, (arm, n, mean) in enumerate(zip(arms, seen, expected, strict=True))
    ]
    return "; ".join(parts) + "."


def begin_again(spec: DeploymentSpec, baseline: str) -> str:
    """Say how an experiment whose split was broken starts over without that evidence."""
    if spec.ramp is not None:
        return f"`mlops ramp {spec.name}` prints the commands that begin the ramp again."
    models = " ".join(arm.model.label for arm in spec.arms)
    return (
        f'When it is mended: `mlops promote {spec.name} --arm {baseline} --force "split was '
        'broken"`, and deploy the arms again after more than a day, which leaves the evidence of '
        f"before out; or at once under another name: `mlops deploy --name {spec.name}-2 --ab "
        f"{models}`."
    )


def ramp_again(spec: DeploymentSpec, ramp: Ramp) -> tuple[str, ...]:
    """Return the commands that begin a ramp again with its first step, and without evidence."""
    base, canary = spec.arms[:2]
    first = f"{ramp.steps[0]:g}"
    steps, every = ",".join(f"{step:g}" for step in ramp.steps), write_duration(ramp.every_s)
    deploy = (
        f"mlops deploy --name {spec.name} --model {base.model.label} "
        f"--canary {canary.model.label}={first} --ramp {steps} --every {every}"
    )
    deploy += "" if ramp.advance == "not-worse" else f" --advance {ramp.advance}"
    deploy += " --auto" if ramp.auto else ""
    if ramp.step_of(canary.weight) > 0:
        return (deploy,)
    # What is live is the same as its first step, and deploying that again would change nothing.
    back = f'mlops promote {spec.name} --arm {base.name} --force "split was broken"'
    return back, deploy
