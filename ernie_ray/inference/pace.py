"""How fast an engine works, from the batches that it has done."""

from __future__ import annotations

import math

_NEWEST_SHARE = 0.2


class Pace:
    """A moving mean over batches, in padded tokens a second of one slot.

    Small batches are slower by the token, so while few texts wait it is an underestimate; batches
    that grow correct it within a few turns.

    Attributes:
        tokens_per_s: The mean; 0 before the first batch.
    """

    def __init__(self) -> None:
        """Know nothing yet."""
        self.tokens_per_s = 0.0

    def add(self, num_tokens: int, seconds: float) -> None:
        """Take in a batch of so many padded tokens."""
        rate = num_tokens / max(seconds, 1e-6)
        if self.tokens_per_s:
            self.tokens_per_s += _NEWEST_SHARE * (rate - self.tokens_per_s)
        else:
            self.tokens_per_s = rate

    def tokens_in(self, seconds: float) -> float:
        """Tokens that take so long; infinite before the first batch."""
        return self.tokens_per_s * seconds if self.tokens_per_s else math.inf
