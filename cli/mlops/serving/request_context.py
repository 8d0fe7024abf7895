"""What a transport passes to the data plane about a request, beside its rows."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class RequestContext:
    """One request, independent of the transport.

    Every transport fills it: HTTP from path and headers, gRPC from the message and its metadata.

    Attributes:
        protocol: Name of the protocol, for the journal and the metrics.
        size: Bytes of its body.
        started_ns: `time.perf_counter_ns` when the request had been read.
        model: Model that it names; empty if it names none.
        version: Version of it that it names, which is an arm; empty if it names none.
        forced_arm: Arm that a tester asks for; empty for none.
        idempotency_key: Two requests with the same one are one decision; empty for none.
        unit: Value of the header or metadata entry by which this deployment is sticky
            (`LiveRevision.unit_header`); empty if there is none.
        deadline_s: How long the caller waits; None if it does not say.
        key_id: Id of the API key that it came with; None for none.
        may_force: Whether its caller may choose the arm.
    """

    protocol: str
    size: int
    started_ns: int
    model: str = ""
    version: str = ""
    forced_arm: str = ""
    idempotency_key: str = ""
    unit: str = ""
    deadline_s: float | None = None
    key_id: str | None = None
    may_force: bool = False
