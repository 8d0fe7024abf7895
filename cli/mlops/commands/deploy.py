"""`mlops deploy`."""

from __future__ import annotations

from typing import Any

from mlops.commands.arguments import Context, Kubeconfig, NoPreflight, Trust
from mlops.commands.options import deploy_cluster as cluster
from mlops.commands.options import deploy_models as models
from mlops.commands.options import deploy_server as server
from mlops.commands.options import deploy_traffic as traffic
from mlops.commands.options import deploy_verdict as verdict
from mlops.commands.output import Json


def deploy(
    ab: models.Ab = None,
    arm: models.Arm = None,
    model: models.Model = None,
    file: models.File = None,
    canary: traffic.Canary = None,
    ramp: models.Ramp = "",
    every: models.Every = "",
    advance: models.Advance = "",
    auto: models.Auto = None,
    shadow: traffic.Shadow = None,
    split: traffic.Split = None,
    sticky_by: traffic.StickyBy = None,
    reward: traffic.Reward = None,
    cost_matrix: traffic.CostMatrix = "",
    decision_rule: traffic.DecisionRule = None,
    reward_range: traffic.RewardRange = None,
    horizon: verdict.Horizon = None,
    worth: verdict.Worth = None,
    guardrail: verdict.Guardrail = None,
    adjust: verdict.Adjust = None,
    per: verdict.Per = None,
    redraw: traffic.Redraw = False,
    runtime: traffic.Runtime = None,
    feedback_window: verdict.FeedbackWindow = None,
    missing: verdict.Missing = None,
    failed: verdict.Failed = None,
    repeated: verdict.Repeated = None,
    name: traffic.Name = None,
    host: server.Host = None,
    port: server.Port = None,
    grpc_port: server.GrpcPort = None,
    tls_cert: server.TlsCert = None,
    tls_key: server.TlsKey = None,
    tls_client_ca: server.TlsClientCa = None,
    tls_client_crl: server.TlsClientCrl = None,
    insecure_no_auth: server.InsecureNoAuth = False,
    new_key: server.NewKey = False,
    new_journal: server.NewJournal = False,
    trust: Trust = False,
    workers: server.Workers = None,
    foreground: server.Foreground = False,
    policy: traffic.Policy = None,
    floor: traffic.Floor = None,
    features: traffic.Features = None,
    isolate: server.Isolate = None,
    reset: traffic.Reset = None,
    target: cluster.Target = None,
    render: cluster.Render = None,
    namespace: cluster.Namespace = None,
    image: cluster.Image = None,
    model_server: cluster.ModelServer = None,
    platform_version: cluster.PlatformVersion = None,
    mode: cluster.Mode = None,
    traffic_by: cluster.TrafficBy = None,
    extra: cluster.Extra = None,
    router: cluster.Router = False,
    apply: cluster.Apply = False,
    kubeconfig: Kubeconfig = None,
    context: Context = None,
    timeout: cluster.Timeout = None,
    no_wait: cluster.NoWait = False,
    force_conflicts: cluster.ForceConflicts = False,
    dry_run: traffic.DryRun = False,
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
    from mlops.deployment.option_rules import applies, check_options
    from mlops.deployment.request import check_words, read_costs
    from mlops.deployment.targets.contract import CLUSTER, FILES, SERVER, How
    from mlops.policies.making import with_option
    from mlops.settings import load_settings
    from mlops.workflows.deploy_options import Words, ask
    from mlops.workflows.preflight import preflight

    named: dict[str, Any] = {
        "ab": ab,
        "model": model,
        "arms": arm or (),
        "canary": canary,
        "ramp": {"steps": ramp, "every": every, "advance": advance, "auto": auto},
        "split": split,
        "shadows": shadow or (),
    }
    check_words(**named, file=file)
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
        "deploy.policy": with_option(with_option(policy, "floor", floor), "features", features),
        "deploy.redraw": redraw or None,
        "deploy.runtime": runtime,
        "deploy.tls_cert": str(tls_cert.absolute()) if tls_cert else None,
        "deploy.tls_key": str(tls_key.absolute()) if tls_key else None,
        "deploy.tls_client_ca": str(tls_client_ca.absolute()) if tls_client_ca else None,
        "deploy.tls_client_crl": str(tls_client_crl.absolute()) if tls_client_crl else None,
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
        "feedback.decision_rule": decision_rule,
    }
    settings = load_settings(flags=flags)
    if not no_preflight:
        preflight(settings, write=False)
    words = Words(
        models=named,
        file=file,
        target=target,
        platform={"version": platform_version, "mode": mode, "split": traffic_by},
        router=router,
        apply=apply,
        reset=tuple(reset or ()),
        dry_run=dry_run,
        policy={} if policy else {"floor": floor, "features": features},
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
        "--tls-client-crl": tls_client_crl,
        "--insecure-no-auth": insecure_no_auth,
        "--new-key": new_key,
        "--new-journal": new_journal,
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
    }
    takes = open_target(asked.settings, asked.target).takes
    if SERVER not in takes:
        # A name of this machine may be taken over, too.
        only_applied["--force-conflicts"] = force_conflicts
    of_cluster = {"--apply": apply, **only_applied}
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
