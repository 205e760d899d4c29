"""A Ray of several nodes on one machine: each node is a raylet of its own, started by `ray start`.

For trying on a laptop what runs on a cluster later. CPUs and GPUs are logical: Ray schedules by
them, and a GPU that is not there cannot be computed on. Every port is a free one, so that several
Rays fit on a machine. Ends only what it started, by pid. Does not know what runs on the cluster.
"""

from __future__ import annotations

import json
import os
import secrets
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ernie_ray.cli.free_ports import free_ports
from ernie_ray.environment import cluster_environment
from ernie_ray.errors import ErnieRayError
from ernie_ray.serving.haproxy import end_haproxies

_START_S = 120.0
_END_S = 30.0
# Their defaults are fixed numbers, which another node on the machine holds.
_PORT_OPTIONS = ("dashboard-agent-listen-port", "dashboard-agent-grpc-port", "metrics-export-port")
# A killed node is noticed after five refused connections, a second apart. Ray's own 3 s, 10 s and 5
# suit machines that may be slow; one that is slow here still has 25 s to answer.
_FAILURE_DETECTION = {
    "RAY_health_check_initial_delay_ms": "5000",
    "RAY_health_check_period_ms": "1000",
    "RAY_health_check_timeout_ms": "5000",
    "RAY_health_check_failure_threshold": "5",
}
_ADDRESSES = ("RAY_ADDRESS", "RAY_API_SERVER_ADDRESS", "RAY_DASHBOARD_ADDRESS")
_PORT_VARIABLES = (
    "RAY_SERVE_WORKER_PROXY_HTTP_PORT",
    "RAY_SERVE_WORKER_PROXY_GRPC_PORT",
    "RAY_SERVE_HAPROXY_STATS_PORT",
    "RAY_SERVE_HAPROXY_METRICS_PORT",
    "RAY_SERVE_FALLBACK_PROXY_HTTP_PORT",
)


@dataclass(frozen=True)
class Shape:
    """What to start.

    Attributes:
        num_nodes: Raylets, the head among them.
        cpus_per_node: Logical CPUs of each.
        gpus_per_node: Logical GPUs of each.
        store_bytes: Object store of each.
        uses_token: Ask every client for a token.
        environment: Further variables for every node, e.g. ``RAY_testing_rpc_failure``.
    """

    num_nodes: int = 3
    cpus_per_node: int = 2
    gpus_per_node: int = 0
    store_bytes: int = 256 << 20
    uses_token: bool = True
    environment: Mapping[str, str] | None = None


@dataclass(frozen=True)
class LocalNode:
    """One running node.

    Attributes:
        process: Its ``ray start --block``, which starts the others and ends with them.
        raylet_pid: Killing this process is what a machine's failure looks like.
        node_id: Ray's name for it, hexadecimal.
    """

    process: subprocess.Popen[bytes]
    raylet_pid: int
    node_id: str

    def remove(self) -> None:
        """Kill the raylet, and wait until its node's other processes have gone, too."""
        with suppress(ProcessLookupError):
            os.kill(self.raylet_pid, signal.SIGKILL)
        _wait(self.process, _END_S)


