"""Processes that this one started, at some remove."""

from __future__ import annotations

import os
import signal
from pathlib import Path


def kill_descendant(name: bytes) -> int | None:
    """SIGKILL the first such process with this in its command line; gives its pid, if any."""
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if name in (entry / "cmdline").read_bytes() and _is_descendant(int(entry.name)):
                os.kill(int(entry.name), signal.SIGKILL)
                return int(entry.name)
        except OSError:  # it ended meanwhile
            continue
    return None


def _is_descendant(pid: int) -> bool:
    while pid > 1:
        if pid == os.getpid():
            return True
        pid = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    return False
