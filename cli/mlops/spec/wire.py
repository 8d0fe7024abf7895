"""A wire protocol from the client's side: its names, paths and health.

One record for a protocol; REFs of endpoints, `--protocol`, recognising a URL and asking for health
all read it. A protocol has the name of its codec (`mlops.protocols.CODECS`), and a short one
that is in REFs, which the ledger keeps.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from mlops.plugins import Plugins


@dataclass(frozen=True, slots=True)
class Wire:
    """A protocol, as its clients see it.

    Attributes:
        name: Its name, as of the door.
        short: Its name in a REF.
        path: Matches the path of a URL that names a model, with the groups `base` (what a gateway
            wants before), `path` (of the model) and `model`. The end may be written or left out.
        end: What follows the model's path to predict.
        example: A REF.
        health: URL of the model's health; `{url}` is that of the model, `{base}` of the server.
        signs: Match paths that no other protocol has; with the groups `base` and `path`.
        names_model: Whether a URL has to name a model.
        answers_anything: Whether any answer at the health's URL will do, as servers of the protocol
            differ in it.
    """

    name: str
    short: str
    path: re.Pattern[str]
    end: str
    example: str
    health: str
    signs: tuple[re.Pattern[str], ...] = ()
    names_model: bool = False
    answers_anything: bool = False


SELDON = Wire(
    name="seldon-v1",
    short="seldon",
    path=re.compile(r"(?P<base>.*?)(?P<path>)(?P<model>)(/api/v[01]\.[01](/predictions)?)?"),
    end="/api/v1.0/predictions",
    example="seldon+http://host:9000",
    health="{base}/ready",
    signs=(
        re.compile(r"(?P<base>.*?)(?P<path>)/api/v[01]\.[01](/predictions|/feedback)?"),
        re.compile(r"(?P<base>(.*/)?seldon/[^/]+(/[^/]+)?)(?P<path>)"),
    ),
    # Its wrapper and its executor have different health paths.
    answers_anything=True,
)
_V2 = re.compile(r"(?P<base>.*)(?P<path>/v2/models/(?P<model>[^/]+)(/versions/[^/]+)?)(/infer)?")
V2 = Wire(
    name="open-inference",
    short="v2",
    path=_V2,
    end="/infer",
    example="v2+http://host:8080/v2/models/NAME",
    health="{url}/ready",
    signs=(_V2,),
    names_model=True,
)
_V1 = re.compile(r"(?P<base>.*)(?P<path>/v1/models/(?P<model>[^/:]+))(:predict)?")
KSERVE = Wire(
    name="kserve-v1",
    short="kserve",
    path=_V1,
    end=":predict",
    example="kserve+http://host/v1/models/NAME",
    health="{url}",
    signs=(_V1,),
    names_model=True,
)
MLFLOW = Wire(
    name="mlflow",
    short="mlflow",
    path=re.compile(r"(?P<base>.*?)(?P<path>)(?P<model>)(/invocations)?"),
    end="/invocations",
    example="mlflow+http://host:5000",
    health="{base}/ping",
    signs=(re.compile(r"(?P<base>.*)(?P<path>)/invocations"),),
)

#: Every protocol that an endpoint can speak, by its short name.
WIRES: Plugins[Wire] = Plugins(
    "endpoint protocol",
    {
        "seldon": "mlops.spec.wire:SELDON",
        "v2": "mlops.spec.wire:V2",
        "kserve": "mlops.spec.wire:KSERVE",
        "mlflow": "mlops.spec.wire:MLFLOW",
    },
    group="mlops.wires",
    needs=("name", "short", "path", "end", "example", "health"),
)


def find_wire(name: str) -> Wire | None:
    """Return the protocol of a name, the short one or the codec's; None if there is none.

    >>> find_wire("open-inference").short, find_wire("v2").name
    ('v2', 'open-inference')
    >>> find_wire("git") is None
    True
    """
    for wire in _OURS:
        if name in (wire.short, wire.name):
            return wire
    return WIRES.load(name) if name in WIRES else None


_OURS = (SELDON, V2, KSERVE, MLFLOW)
