"""How many CPUs each of several like processes gets on a Ray cluster: an equal share.

Knows nodes and numbers; not what the processes do.
"""

from __future__ import annotations

from collections.abc import Sequence

from ernie_ray.config import ScalingSection

_READING_CPUS = 1.0
"""CPUs of every node that training leaves free, for the tasks that read rows and for Ray itself."""


def cpus_of_nodes() -> list[float]:
    """CPUs of each node that is alive. Ray must be initialised."""
    import ray

    return [node["Resources"].get("CPU", 0.0) for node in ray.nodes() if node["Alive"]]


def cpu_share(nodes: Sequence[float], num_processes: int, reserved: float) -> float:
    """Find the largest equal share of a cluster's CPUs, to two digits.

    Args:
        nodes: CPUs of each node.
        num_processes: Processes that shall run at the same time, each on one node.
        reserved: CPUs that stay free on every node.

    Returns:
        CPUs per process; 0 if so many processes leave none to count.
    """
    free = [int(100 * max(cpus - reserved, 0)) for cpus in nodes]
    shares = {node // k for node in free for k in range(1, num_processes + 1)} - {0}
    ordered = sorted(shares, reverse=True)
    fitting = (s for s in ordered if sum(n // s for n in free) >= num_processes)
    return next(fitting, 0) / 100


def cpus_per_worker(scaling: ScalingSection, nodes: Sequence[float], num_runs: int = 1) -> int:
    """CPUs, and threads, of each training worker.

    Args:
        scaling: What the recipe says; where it leaves the number open, this finds it.
        nodes: CPUs of each node.
        num_runs: Runs that train at the same time.
    """
    if scaling.cpus_per_worker or scaling.use_gpu:
        return scaling.cpus_per_worker or 1
    return max(1, int(cpu_share(nodes, scaling.max_workers * num_runs, _READING_CPUS)))
