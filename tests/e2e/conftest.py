"""Ray clusters of this test run's own, as `python -m cluster local` makes them."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from cluster.local_cluster import LocalCluster, Shape, local_cluster

RAY = str(Path(sys.executable).with_name("ray"))


@dataclass(frozen=True)
class Cluster:
    """A running cluster, and how a user's shell speaks to it.

    Attributes:
        local: Its nodes.
    """

    local: LocalCluster

    def job(self, verb: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run `ray job VERB`."""
        return subprocess.run(
            [RAY, "job", verb, *arguments],
            env=self.local.environment(),
            capture_output=True,
            text=True,
            timeout=400,
            check=False,
        )

    def submit(
        self, working_dir: Path, *command: str, options: tuple[str, ...] = ()
    ) -> subprocess.CompletedProcess[str]:
        """Run a command as a submitted job and, unless told otherwise, wait for its end."""
        return self.job("submit", *options, "--working-dir", str(working_dir), "--", *command)

    def raylets_with(self, words: str) -> dict[int, list[int]]:
        """Find worker processes by words in their title; gives pids by their raylet's pid."""
        found: dict[int, list[int]] = {}
        for node in self.local.nodes:
            for pid in _children(node.raylet_pid):
                if words in _title(pid):
                    found.setdefault(node.raylet_pid, []).append(pid)
        return found

    def remove(self, raylet_pid: int) -> None:
        """Kill a raylet, as a machine's failure would."""
        (node,) = (n for n in self.local.nodes if n.raylet_pid == raylet_pid)
        node.remove()

    @property
    def head_pid(self) -> int:
        """Raylet of the head, where submitted commands run."""
        return self.local.nodes[0].raylet_pid


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """One node with 4 logical CPUs that asks every client for a token."""
    with local_cluster(Shape(num_nodes=1, cpus_per_node=4)) as local:
        yield Cluster(local)


@pytest.fixture(scope="module")
def several_nodes() -> Iterator[Cluster]:
    """Nodes for the tests of a module, of which they may remove some."""
    with local_cluster(Shape(num_nodes=3, cpus_per_node=2)) as local:
        yield Cluster(local)


@pytest.fixture
def three_nodes(several_nodes: Cluster) -> Cluster:
    """Three living raylets of 2 logical CPUs, whatever the test before removed."""
    alive = [node for node in several_nodes.local.nodes if node.process.poll() is None]
    if len(alive) < 3:
        several_nodes.local.add_nodes(3 - len(alive))
    return several_nodes


def _children(parent_pid: int) -> list[int]:
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = stat.read_text().rpartition(")")[2].split()[1]
        except OSError:  # it ended meanwhile
            continue
        if int(parent) == parent_pid:
            found.append(int(stat.parent.name))
    return found


def _title(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace")
    except OSError:
        return ""
