"""Our service, started as a user starts it: `ernie-ray serve`."""

from __future__ import annotations

import sys
from collections.abc import Iterator

from loadtests.fleet import Address
from loadtests.targets.target import Command, Running, Start, Target, free_ports, run_command


class Ours(Target):
    """`ernie-ray serve` over HTTP, by one of its routes.

    Options: ``engine``, ``precision``, ``num_cpus`` (of one replica).
    """

    def __init__(self, name: str, dialect: str, start: Start) -> None:
        self.name, self._dialect, self._start = name, dialect, start

    def prepare(self) -> None:
        """Export the weights."""
        self._start.model_dir()

    def running(self) -> Iterator[Running]:
        """See Target."""
        port = free_ports()
        url = f"http://127.0.0.1:{port}"
        arguments = [sys.executable, "-m", "ernie_ray", "serve", str(self._start.model_dir())]
        arguments += ["--port", str(port), "--num-replicas", str(self._start.num_replicas)]
        for key, value in self._start.options.items():
            arguments += [f"--{key.replace('_', '-')}", value]
        yield from run_command(
            self.name,
            Command(
                arguments,
                Address(url, self._dialect),
                ready=f"{url}/ready",
                replica="ServeReplica",
            ),
        )
