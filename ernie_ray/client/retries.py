"""When a request is sent again, and how long to wait before: a pure function of the reply."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass

_AFTER_A_WHILE = (429, 503)


@dataclass(frozen=True)
class Retries:
    """How patient a client is.

    Attributes:
        max_tries: Times that a request is sent at most; 1: never again.
        first_wait_s: Wait before the second try if the service names none; doubles from try to
            try.
        max_wait_s: Longest wait; if the service names a longer one, its error is raised at once.
    """

    max_tries: int = 5
    first_wait_s: float = 0.1
    max_wait_s: float = 30.0

    def wait_s(
        self, num_tries: int, status: int, headers: Mapping[str, str], draw: float | None = None
    ) -> float | None:
        """Seconds until the next try; None: give up.

        Args:
            num_tries: Times that it was sent so far.
            status: HTTP status of the reply; 0 if the connection broke.
            headers: Of the reply; names in lower case.
            draw: A random number from 0 to 1, which spreads clients that wait alike.
        """
        if num_tries >= self.max_tries or not _may_be_sent_again(status, headers):
            return None
        spread = random.random() if draw is None else draw
        named_s = _named_s(headers)
        if named_s is not None:
            # Never earlier than told: then it would be refused again.
            return named_s * (1 + 0.2 * spread) if named_s <= self.max_wait_s else None
        wait_s = min(self.first_wait_s * 2.0 ** (num_tries - 1), self.max_wait_s)
        return wait_s * (0.5 + 0.5 * spread)


def _may_be_sent_again(status: int, headers: Mapping[str, str]) -> bool:
    if status == 0 or status in _AFTER_A_WHILE:
        return True
    # The service's own errors are JSON; HAProxy's, for what reached no replica, are not.
    return status in (500, 502, 504) and "json" not in headers.get("content-type", "")


def _named_s(headers: Mapping[str, str]) -> float | None:
    for name, unit_s in (("retry-after-ms", 1e-3), ("retry-after", 1.0)):
        try:
            return max(float(headers[name]) * unit_s, 0.0)
        except (KeyError, ValueError):
            continue
    return None
