"""Our service, started as a user starts it: `ernie-ray serve`."""

from __future__ import annotations

import sys
from collections.abc import Iterator

from loadtests.fleet import Address
from loadtests.targets.target import Command, Running, Start, Target, free_ports, run_command


class Ours(Target):
    """`ernie-ray serve` over HTTP, by one of its routes, or over gRPC.

    Options: ``engine``, ``precision``, ``num_cpus`` (of one replica).
    """

    def __init__(self, name: str, dialect: str, start: Start) -> None:
        self.name, self._dialect, self._start = name, dialect, start

    def prepare(self) -> None:
        """Export the weights."""
        self._start.model_dir()

    def running(self) -> Iterator[Running]:
        """See Target."""
        port = free_ports(2)
        url = f"http://127.0.0.1:{port}"
        address = Address(url, self._dialect)
        arguments = [sys.executable, "-m", "ernie_ray", "serve", str(self._start.model_dir())]
        arguments += ["--port", str(port), "--num-replicas", str(self._start.num_replicas)]
        if self._dialect == "grpc":
            address = Address(f"grpc://127.0.0.1:{port + 1}", self._dialect)
            arguments += ["--grpc-port", str(port + 1)]
        for key, value in self._start.options.items():
            arguments += [f"--{key.replace('_', '-')}", value]
        yield from run_command(
            self.name,
            Command(arguments, address, ready=f"{url}/ready", replica="ServeReplica"),
        )
