"""What a target is: something that can be prepared and then runs for a while at an address."""

from __future__ import annotations

import os
import random
import signal
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
import uuid
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from loadtests.bert_serving import ask_once
from loadtests.errors import LoadTestError, TargetUnavailableError
from loadtests.fleet import Address
from loadtests.processes import MARK, Pids, marked, name_of

_START_LIMIT_S = 300.0
_STOP_LIMIT_S = 60.0
_PORTS = range(32_000, 32_700)
"""Above those that `ernie-ray serve` takes for itself, below those of outgoing connections."""


@dataclass(frozen=True)
class Running:
    """A target that answers.

    Attributes:
        address: Where and how to ask it.
        pids: Its processes on this machine; empty if they cannot be seen.
        replica: Part of a replica's command line; None: it has no replicas to kill.
    """

    address: Address
    pids: Pids
    replica: str | None = None

    def kill_replica(self) -> None:
        """Kill one replica at once.

        Raises:
            LoadTestError: It has none.
        """
        found = [pid for pid in self.pids() if self.replica and self.replica in name_of(pid)]
        if not found:
            raise LoadTestError(f"{self.address.url} has no replica that could be killed")
        os.kill(min(found), signal.SIGKILL)


@dataclass(frozen=True)
class Start:
    """What a target needs to know to start.

    Attributes:
        weights: Encoder in Hugging Face's layout.
        model_dir: Gives the same as our model directory.
        num_replicas: Replicas, where a target has them.
        options: ``--set TARGET.KEY=VALUE`` of this target.
    """

    weights: Path
    model_dir: Callable[[], Path]
    num_replicas: int = 1
    options: dict[str, str] = field(default_factory=dict)


class Target(ABC):
    """A server to measure. Sub-classes are plug-ins: a name, what to install, how to start."""

    name: str

    @abstractmethod
    def prepare(self) -> None:
        """Install what it needs.

        Raises:
            TargetUnavailableError: It cannot be installed; the message is the reason.
        """

    @abstractmethod
    def running(self) -> Iterator[Running]:
        """Run it; a generator that yields once when it answers, and stops it afterwards."""

    @contextmanager
    def started(self) -> Iterator[Running]:
        """Context in which it answers."""
        yield from self.running()


@dataclass(frozen=True)
class Command:
    """A server's process.

    Attributes:
        arguments: Its command line.
        address: Where it will listen.
        ready: URL that answers 200 once it serves, or its ``tcp://`` address.
        environment: Variables on top of this process's.
        replica: See Running.
    """

    arguments: list[str]
    address: Address
    ready: str
    environment: dict[str, str] = field(default_factory=dict)
    replica: str | None = None


def run_command(name: str, command: Command) -> Iterator[Running]:
    """Start a server, wait until it answers, yield, stop it and all it started.

    Raises:
        TargetUnavailableError: It ended or did not answer; holds the end of what it printed.
    """
    mark = uuid.uuid4().hex
    environment = {**os.environ, **command.environment, MARK: mark}
    with tempfile.TemporaryFile("w+", errors="replace") as log:
        process = subprocess.Popen(
            command.arguments,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=environment,
            start_new_session=True,  # Ctrl-C ends the measurement, which then ends the server
        )
        try:
            deadline = time.monotonic() + _START_LIMIT_S
            while not _answers(command.ready):
                if process.poll() is not None or time.monotonic() > deadline:
                    log.seek(0)
                    printed = log.read().strip()[-1500:]
                    what = "ended" if process.poll() is not None else "did not answer in time"
                    raise TargetUnavailableError(f"{name} {what}; it printed:\n{printed}")
                time.sleep(0.2)
            yield Running(command.address, lambda: marked(mark), command.replica)
        finally:
            _stop(process, mark)


def free_ports(count: int = 1) -> int:
    """The first of some consecutive free TCP ports; Ray's own connections take none of them."""
    while True:
        port = random.choice(_PORTS)
        if all(_is_free(port + i) for i in range(count)):
            return port


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except (OSError, OverflowError):
            return False
    return True


def _answers(ready: str) -> bool:
    if ready.startswith("tcp://"):
        with suppress(TimeoutError):
            ask_once(ready, None, 0.5)
            return True
        return False
    with suppress(urllib.error.URLError, OSError), urllib.request.urlopen(ready, timeout=5):
        return True
    return False


def _stop(process: subprocess.Popen[bytes], mark: str) -> None:
    process.send_signal(signal.SIGINT)
    try:
        process.wait(timeout=_STOP_LIMIT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    # Whatever outlived it, each by its own pid.
    deadline = time.monotonic() + 5
    while (left := marked(mark)) and time.monotonic() < deadline:
        time.sleep(0.2)
    for pid in left:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
