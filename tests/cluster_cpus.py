"""Whether jobs give back what they took of a cluster."""

import time

import ray


def wait_for_all_cpus(seconds: float = 60) -> None:
    """Wait until no process holds a CPU of the cluster."""
    end = time.monotonic() + seconds
    while ray.available_resources().get("CPU", 0) < ray.cluster_resources()["CPU"]:
        assert time.monotonic() < end, ray.available_resources()
        time.sleep(0.1)
