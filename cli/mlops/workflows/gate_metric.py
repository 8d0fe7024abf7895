"""Which metric a CI job holds a candidate to, and which way it is better."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from mlops.errors import MlopsError, UsageError, one_of
from mlops.registry.client import nothing_yet, open_registry
from mlops.registry.refs import look_up_model, newest_of
from mlops.registry.thresholds import Better, parse_limit
from mlops.settings import Settings, load_settings

#: Asks the user one question; returns the answer.
Ask = Callable[[str, Sequence[str]], str]

_TOLERANCE = "1%"
_OF_REWARD: Mapping[str, str] = {
    "squared-error": "rmse",
    "absolute-error": "mae",
    "exact": "accuracy",
    "log-loss": "log_loss",
    "brier": "brier",
    "cost": "cost",
}


def gate_limit(
    folder: Path, metric: str = "", better: Better | None = None, ask: Ask | None = None
) -> str:
    """Return a limit as `mlops models compare --max-regression` takes it, such as `rmse=1%`.

    Args:
        folder: The project's.
        metric: What the user named; empty to take that of the reward in the project file, else the
            only usual metric that the newest model's run logged.
        better: Which way it is better; None where that is known.
        ask: Asks the user; None if not interactive.

    Raises:
        UsageError: It is not known which metric, or which way it is better.
    """
    if not metric:
        settings = load_settings(folder) if folder.is_dir() else None
        logged = _logged(settings) if settings else ()
        metric = _of_settings(settings) or _usual(logged)
        if not metric and ask is not None:
            metric = ask("Which metric must not get worse?", logged)
        if not metric:
            also = f" The newest model's run logged {one_of(logged)}." if logged else ""
            raise UsageError(
                "Nothing says by which metric a candidate is judged.",
                hint=f"`--metric accuracy`, with --minimize or --maximize for your own.{also}",
            )
    if better is None and not _is_usual(metric):
        if ask is None:
            raise UsageError(
                f"Unknown direction for metric `{metric}`.", hint="Add --minimize or --maximize."
            )
        answer = ask(f"Is a lower or a higher `{metric}` better?", ("lower", "higher"))
        better = "lower" if answer == "lower" else "higher"
    text = f"{metric}{f':{better}' if better else ''}={_TOLERANCE}"
    parse_limit(text)
    return text


def _of_settings(settings: Settings | None) -> str:
    """Return the metric that goes with the reward in the project file."""
    if settings is None or settings.origins["feedback.reward"] == "default":
        return ""
    return _OF_REWARD.get(settings.feedback.reward, "")


def _logged(settings: Settings) -> tuple[str, ...]:
    """Return the metrics of the run of the newest model; none if they are not known."""
    if nothing_yet(settings):
        return ()
    try:
        client = open_registry(settings, reading=True)
        if look_up_model(client, settings.project_name) is None:
            return ()
        run_id = newest_of(client, settings.project_name).run_id
        return tuple(sorted(client.get_run(run_id).data.metrics)) if run_id else ()
    except MlopsError:
        # A workflow can be written while the server is away.
        return ()


def _usual(logged: Sequence[str]) -> str:
    usual = [name for name in logged if _is_usual(name)]
    return usual[0] if len(usual) == 1 else ""


def _is_usual(metric: str) -> bool:
    try:
        parse_limit(f"{metric}={_TOLERANCE}")
    except UsageError:
        return False
    return True
