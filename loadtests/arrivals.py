"""Intended send times of open-loop traffic: fixed before the first request is sent."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def intended_times(
    arrivals: str, rate: float, seconds: float, *, seed: str, share: tuple[int, int] = (0, 1)
) -> NDArray[np.float64]:
    """Times at which one process is to send.

    A Poisson process is the sum of independent ones with a part of its rate; constant arrivals
    are dealt out in turn.

    Args:
        arrivals: ``poisson`` or ``constant``.
        rate: Requests a second of all processes together.
        seconds: Length of the phase.
        seed: Of the Poisson process; must differ between processes.
        share: Index of this process, and how many there are.

    Returns:
        Seconds from the start of the phase, ascending. [requests]
    """
    index, count = share
    if rate <= 0:
        return np.empty(0)
    if arrivals == "constant":
        every = np.arange(round(rate * seconds)) / rate
        return every[index::count]
    rng = np.random.default_rng(list(seed.encode()))
    mean = rate * seconds / count
    # Given their number, the arrivals of a Poisson process are independent and uniform.
    return np.sort(rng.uniform(0, seconds, rng.poisson(mean)))
