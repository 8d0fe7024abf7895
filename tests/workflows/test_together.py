"""Two people change one deployment at once."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from mlops.deployment import ledgers
from mlops.deployment.local_revision import apply, prepare
from mlops.deployment.request import read_request
from mlops.deployment.spec_making import make_spec
from mlops.errors import ConflictError
from mlops.registry.ledger import Intent
from tests.fixtures_deployment import Shop, open_shop
from tests.fixtures_training import TrainedWine


def test_the_second_gets_a_conflict_and_the_difference(wine_shop: Shop) -> None:
    settings = wine_shop.settings
    request = read_request(settings, ab=("modelA", "modelB"), split="30/70")
    spec = make_spec(settings, request)
    prepared = prepare(settings, spec)
    # While I look at my plan somebody else is quicker.
    wine_shop.ok("deploy", "--ab", "modelA", "modelB", "--split", "80/20")
    with pytest.raises(ConflictError) as caught:
        apply(settings, prepared, Intent("deploy", spec))
    assert caught.value.exit_code == 7
    assert "deployed revision 1 in the meantime" in caught.value.message
    assert "~ modelA  wine/1  30 %  (was 80 %)" in caught.value.message
    assert wine_shop.state.launch.served.revision.number == 1
    assert wine_shop.ledger.numbers() == [1]
    # Also where both want to change nothing but look at different things.
    prepared = prepare(settings, wine_shop.state.launch.served.revision.spec)
    wine_shop.ok("deploy", "--model", "wine/1")
    with pytest.raises(ConflictError):
        apply(settings, prepared, Intent("deploy", prepared.plan.after))

    # What is asked for and what they have deployed are the same: nothing is left to do.
    again = make_spec(settings, read_request(settings, ab=("modelA", "modelB"), split="30/70"))
    prepared = prepare(settings, again)
    assert prepared.plan.kind == "update"
    wine_shop.ok("deploy", "--ab", "modelA", "modelB", "--split", "30/70")
    deployed = apply(settings, prepared, Intent("deploy", again))
    assert (deployed.revision, deployed.plan.kind) == (3, "nothing")
    assert wine_shop.ledger.numbers()[0] == 3

    both = [_start(wine_shop, split) for split in ("10/90", "20/80")]
    outputs = [process.communicate(timeout=180) for process in both]
    codes = [process.returncode for process in both]
    # One after the other, or one of them refused; never both at once.
    assert sorted(codes) in ([0, 0], [0, 7]), outputs
    for code, (_, err) in zip(codes, outputs, strict=True):
        assert (code == 7) == ("in the meantime" in err)
    history = wine_shop.ledger.history()
    assert wine_shop.ledger.pending() == []
    assert [entry.state for entry in history].count("live") == 1
    served = wine_shop.state.launch.served.revision
    live = wine_shop.ledger.live()
    assert live is not None
    assert (served.number, served.spec) == (live.number, live.intent.spec)
    assert live.number == 3 + codes.count(0)


def _start(shop: Shop, split: str) -> subprocess.Popen[str]:
    environ = {k: v for k, v in os.environ.items() if not k.startswith(("MLFLOW_", "MLOPS_"))}
    return subprocess.Popen(
        [sys.executable, "-m", "mlops", "deploy", "--ab", "modelA", "modelB", "--split", split],
        cwd=shop.folder,
        env=environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_a_colleague_at_work_elsewhere(
    wine_shop: Shop, trained_wine: TrainedWine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A shared MLflow: what they have begun is theirs to finish, unless they are long gone."""
    theirs = open_shop(trained_wine, wine_shop.folder.parent / "theirs")
    shared = {"MLFLOW_TRACKING_URI": f"sqlite:///{theirs.folder}/.mlops/mlflow.db"}
    ours = Shop(wine_shop.folder, environ={**shared, "MLOPS_DEPLOY_NAME": "wine"})
    request = read_request(theirs.settings, ab=("modelA", "modelB"))
    number = theirs.ledger.begin(Intent("deploy", make_spec(theirs.settings, request)), 0)
    refused = ours.run("deploy", "--model", "wine/1", "--json")
    assert refused.code == 7
    assert "is deploying revision 1 in the meantime" in refused.error["message"]
    assert "- modelB  wine/2" in refused.error["message"]
    assert [entry.number for entry in theirs.ledger.pending()] == [number]
    monkeypatch.setattr(ledgers, "_OTHERS_MAY_TAKE_MS", 0)
    assert ours.ok("deploy", "--model", "wine/1", "--json").document["revision"] == 2
    assert theirs.ledger.entry(1).state == "failed"
