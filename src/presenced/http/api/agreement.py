"""Waiting until all nodes of a cluster have what a command has decided."""

from __future__ import annotations

import asyncio

from presenced.http.api.endpoint import Api
from presenced.http.errors import unavailable
from presenced.protocols.v1.certainty import STALE

AGREEMENT_TIMEOUT_S = 2.0
"""Seconds that a command waits for the other nodes. After that the request gets 503."""


async def wait_for_agreement(api: Api, user_id: str) -> str:
    """Wait until all nodes have what this one has decided about a user. A single node does not wait.

    Returns:
        `certainty` of the response: `STALE` if the store is out of reach, so that the other nodes learn of the
        decision later; otherwise empty.

    Raises:
        ProblemError: The other nodes have not confirmed the decision within `AGREEMENT_TIMEOUT_S`.
        CapacityError: Too many commands wait.
    """
    answered: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
    end = api.service.when_agreed(user_id, lambda found: None if answered.done() else answered.set_result(found))
    if end is None:
        return ""
    try:
        async with asyncio.timeout(AGREEMENT_TIMEOUT_S):
            return "" if await answered else STALE
    except TimeoutError:
        raise unavailable(
            f"the other nodes have not confirmed this within {AGREEMENT_TIMEOUT_S:g} s; "
            "it may still take effect; send it again"
        ) from None
    finally:
        end()
