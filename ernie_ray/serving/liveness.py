"""One real forward for all who ask whether the engines still work, at most once a second.

Anyone may ask, without a key, so that asking often must cost nothing. Knows nothing of models.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

from ernie_ray.errors import UnavailableError

_PERIOD_S = 1.0


class Liveness:
    """Remembers how the last forward went."""

    def __init__(self, forward: Callable[[], Awaitable[None]], *, timeout_s: float = 20.0) -> None:
        """Watch engines.

        Args:
            forward: Runs a forward through each of them; raises whatever a broken one raises.
            timeout_s: After so many seconds without an end an engine hangs.
        """
        self._forward = forward
        self._timeout_s = timeout_s
        self._last: asyncio.Future[None] | None = None
        self._started_s = 0.0

    async def check(self) -> None:
        """Wait for a forward of the last second, or for a new one.

        Raises:
            UnavailableError: An engine failed, or hangs; a forward that hangs is not started again.
        """
        now_s = time.monotonic()
        if self._last is None or (self._last.done() and now_s - self._started_s > _PERIOD_S):
            self._last = asyncio.ensure_future(self._forward())
            self._started_s = now_s
        done, _ = await asyncio.wait({self._last}, timeout=self._timeout_s)
        if not done:
            raise UnavailableError(f"no forward ended within {self._timeout_s:.0f} s")
        try:
            self._last.result()
        except Exception as error:  # whatever the engine raised
            raise UnavailableError(f"a forward failed: {error}") from error
