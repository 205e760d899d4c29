"""A Ray cluster of this test run's own, as `ray start` makes one, with its job server."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from ernie_ray.cli.free_ports import free_ports
from ernie_ray.environment import serve_environment

_START_S = 90
_AGENT_PORTS = (
    "ray-client-server-port",
    "dashboard-agent-listen-port",
    "dashboard-agent-grpc-port",
    "metrics-export-port",
)
_SERVE_PORTS = (
    "RAY_SERVE_HAPROXY_STATS_PORT",
    "RAY_SERVE_HAPROXY_METRICS_PORT",
    "RAY_SERVE_FALLBACK_PROXY_HTTP_PORT",
)
_RAY = str(Path(sys.executable).with_name("ray"))


@dataclass(frozen=True)
class Cluster:
    """A running cluster.

    Attributes:
        jobs_url: Address of its job server.
        environment: Environment in which commands reach it.
    """

    jobs_url: str
    environment: dict[str, str]

    def submit(self, working_dir: Path, *command: str) -> subprocess.CompletedProcess[str]:
        """Run a command as a submitted job and wait for its end."""
        submit = [_RAY, "job", "submit", "--address", self.jobs_url, "--working-dir"]
        return subprocess.run(
            [*submit, str(working_dir), "--", *command],
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=280,
            check=False,
        )


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """One node with 4 logical CPUs that asks every client for a token."""
    gcs_port, dashboard_port, *others = free_ports(2 + len(_AGENT_PORTS) + len(_SERVE_PORTS))
    agent_ports, serve_ports = others[: len(_AGENT_PORTS)], others[len(_AGENT_PORTS) :]
    with ExitStack() as stack:
        session = tmp_path_factory.mktemp("ray")
        environment = {
            **{k: v for k, v in os.environ.items() if not k.startswith("RAY_ADDR")},
            **serve_environment(environ={}),
            **{name: str(port) for name, port in zip(_SERVE_PORTS, serve_ports, strict=True)},
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN": "a-token-of-this-test-run-0123456789abcdef",
        }
        command = [_RAY, "start", "--head", "--block", "--num-cpus=4"]
        command += [f"--port={gcs_port}", f"--dashboard-port={dashboard_port}"]
        command += [f"--object-store-memory={256 << 20}"]
        # Their defaults are fixed numbers, which another Ray on the machine may hold.
        command += [
            f"--{option}={port}" for option, port in zip(_AGENT_PORTS, agent_ports, strict=True)
        ]
        log = stack.enter_context((session / "start.log").open("w"))
        process = subprocess.Popen(
            command, env=environment, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
        )
        stack.callback(_end, process)
        url = f"http://127.0.0.1:{dashboard_port}"
        _wait_for_jobs(process, url, session / "start.log", environment["RAY_AUTH_TOKEN"])
        yield Cluster(url, environment)


def _end(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGINT)  # ends what it started; SIGTERM would drain the node first
    try:
        process.wait(timeout=30)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _wait_for_jobs(process: subprocess.Popen[bytes], url: str, log: Path, token: str) -> None:
    request = urllib.request.Request(
        f"{url}/api/jobs/", headers={"Authorization": f"Bearer {token}"}
    )
    deadline = time.monotonic() + _START_S
    while time.monotonic() < deadline:
        assert process.poll() is None, log.read_text()
        try:
            with urllib.request.urlopen(request, timeout=5):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.5)
    raise AssertionError(f"no job server after {_START_S} s:\n{log.read_text()}")
