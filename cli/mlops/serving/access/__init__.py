"""Who may do what, decided once for all transports.

A transport gives the `Gate` what a caller sent (a bearer token, the names in its certificate) and
what the call needs, from the one table in `needs`. The gate answers with a `Grant`, which says
whose key it was and what else it allows, or raises what is wrong.

Nothing is checked again for request headers that are known: the gate caches grants by the
bytes of the header, and forgets all of them when keys change. So a key costs one look-up in
a dictionary and a look at two clocks, and a revoked key expires within `watch.EVERY_S`.
"""

from mlops.serving.access.gate import Gate
from mlops.serving.access.grants import Grant

__all__ = ["Gate", "Grant"]
