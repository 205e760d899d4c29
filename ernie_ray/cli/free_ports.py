"""Ports for servers that are about to start on this machine.

Does not hold them: whoever starts later may still be quicker.
"""

from __future__ import annotations

import random
import socket
from contextlib import ExitStack

_PORTS = range(20_000, 32_000)
"""Above the ports of Ray's workers (10,002 to 19,999) and below those that Linux gives to outgoing
connections (32,768 on): Ray opens hundreds of those while it starts."""


def free_ports(count: int) -> list[int]:
    """Find ports that nobody listens on.

    Args:
        count: How many, all different.

    Returns:
        The ports.

    Raises:
        OSError: There are not so many.
    """
    found: list[int] = []
    with ExitStack() as stack:
        for port in random.sample(_PORTS, len(_PORTS)):
            if len(found) == count:
                return found
            probe = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_STREAM))
            try:
                probe.bind(("", port))
            except OSError:
                continue
            found.append(port)
    raise OSError(f"no {count} free ports from {_PORTS.start} to {_PORTS.stop - 1}")
