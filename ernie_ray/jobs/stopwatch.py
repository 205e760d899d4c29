"""Seconds of the stages of a job."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def timed(seconds: dict[str, float], stage: str) -> Iterator[None]:
    """Note how long the block took; nothing if it raises.

    Args:
        seconds: Gets the entry.
        stage: Its name.
    """
    start = time.monotonic()
    yield
    seconds[stage] = round(time.monotonic() - start, 2)
