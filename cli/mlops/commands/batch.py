"""`mlops batch`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

import typer

from mlops.commands.options.train_run import RayAddress
from mlops.commands.output import Json, plain, show
from mlops.errors import UsageError

if TYPE_CHECKING:
    from rich.console import Console

    from mlops.scoring import Disagreement
    from mlops.workflows.batch import Batched


_SHOWN_COLUMNS = 10


def batch(
    ref: Annotated[
        str, typer.Argument(metavar="REF|NAME", help="A model, or a deployment of this project.")
    ],
    data: Annotated[
        list[str],
        typer.Option(
            "--data", metavar="FILES",
            help="Parquet, CSV or JSON lines, as 'x/*.parquet'; here or in a store; repeatable.",
        ),
    ],
    out: Annotated[
        str,
        typer.Option(
            "--out", "-o", metavar="FILE|FOLDER", show_default=False,
            help="A file, or a folder (also s3://… or gs://…) for parts.",
        ),
    ] = "",
    all_arms: Annotated[
        bool, typer.Option("--all-arms", help="Let every arm predict every row.")
    ] = False,
    against: Annotated[
        str,
        typer.Option(
            "--compare", metavar="REF", show_default=False,
            help="Print how another model disagrees, and write nothing.",
        ),
    ] = "",
    keep: Annotated[
        list[str] | None,
        typer.Option(metavar="COLUMN", help="Input column to copy; repeatable."),
    ] = None,
    form: Annotated[
        Literal["parquet", "csv", "jsonl"] | None,
        typer.Option("--format", help="Form; by default as FILE ends.", show_default="parquet"),
    ] = None,
    rows: Annotated[
        int, typer.Option("--chunk-rows", min=1, max=1_000_000, help="Rows predicted together.")
    ] = 10_000,
    runtime: Annotated[
        str, typer.Option(help="What executes the models; as of `mlops deploy`.")
    ] = "auto",
    skip_errors: Annotated[
        bool, typer.Option("--skip-errors", help="Write refused rows with their error, and go on.")
    ] = False,
    backend: Annotated[
        Literal["local", "ray"], typer.Option(help="Where rows are predicted.")
    ] = "local",
    ray_address: RayAddress = None,
    as_json: Json = False,
) -> None:  # fmt: skip
    """Score files with a model or a deployment; a job that was ended continues where it was.

    For example `mlops batch wine --data 'rows/*.parquet' --out scored.parquet`.
    """
    from mlops.commands.progress import PhaseProgress
    from mlops.settings import load_settings
    from mlops.workflows import batch as work

    if bool(out) == bool(against):
        raise UsageError("Say where the predictions go: `--out`, or `--compare` for none.")
    if against and backend != "local":
        raise UsageError("`--compare` runs on this machine.", hint="Leave `--backend` out.")
    if ray_address and backend != "ray":
        raise UsageError("`--ray-address` needs `--backend ray`.")
    options = work.Options(all_arms, tuple(keep or ()), rows, form, runtime, skip_errors, backend)
    settings = load_settings(flags={"training.ray_address": ray_address})
    with PhaseProgress() as progress:

        def tell(count: int) -> None:
            progress.phase(f"Scored {count:,} rows")

        if against:
            found = work.disagreement(settings, (ref, against), data, options, tell)
        else:
            done = work.batch(settings, ref, data, out, options, tell)
    if against:
        show(plain(found), as_json=as_json, render=lambda to: _render_compared(to, found))
    else:
        show(plain(done), as_json=as_json, render=lambda to: _render(to, done))


def _render(out: Console, done: Batched) -> None:
    from rich.markup import escape

    before = f", {done.resumed:,} of them by an earlier run" if done.resumed else ""
    now = " now" if done.resumed else ""
    files = "1 file" if done.files == 1 else f"{done.files:,} files"
    out.print(f"[bold]{escape(done.of)}[/]: {done.rows:,} rows of {files}{before}")
    for arm, count in done.by_arm.items():
        share = f"drawn with probability {done.shares[arm]:.4g}"
        name = f"{arm}: {count:,} rows{now}, {share}, " if len(done.by_arm) > 1 else ""
        out.print(f"[dim]{escape(name)}executed by {escape(done.runtimes[arm])}[/]")
        classes = done.classes.get(arm, ())
        if classes:
            names = ", ".join(f"`{each}`" for each in classes[:_SHOWN_COLUMNS])
            more = ", …" if len(classes) > _SHOWN_COLUMNS else ""
            whose = f"{arm}: " if len(done.by_arm) > 1 else ""
            out.print(
                f"[dim]{escape(f'{whose}a number per class, in this order: {names}{more}')}[/]"
            )
    if done.kept is not None:
        drawn = sum(done.by_arm.values()) - done.kept
        scored = "of the rows scored now: " if done.resumed else ""
        out.print(
            f"[dim]{scored}{done.kept:,} rows of units that keep their arm from an earlier "
            f"revision, {drawn:,} rows drawn[/]"
        )
    if done.ignored:
        names = ", ".join(f"`{escape(name)}`" for name in done.ignored[:_SHOWN_COLUMNS])
        more = (
            f" and {len(done.ignored) - _SHOWN_COLUMNS:,} more"
            if (len(done.ignored) > _SHOWN_COLUMNS)
            else ""
        )
        out.print(f"[dim]note: no model takes these columns, which are ignored: {names}{more}[/]")
    if done.errors:
        out.print(f"[yellow]note: {done.errors:,} rows were refused; see the column `error`[/]")
    out.print(escape(done.out), soft_wrap=True)


def _render_compared(out: Console, found: Disagreement) -> None:
    from rich.markup import escape

    share = found.equal / found.rows if found.rows else 0.0
    out.print(
        f"[bold]{escape(found.second)}[/] against [bold]{escape(found.first)}[/]: "
        f"{found.rows:,} rows, {share * 100:.4g} % answered the same"
    )
    if found.refused:
        out.print(f"[yellow]note: {found.refused:,} rows were refused by one of them[/]")
    if found.kappa is not None:
        out.print(f"  Cohen's kappa {found.kappa:.4g}")
    if (numbers := found.numbers) is not None:
        half, most, nearly, largest = numbers.quantiles_abs
        out.print(f"  means {numbers.first_mean:.6g} and {numbers.second_mean:.6g}")
        out.print(f"  difference {numbers.mean:+.4g} ± {numbers.sd:.4g} (mean, standard deviation)")
        out.print(
            f"  absolute difference: half below {half:.4g}, 90 % below {most:.4g}, "
            f"99 % below {nearly:.4g}, largest {largest:.4g}"
        )
        if numbers.correlation is not None:
            out.print(f"  correlation {numbers.correlation:.6g}")
    for first, second, count in found.pairs[:5]:
        out.print(f"  {escape(first)} → {escape(second)}: {count:,} rows")
    if found.worst:
        out.print("[dim]rows that differ most[/]" if numbers else "[dim]rows that differ[/]")
    for place in found.worst[:5]:
        out.print(
            f"  {escape(str(place.first))} → {escape(str(place.second))}  "
            f"[dim]row {place.row:,} of {escape(place.file)}[/]"
        )