class LocalCluster:
    """A running cluster, as ``local_cluster`` gives it.

    Attributes:
        address: For ``--address`` and ``RAY_ADDRESS``, ``host:port``.
        jobs_url: Address of the job server and dashboard.
        nodes: The head first; removed ones stay in the list.
        variables: What a client must set to reach it.
        folder: Ray's temporary folder with its logs, for as long as the cluster runs.
    """

    def __init__(self, shape: Shape, folder: Path) -> None:
        """Choose ports and a token; nothing starts yet."""
        self._shape = shape
        self.folder = folder
        self._ports = free_ports(3)
        self.address = f"127.0.0.1:{self._ports[0]}"
        self.jobs_url = f"http://127.0.0.1:{self._ports[1]}"
        self.nodes: list[LocalNode] = []
        self._processes: list[subprocess.Popen[bytes]] = []
        # The last is what `serve deploy` reads.
        addresses = (self.address, self.jobs_url, self.jobs_url)
        self.variables = dict(zip(_ADDRESSES, addresses, strict=True)) | cluster_environment()
        self.variables["RAY_AUTH_MODE"] = "token" if shape.uses_token else "disabled"
        if shape.uses_token:
            token = os.environ.get("RAY_AUTH_TOKEN") or secrets.token_hex(32)
            self.variables["RAY_AUTH_TOKEN"] = token

    def environment(self) -> dict[str, str]:
        """Environment of a command that shall reach the cluster."""
        return {**_clean_environment(), **self.variables}

    def export_line(self) -> str:
        """Line for a shell."""
        pairs = (f"{name}={shlex.quote(value)}" for name, value in self.variables.items())
        return "export " + " ".join(pairs)

    def add_nodes(self, count: int) -> None:
        """Start nodes and wait until they are there; the first of all is the head.

        Raises:
            ErnieRayError: One did not start; the message holds the end of its log.
        """
        for _ in range(count):
            options = [f"--address={self.address}"]
            if not self.nodes:
                options = ["--head", f"--port={self._ports[0]}"]
                options.append(f"--dashboard-port={self._ports[1]}")
                options.append(f"--ray-client-server-port={self._ports[2]}")
            # In a shared folder one node would delete the uploaded files that another uses.
            options.append(f"--temp-dir={self.folder}/{len(self.nodes)}")
            environment = {**_FAILURE_DETECTION, **(self._shape.environment or {})}
            for name, value in self.environment().items():
                if name not in _ADDRESSES:
                    environment[name] = value
            log = self.folder / f"node-{len(self.nodes)}.log"
            process = _start(options, self._shape, environment, log)
            self._processes.append(process)
            self.nodes.append(self._wait_for_node(process, log))

    def _wait_for_node(self, process: subprocess.Popen[bytes], log: Path) -> LocalNode:
        deadline_s = time.monotonic() + _START_S
        while process.poll() is None and time.monotonic() < deadline_s:
            pid, node_id = _raylet_of(process.pid)
            if pid and node_id in self._alive_ids():
                return LocalNode(process, pid, node_id)
            time.sleep(0.3)
        tail = log.read_text(errors="replace").splitlines()[-15:]
        number = len(self.nodes)
        raise ErnieRayError(
            "\n".join([f"node {number} of the local cluster did not start:", *tail])
        )

    def _alive_ids(self) -> set[str]:
        token = self.variables.get("RAY_AUTH_TOKEN", "")
        body: Any = {}
        try:
            # The job server comes up last; a node counts only once jobs can be submitted.
            for path in ("/api/jobs/", "/nodes?view=summary"):
                request = urllib.request.Request(
                    self.jobs_url + path, headers={"Authorization": f"Bearer {token}"}
                )
                with urllib.request.urlopen(request, timeout=5) as answer:
                    body = json.load(answer)
        except (urllib.error.URLError, OSError, ValueError):
            return set()
        raylets = [node.get("raylet", {}) for node in body["data"]["summary"]]
        return {raylet["nodeId"] for raylet in raylets if raylet.get("state") == "ALIVE"}

    def end(self) -> None:
        """End every node, workers before the head, which they would miss."""
        for group in (self._processes[1:], self._processes[:1]):
            for process in group:
                if process.poll() is None:
                    # Ends what `ray start --block` started; SIGTERM would drain the node first.
                    process.send_signal(signal.SIGINT)
            for process in group:
                _wait(process, _END_S)
        end_haproxies([node.node_id for node in self.nodes])


@contextmanager
def local_cluster(shape: Shape) -> Iterator[LocalCluster]:
    """Have a cluster while the block runs.

    Raises:
        ErnieRayError: A node did not start; the message holds the end of its log.
    """
    # Unix sockets lie in it, whose paths may have 107 bytes.
    folder = Path(tempfile.mkdtemp(prefix="ernie-ray-"))
    cluster = LocalCluster(shape, folder)
    try:
        cluster.add_nodes(shape.num_nodes)
        yield cluster
    finally:
        cluster.end()
        shutil.rmtree(folder, ignore_errors=True)


def _start(
    command: list[str], shape: Shape, environment: dict[str, str], log: Path
) -> subprocess.Popen[bytes]:
    ports = free_ports(len(_PORT_OPTIONS) + len(_PORT_VARIABLES))
    options = [f"--{option}={port}" for option, port in zip(_PORT_OPTIONS, ports, strict=False)]
    serve_ports = [str(port) for port in ports[len(_PORT_OPTIONS) :]]
    options += [f"--num-cpus={shape.cpus_per_node}", f"--num-gpus={shape.gpus_per_node}"]
    options += [f"--object-store-memory={shape.store_bytes}"]
    # Any free port for each worker: the default ranges of two nodes would be the same.
    options += ["--min-worker-port=0", "--max-worker-port=0", "--block"]
    with log.open("wb") as stream:
        return subprocess.Popen(
            [str(Path(sys.executable).with_name("ray")), "start", *command, *options],
            env={**dict(zip(_PORT_VARIABLES, serve_ports, strict=True)), **environment},
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C in the terminal is for us; we end nodes in order
        )


def _clean_environment() -> dict[str, str]:
    # Where another cluster is, this one's processes must not know; where our Python is, they must.
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("RAY_ADDRESS", "RAY_API_"))}
    kept["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{kept.get('PATH', '')}"
    return kept


def _raylet_of(parent_pid: int) -> tuple[int, str]:
    """Pid and node id of the raylet that a process started; 0 and "" if there is none yet."""
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parent = (folder / "stat").read_text().rpartition(")")[2].split()[1]
            words = (folder / "cmdline").read_bytes().decode(errors="replace").split("\0")
        except OSError:  # it ended meanwhile
            continue
        if int(parent) == parent_pid and words[0].endswith("/raylet"):
            ids = [word.partition("=")[2] for word in words if word.startswith("--node_id=")]
            return int(folder.name), ids[0] if ids else ""
    return 0, ""


def _wait(process: subprocess.Popen[bytes], timeout_s: float) -> None:
    try:
        process.wait(timeout=timeout_s)
    except subprocess.TimeoutExpired:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # its own session, so only what it started
        process.wait()
