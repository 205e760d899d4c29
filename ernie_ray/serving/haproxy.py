"""Find the HAProxy processes of one Ray node, and end those that outlived their Ray.

Serve starts HAProxy as a child of an actor. If that actor is killed, HAProxy lives on and keeps its
ports, so that whoever stops a Ray on this machine looks for it. Linux only, where Serve has one.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path


def haproxy_pids(node_ids: Iterable[str]) -> list[int]:
    """Process ids of the HAProxies that serve these Ray nodes.

    Args:
        node_ids: Hexadecimal node ids; each HAProxy's configuration lies in a folder so named.
    """
    markers = [f"/{node_id}/".encode() for node_id in node_ids]
    return [
        int(folder.name)
        for folder in Path("/proc").glob("[0-9]*")
        if _is_haproxy_of(_command_line(folder), markers)
    ]


def end_haproxies(node_ids: Iterable[str], *, grace_s: float = 5.0) -> list[int]:
    """End the HAProxies of these nodes that are still there.

    Args:
        node_ids: Nodes that this process started, and has stopped.
        grace_s: Seconds from asking one to end until it is killed.

    Returns:
        The pids that were ended, each by its own number.
    """
    node_ids = list(node_ids)
    found = haproxy_pids(node_ids)
    _send(found, signal.SIGTERM)
    deadline_s = time.monotonic() + grace_s
    while (left := haproxy_pids(node_ids)) and time.monotonic() < deadline_s:
        time.sleep(0.05)
    _send(left, signal.SIGKILL)
    return found


def _send(pids: Iterable[int], number: signal.Signals) -> None:
    for pid in pids:
        # It may have ended meanwhile.
        with suppress(ProcessLookupError):
            os.kill(pid, number)


def _command_line(folder: Path) -> bytes:
    try:
        return (folder / "cmdline").read_bytes()
    except OSError:  # it ended, or is another user's
        return b""


def _is_haproxy_of(command_line: bytes, markers: list[bytes]) -> bool:
    program = command_line.split(b"\0", 1)[0]
    return program.endswith(b"haproxy") and any(marker in command_line for marker in markers)
