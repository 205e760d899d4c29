"""Keeps the memory of one training step for the next.

Knows glibc's allocator alone; nothing of Paddle, whose CPU tensors come from it.
"""

from __future__ import annotations

import ctypes
import os

_TRIM_THRESHOLD = -1  # M_TRIM_THRESHOLD and M_MMAP_THRESHOLD of glibc's malloc.h
_MMAP_THRESHOLD = -3
_MOST_KEPT = 2**31 - 1
_LARGEST_FROM_HEAP = 32 * 2**20  # larger values are refused (HEAP_MAX_SIZE / 2)
VARIABLES = ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "GLIBC_TUNABLES")
"""By which users set the allocator; where one is there, nothing is changed."""


def keep_freed_memory() -> bool:
    """Let glibc keep up to 2 GiB of freed memory, instead of giving it back to the system.

    A training step frees and takes the same hundreds of megabytes each time; given back, each page
    is zeroed and mapped anew. See decision 0004 for what that costs.

    Returns:
        Whether it was done: not where the user set the allocator's own variables, nor where the C
        library is not glibc.
    """
    if any(name in os.environ for name in VARIABLES):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    values = ((_MMAP_THRESHOLD, _LARGEST_FROM_HEAP), (_TRIM_THRESHOLD, _MOST_KEPT))
    return all(mallopt(name, value) == 1 for name, value in values)
