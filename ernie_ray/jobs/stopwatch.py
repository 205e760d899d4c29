"""Seconds of the stages of a job."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def timed(seconds: dict[str, float], stage: str) -> Iterator[None]:
    """Add how long the block took, even if it raises.

    Args:
        seconds: Seconds by stage; the stage's are added to what it has.
        stage: Its name.
    """
    start = time.monotonic()
    try:
        yield
    finally:
        seconds[stage] = round(seconds.get(stage, 0.0) + time.monotonic() - start, 2)
