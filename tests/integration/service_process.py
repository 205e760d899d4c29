"""`ernie-ray serve` as a process of its own, for tests that ask it over the network."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
from contextlib import contextmanager
from pathlib import Path

START_S = 120
STOP_S = 60


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def environment(session_dir):
    # Marks every process of the service, so that whatever stays behind can be found, and keeps
    # its Ray apart from that of other tests.
    inherited = {k: v for k, v in os.environ.items() if not k.startswith(("RAY_AUTH", "RAY_ADDR"))}
    return {**inherited, "ERNIE_RAY_TEST_SERVICE": str(session_dir)}


def processes_of(session_dir):
    """Pids and command lines of all processes with the service's mark, zombies left out."""
    mark = f"ERNIE_RAY_TEST_SERVICE={session_dir}".encode()
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if mark in (folder / "environ").read_bytes().split(b"\0"):
                found[int(folder.name)] = (folder / "cmdline").read_bytes().replace(b"\0", b" ")
        except OSError:  # it ended meanwhile, or is another user's
            continue
    return found


class Service:
    """A running `ernie-ray serve` and what it printed."""

    def __init__(self, process, port, session_dir):
        self.process, self.port, self.session_dir = process, port, session_dir
        self.url = f"http://127.0.0.1:{port}"
        self.printed = ""

    def read_until(self, words):
        for line in self.process.stdout:
            self.printed += line
            if words in line:
                return
        raise AssertionError(f"it ended without saying {words!r}:\n{self.printed}")

    def stop(self, number=signal.SIGINT):
        self.process.send_signal(number)
        self.printed += self.process.communicate(timeout=STOP_S)[0]
        return self.process.returncode


@contextmanager
def running(model_dir, session_dir, *options):
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, "-m", "ernie_ray", "serve", str(model_dir), "--port", str(port), *options],
        env=environment(session_dir),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    service = Service(process, port, session_dir)
    too_late = threading.Timer(START_S, process.kill)
    too_late.start()
    try:
        service.read_until("curl")
        too_late.cancel()
        yield service
    finally:
        too_late.cancel()
        if process.poll() is None:
            service.stop()
        for pid in processes_of(session_dir):  # after a failure only; each by its own pid
            os.kill(pid, signal.SIGKILL)
