"""`mlops deploy`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mlops.commands import completion
from mlops.commands.arguments import Context, Kubeconfig, NoPreflight, Trust
from mlops.commands.output import Json
from mlops.rewards import REWARDS
from mlops.runtimes import AUTO, RUNTIMES

_MODELS = "Models (one of these ways)"
_TRAFFIC = "Traffic"
_RAMP = "Ramp of a canary"
_FEEDBACK = "Feedback"
_VERDICT = "Verdict"
_SERVER = "Server"
_CLUSTER = "Cluster"


def deploy(
    ab: Annotated[
        tuple[str, str] | None,
        typer.Option(
            "--ab",
            metavar="REF REF",
            help="Two models that share the traffic.",
            autocompletion=completion.refs,
            rich_help_panel=_MODELS,
        ),
    ] = None,
    arm: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=REF[:WEIGHT]",
            help="One arm of several; repeatable.",
            autocompletion=completion.refs,
            rich_help_panel=_MODELS,
        ),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            metavar="REF",
            help="A single model.",
            autocompletion=completion.refs,
            rich_help_panel=_MODELS,
        ),
    ] = None,
    file: Annotated[
        Path | None,
        typer.Option(
            "-f", "--file", metavar="SPEC", help="Deployment spec in YAML.", rich_help_panel=_MODELS
        ),
    ] = None,
    canary: Annotated[
        str | None,
        typer.Option(
            metavar="REF=PERCENT",
            help="With --model: a second model and its share of the traffic.",
            autocompletion=completion.refs,
            rich_help_panel=_TRAFFIC,
        ),
    ] = None,
    ramp: Annotated[
        str,
        typer.Option(
            metavar="5,25,50,100",
            help="Shares that the canary is to get one after the other, in per cent; `mlops ramp` "
            "moves it.",
            show_default=False,
            rich_help_panel=_RAMP,
        ),
    ] = "",
    every: Annotated[
        str,
        typer.Option(
            metavar="30m",
            help="Least time of a step.",
            show_default="30m",
            rich_help_panel=_RAMP,
        ),
    ] = "",
    advance: Annotated[
        str,
        typer.Option(
            metavar="not-worse|unless-worse",
            autocompletion=completion.one_of("not-worse", "unless-worse"),
            help="End a step when every guardrail is shown to be kept, or unless one is shown to "
            "be broken; the step to 100 always asks for the first.",
            show_default="not-worse",
            rich_help_panel=_RAMP,
        ),
    ] = "",
    auto: Annotated[
        bool,
        typer.Option(
            "--auto",
            help="Let a process beside the server move the ramp, without `mlops ramp`.",
            rich_help_panel=_RAMP,
        ),
    ] = False,
    shadow: Annotated[
        list[str] | None,
        typer.Option(
            metavar="REF[=PERCENT]",
            help="Model that gets a copy of requests; its answers are recorded, never returned.",
            autocompletion=completion.refs,
            rich_help_panel=_TRAFFIC,
        ),
    ] = None,
    split: Annotated[
        str | None,
        typer.Option(
            metavar="50/50", help="Share of each arm, in per cent.", rich_help_panel=_TRAFFIC
        ),
    ] = None,
    sticky_by: Annotated[
        str | None,
        typer.Option(
            metavar="header:NAME|field:NAME",
            help="Send requests with the same value to the same arm.",
            rich_help_panel=_TRAFFIC,
        ),
    ] = None,
    reward: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            autocompletion=completion.rewards,
            help=f"Reward function: {', '.join(REWARDS)} or module:function. By default what "
            "fits the models' answers.",
            show_default=False,
            rich_help_panel=_TRAFFIC,
        ),
    ] = None,
    cost_matrix: Annotated[
        str,
        typer.Option(
            metavar="FILE",
            help="JSON or YAML, truth -> prediction -> cost, for the reward cost.",
            show_default=False,
            rich_help_panel=_TRAFFIC,
        ),
    ] = "",
    reward_range: Annotated[
        str | None,
        typer.Option(
            metavar="LOW..HIGH",
            help="Range of every reward; gives exact intervals from the first outcome.",
            rich_help_panel=_TRAFFIC,
        ),
    ] = None,
    horizon: Annotated[
        str | None,
        typer.Option(
            metavar="N|14d",
            help="End the test after N requests (or sticky units) with a reward, or after a time: "
            "nearly the power of a fixed test.",
            show_default="no planned end",
            rich_help_panel=_VERDICT,
        ),
    ] = None,
    worth: Annotated[
        str | None,
        typer.Option(
            metavar="DELTA",
            help="Smallest difference of rewards worth having: lets a test end with `equal`.",
            rich_help_panel=_VERDICT,
        ),
    ] = None,
    guardrail: Annotated[
        list[str] | None,
        typer.Option(
            metavar="METRIC=MARGIN",
            help="Metric that may lose no more than this before a promotion, as latency_ms=50; "
            "repeatable.",
            rich_help_panel=_VERDICT,
        ),
    ] = None,
    adjust: Annotated[
        str | None,
        typer.Option(
            metavar="FEATURE|history",
            help="What was known before the draw and predicts rewards (CUPED).",
            rich_help_panel=_VERDICT,
        ),
    ] = None,
    per: Annotated[
        str | None,
        typer.Option(
            metavar="outcomes|requests",
            help="Compare the sum of rewards per outcome, or per request, of each arm.",
            show_default="the mean of units",
            rich_help_panel=_VERDICT,
        ),
    ] = None,
    redraw: Annotated[
        bool,
        typer.Option(
            "--redraw",
            help="Draw sticky units that came before again, instead of leaving them on their arm.",
            rich_help_panel=_TRAFFIC,
        ),
    ] = False,
    runtime: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            autocompletion=completion.runtimes,
            help=f"What executes the models: auto, {', '.join(RUNTIMES)}. Used where it is shown "
            "to answer as the model does.",
            show_default=AUTO,
            rich_help_panel=_TRAFFIC,
        ),
    ] = None,
    feedback_window: Annotated[
        str | None,
        typer.Option(
            metavar="7d",
            help="Count feedback that comes this long after its request, and judge it then.",
            show_default="no window",
            rich_help_panel=_FEEDBACK,
        ),
    ] = None,
    missing: Annotated[
        str | None,
        typer.Option(
            metavar="REWARD|left-out",
            help="Reward of a request without feedback when its window has closed.",
            rich_help_panel=_FEEDBACK,
        ),
    ] = None,
    failed: Annotated[
        str | None,
        typer.Option(
            metavar="REWARD",
            help="Reward of a request that its model failed or refused.",
            rich_help_panel=_FEEDBACK,
        ),
    ] = None,
    repeated: Annotated[
        str | None,
        typer.Option(
            metavar="first|last|sum",
            help="Several outcomes of one row: the first stands, the last corrects, or they sum "
            "(each with an outcome_id).",
            show_default="first",
            rich_help_panel=_FEEDBACK,
        ),
    ] = None,
    name: Annotated[
        str | None,
        typer.Option(help="Name of the deployment.", show_default="the project's name"),
    ] = None,
    host: Annotated[
        str | None,
        typer.Option(
            help="Address to listen on.", show_default="127.0.0.1", rich_help_panel=_SERVER
        ),
    ] = None,
    port: Annotated[
        int | None,
        typer.Option(
            min=0,
            max=65_535,
            help="Port to listen on.",
            show_default="the first free from 8080",
            rich_help_panel=_SERVER,
        ),
    ] = None,
    grpc_port: Annotated[
        int | None,
        typer.Option(
            metavar="PORT",
            min=0,
            max=65_535,
            help="Port to listen on for gRPC (Open Inference, feedback).",
            show_default="no gRPC",
            rich_help_panel=_SERVER,
        ),
    ] = None,
    tls_cert: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Certificate of the server (PEM, with its chain), for HTTPS and gRPC.",
            show_default="no TLS",
            rich_help_panel=_SERVER,
        ),
    ] = None,
    tls_key: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Private key of the certificate (PEM).", rich_help_panel=_SERVER
        ),
    ] = None,
    tls_client_ca: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="CA certificates (PEM) that callers must have a certificate of (mutual TLS).",
            rich_help_panel=_SERVER,
        ),
    ] = None,
    insecure_no_auth: Annotated[
        bool,
        typer.Option(
            "--insecure-no-auth",
            help="Serve requests without a key also beyond this machine.",
            rich_help_panel=_SERVER,
        ),
    ] = False,
    new_key: Annotated[
        bool,
        typer.Option(
            "--new-key",
            help="Go on with a new key where the deployment's is lost; feedback for earlier "
            "predictions is then refused.",
            rich_help_panel=_SERVER,
        ),
    ] = False,
    new_journal: Annotated[
        bool,
        typer.Option(
            "--new-journal",
            help="Go on with an empty journal where the deployment's is lost.",
            rich_help_panel=_SERVER,
        ),
    ] = False,
    trust: Trust = False,
    workers: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            min=1,
            help="Processes that share the requests.",
            show_default="1; on Kubernetes the pod's CPU limit",
            rich_help_panel=_SERVER,
        ),
    ] = None,
    foreground: Annotated[
        bool,
        typer.Option("--foreground", help="Run in the foreground.", rich_help_panel=_SERVER),
    ] = False,
    policy: Annotated[
        str | None,
        typer.Option(
            metavar="NAME[ OPTION=VALUE ...]",
            help="How an arm is drawn: weighted; or thompson, ucb1, epsilon-greedy, softmax, which "
            "learn from feedback; or a policy of another package.",
            show_default="weighted",
            rich_help_panel=_TRAFFIC,
        ),
    ] = None,
    floor: Annotated[
        float | None,
        typer.Option(
            min=0,
            max=1,
            help="Least probability of an arm, for a policy that learns.",
            show_default="0.05",
            rich_help_panel=_TRAFFIC,
        ),
    ] = None,
    isolate: Annotated[
        str | None,
        typer.Option(
            metavar="auto|never|always",
            autocompletion=completion.one_of("auto", "never", "always"),
            help="Run models in an environment of their own, made with uv: those whose packages "
            "conflict with what is installed (auto).",
            show_default="auto",
            rich_help_panel=_SERVER,
        ),
    ] = None,
    reset: Annotated[
        list[str] | None,
        typer.Option(
            metavar="OPTION",
            help="Keep nothing of this option: reward, split, shadow, sticky-by, port…",
        ),
    ] = None,
    target: Annotated[
        str | None,
        typer.Option(
            metavar="TARGET",
            autocompletion=completion.targets,
            help="Where to run: local, kubernetes, kserve, seldon or seldon2. For a platform, "
            "manifests are written; --apply applies them.",
            rich_help_panel=_CLUSTER,
        ),
    ] = None,
    render: Annotated[
        str | None,
        typer.Option(
            metavar="DIR|-",
            help="Folder for the manifests; - prints them.",
            show_default="deploy/NAME",
            rich_help_panel=_CLUSTER,
        ),
    ] = None,
    namespace: Annotated[
        str | None,
        typer.Option(
            "-n", "--namespace", help="Namespace of the objects.", rich_help_panel=_CLUSTER
        ),
    ] = None,
    image: Annotated[
        str | None,
        typer.Option(
            help="Image of the model server.",
            show_default="the bundled server",
            rich_help_panel=_CLUSTER,
        ),
    ] = None,
    model_server: Annotated[
        str | None,
        typer.Option(
            metavar="mlops|mlserver|prepackaged",
            help="Server that loads the models.",
            rich_help_panel=_CLUSTER,
        ),
    ] = None,
    platform_version: Annotated[
        str | None,
        typer.Option(
            metavar="VERSION",
            help="Version of KServe or Seldon Core in the cluster.",
            rich_help_panel=_CLUSTER,
        ),
    ] = None,
    mode: Annotated[
        str | None,
        typer.Option(
            help="Mode of the platform: plain or openshift (kubernetes), standard or knative "
            "(kserve), istio or ambassador (seldon).",
            rich_help_panel=_CLUSTER,
        ),
    ] = None,
    traffic_by: Annotated[
        str | None,
        typer.Option(
            metavar="METHOD",
            help="What splits the traffic: graph, canary or gateway on KServe; graph or predictors "
            "on Seldon.",
            rich_help_panel=_CLUSTER,
        ),
    ] = None,
    extra: Annotated[
        list[str] | None,
        typer.Option(
            "--with",
            metavar="monitoring",
            help="Also write alerts for Prometheus and a dashboard for Grafana.",
            rich_help_panel=_CLUSTER,
        ),
    ] = None,
    router: Annotated[
        bool,
        typer.Option(
            "--router",
            help="Put the bundled server in front of the platform's, for journal and reports.",
            rich_help_panel=_CLUSTER,
        ),
    ] = False,
    apply: Annotated[
        bool,
        typer.Option(
            "--apply",
            help="Apply the manifests to the cluster and wait until they are ready.",
            rich_help_panel=_CLUSTER,
        ),
    ] = False,
    kubeconfig: Kubeconfig = None,
    context: Context = None,
    timeout: Annotated[
        int | None,
        typer.Option(
            metavar="SECONDS",
            min=1,
            help="With --apply: time to wait.",
            show_default="600",
            rich_help_panel=_CLUSTER,
        ),
    ] = None,
    no_wait: Annotated[
        bool,
        typer.Option("--no-wait", help="With --apply: do not wait.", rich_help_panel=_CLUSTER),
    ] = False,
    force_conflicts: Annotated[
        bool,
        typer.Option(
            "--force-conflicts",
            help="With --apply: take over fields that other managers set.",
            rich_help_panel=_CLUSTER,
        ),
    ] = False,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Show the plan, with --apply the diff, and change nothing."),
    ] = False,
    no_preflight: NoPreflight = False,
    as_json: Json = False,
) -> None:
    """Put one or more models behind one stable URL.

    For example `mlops deploy --ab modelA modelB`, or `--model wine/1 --canary wine/2=5 --ramp
    5,25,50,100`.
    """
    from mlops.commands.deploy_view import show_result, stay_with, talk_of
    from mlops.commands.progress import TransferProgress
    from mlops.deployment.deploy import deploy as make_deployment
    from mlops.deployment.deploy import open_target
    from mlops.deployment.deploy_options import Words, ask
    from mlops.deployment.option_rules import applies, check_options
    from mlops.deployment.request import read_costs
    from mlops.deployment.targets.contract import CLUSTER, FILES, SERVER, How
    from mlops.policies.making import with_option
    from mlops.settings import load_settings
    from mlops.workflows.preflight import preflight

    flags = {
        "deploy.name": name,
        "deploy.host": host,
        "deploy.port": port,
        "deploy.grpc_port": grpc_port,
        "deploy.workers": workers,
        "artifacts.trust": trust or None,
        "deploy.sticky_by": sticky_by,
        "deploy.horizon": horizon,
        "report.worth": worth,
        "report.guardrails": ",".join(guardrail) if guardrail else None,
        "report.adjust": adjust,
        "report.per": per,
        "deploy.isolate": isolate,
        "deploy.policy": with_option(policy, "floor", floor),
        "deploy.redraw": redraw or None,
        "deploy.runtime": runtime,
        "deploy.tls_cert": str(tls_cert.absolute()) if tls_cert else None,
        "deploy.tls_key": str(tls_key.absolute()) if tls_key else None,
        "deploy.tls_client_ca": str(tls_client_ca.absolute()) if tls_client_ca else None,
        "deploy.insecure_no_auth": insecure_no_auth or None,
        "deploy.new_key": new_key or None,
        "deploy.new_journal": new_journal or None,
        "feedback.window": feedback_window,
        "feedback.missing": missing,
        "feedback.failed": failed,
        "feedback.repeated": repeated,
        "feedback.reward": reward,
        "cluster.kubeconfig": kubeconfig,
        "cluster.context": context,
        "cluster.timeout_s": timeout,
        "cluster.namespace": namespace,
        "cluster.image": image,
        "cluster.model_server": model_server,
        "cluster.extras": extra,
        "cluster.router": router or None,
        "feedback.reward_range": reward_range,
        "feedback.costs": read_costs(cost_matrix) if cost_matrix else None,
    }
    settings = load_settings(flags=flags)
    if not no_preflight:
        preflight(settings, write=False)
    words = Words(
        models={
            "ab": ab,
            "model": model,
            "arms": arm or (),
            "canary": canary,
            "ramp": {"steps": ramp, "every": every, "advance": advance, "auto": auto},
            "split": split,
            "shadows": shadow or (),
        },
        file=file,
        target=target,
        platform={"version": platform_version, "mode": mode, "split": traffic_by},
        router=router,
        apply=apply,
        reset=tuple(reset or ()),
        dry_run=dry_run,
    )
    with TransferProgress() as progress:
        asked = ask(settings, flags, words, say=progress.phase)
    of_server = {
        "--host": host,
        "--port": port,
        "--grpc-port": grpc_port,
        "--foreground": foreground,
        "--isolate": isolate,
        "--auto": auto,
        "--tls-cert": tls_cert,
        "--tls-key": tls_key,
        "--tls-client-ca": tls_client_ca,
        "--insecure-no-auth": insecure_no_auth,
    }
    of_files = {
        "--render": render,
        "--namespace": namespace,
        "--image": image,
        "--model-server": model_server,
    }
    only_applied = {
        "--kubeconfig": kubeconfig,
        "--context": context,
        "--timeout": timeout,
        "--no-wait": no_wait,
        "--force-conflicts": force_conflicts,
    }
    of_cluster = {"--apply": apply, **only_applied}
    takes = open_target(asked.settings, asked.target).takes
    check_options(asked.target, takes, {SERVER: of_server, FILES: of_files, CLUSTER: of_cluster})
    how = How(
        apply=applies(apply, only_applied, render),
        to=render,
        dry_run=dry_run,
        wait=not no_wait,
        force=force_conflicts,
        foreground=foreground,
    )
    with TransferProgress() as progress:
        talk = talk_of(progress)
        result = make_deployment(asked.settings, asked.request, asked.target, how, talk)
    show_result(result, as_json=as_json, dry_run=dry_run, whole=render == "-")
    stay_with(result, foreground=foreground)
