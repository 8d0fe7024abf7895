"""Who may do what, decided once for all transports.

A transport gives the `Gate` what a caller sent (a bearer token, the names in its certificate) and
what the call needs, from the one table in `needs`. The gate answers with a `Grant`, which says
whose key it was and what else it allows, or raises what is wrong.

Nothing here is asked again for a head of a request that is known: the gate remembers grants by the
bytes of the header, and forgets all of them when keys change. So the price of a key is a look into
a dictionary and a look at two clocks, and a revoked key counts no longer after `watch.EVERY_S`.
"""

from mlops.serving.access.gate import Gate
from mlops.serving.access.grants import Grant

__all__ = ["Gate", "Grant"]
