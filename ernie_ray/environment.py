"""The one table of environment variables that Ray, Serve and Paddle processes need, with reasons.

Everything that prints, renders or sets such a variable takes it from here: `ernie-ray env`, the
Dockerfile, `ray-cluster.yaml`, the Kubernetes files, training workers. Imports neither ray nor
paddle, since both read their variables when they are imported. A value that the user set wins.
Does not know the rendezvous variables of one training run; `ernie_ray.backend` sets those.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path


class Place(StrEnum):
    """Which processes read a setting."""

    CLUSTER = "cluster"
    SERVE = "serve"
    TRAINING = "training"


@dataclass(frozen=True)
class Machine:
    """What rules may depend on.

    Attributes:
        num_cpus: CPUs that this process may use.
        is_amd: The CPU's vendor is AMD.
        num_threads: Compute threads of one training worker.
    """

    num_cpus: int
    is_amd: bool
    num_threads: int = 1


Rule = Callable[[Machine], str | None]


@dataclass(frozen=True)
class Setting:
    """One environment variable.

    Attributes:
        name: Its name.
        value: A fixed value, or a rule that gives the value on a machine (None: not set there).
        place: Which processes read it. CLUSTER and SERVE settings must be the same on every
            node and in the driver, since Ray reads them at import in each of its processes.
        why: What happens without it.
        is_switch: The service is slow without it, so that a replica warns if it is missing.
    """

    name: str
    value: str | Rule
    place: Place
    why: str
    is_switch: bool = False

    def value_on(self, machine: Machine) -> str | None:
        """Its value on a machine; None where it does not apply."""
        return self.value if isinstance(self.value, str) else self.value(machine)


def _haproxy_threads(machine: Machine) -> str:
    return str(max(1, min(4, machine.num_cpus // 4)))


def _mkl_path(machine: Machine) -> str | None:
    return "5" if machine.is_amd else None


def _num_threads(machine: Machine) -> str:
    return str(machine.num_threads)


SETTINGS: tuple[Setting, ...] = (
    Setting(
        "RAY_AUTH_MODE",
        "token",
        Place.CLUSTER,
        "Whoever reaches a Ray port can run code. Ray turns tokens on in some ways of starting a "
        "cluster and not in others; head, workers and drivers must agree.",
    ),
    Setting(
        "RAY_USAGE_STATS_ENABLED",
        "0",
        Place.CLUSTER,
        "Without it `ray start` reports usage to Ray's makers.",
    ),
    Setting(
        "RAY_ENABLE_UV_RUN_RUNTIME_ENV",
        "0",
        Place.CLUSTER,
        "Under `uv run` each worker would build an environment of its own; ours is installed.",
    ),
    Setting(
        "RAY_worker_niceness",
        "0",
        Place.SERVE,
        "Ray starts its workers, HAProxy among them, at niceness 15: any other busy process of the "
        "machine takes their CPU. At 80 requests a second beside a client that kept one of 2 cores "
        "busy, the median was 5.8 s, and 0.6 s with this.",
    ),
    Setting(
        "RAY_SERVE_ENABLE_HA_PROXY",
        "1",
        Place.SERVE,
        "HAProxy hands requests straight to replicas: 13 times the requests of Serve's own proxy "
        "(1,884 to 141 a second on 2 cores).",
        is_switch=True,
    ),
    Setting(
        "RAY_SERVE_THROUGHPUT_OPTIMIZED",
        "1",
        Place.SERVE,
        "Runs the application on the replica's own event loop and buffers its logs: 4,938 requests "
        "a second instead of 1,884 with HAProxy alone.",
        is_switch=True,
    ),
    Setting(
        "RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH",
        "ernie_ray.serving.steering:middlewares",
        Place.SERVE,
        "Clients could steer Serve itself by headers (end its time limit, make it answer 500), and "
        "each request would cost two tasks more.",
    ),
    Setting(
        "RAY_SERVE_REQUEST_PATH_LOG_BUFFER_SIZE",
        "1",
        Place.SERVE,
        "Throughput-optimised replicas keep log lines back until there are a thousand; with the "
        "access log off those are the service's own few.",
    ),
    Setting(
        "RAY_SERVE_GRPC_MAX_MESSAGE_SIZE",
        "16777216",
        Place.SERVE,
        "Serve takes gRPC messages of 2 GiB by default; the service refuses far smaller ones, but "
        "only after they were read.",
    ),
    Setting(
        "RAY_SERVE_REPLICA_GRPC_MAX_MESSAGE_LENGTH",
        "268435456",
        Place.SERVE,
        "Throughput-optimised replicas answer each other by gRPC, whose 4 MiB a reply of 1,400 "
        "vectors of 768 numbers exceeds; the service's own limits are what bounds replies.",
    ),
    Setting(
        "RAY_SERVE_HAPROXY_RETRY_ON",
        "conn-failure empty-response junk-response",
        Place.SERVE,
        "By default a request that a dying replica cut off fails. Inference has no side effects, "
        "so HAProxy sends it to another replica, as long as it fits its buffer of 16 KiB.",
    ),
    Setting(
        "RAY_SERVE_HAPROXY_NBTHREAD",
        _haproxy_threads,
        Place.SERVE,
        "Its default of 4 threads takes time from the engine on small machines.",
    ),
    Setting(
        "MKL_DEBUG_CPU_TYPE",
        _mkl_path,
        Place.TRAINING,
        "The MKL inside Paddle takes a slow path on AMD CPUs: 25 GFLOP/s in a matrix product, 82 "
        "with it.",
    ),
    Setting(
        "FLAGS_use_stride_kernel",
        "0",
        Place.TRAINING,
        "Paddle's strided views make every transpose lazy, and its CPU kernels then copy element "
        "by element: a training step takes 1.3 times as long.",
    ),
    Setting(
        "FLAGS_cudnn_deterministic",
        "1",
        Place.TRAINING,
        "cuDNN would choose kernels that add in another order each time, so that two runs with the "
        "same seed on the same GPUs differ.",
    ),
    Setting(
        "FLAGS_embedding_deterministic",
        "1",
        Place.TRAINING,
        "On a GPU the gradients of a token's occurrences would be added in any order; see above.",
    ),
    Setting(
        "OMP_NUM_THREADS",
        _num_threads,
        Place.TRAINING,
        "Ray sets 1 unless the worker asks for CPUs; Paddle reads it at import.",
    ),
    Setting(
        "MKL_NUM_THREADS",
        _num_threads,
        Place.TRAINING,
        "MKL would otherwise take every core in each worker of a machine.",
    ),
)


def this_machine(num_threads: int = 1) -> Machine:
    """Look at the machine that this process runs on."""
    cpuinfo = Path("/proc/cpuinfo")
    is_amd = cpuinfo.is_file() and "AuthenticAMD" in cpuinfo.read_text(errors="replace")
    return Machine(_num_usable_cpus(), is_amd, num_threads)


def cluster_environment() -> dict[str, str]:
    """Settings with fixed values that every node of a cluster and every driver must share."""
    return {
        setting.name: setting.value
        for setting in SETTINGS
        if setting.place is not Place.TRAINING and isinstance(setting.value, str)
    }


def serve_environment(
    environ: Mapping[str, str] = os.environ, *, machine: Machine | None = None
) -> dict[str, str]:
    """Settings for a process that is about to start or join Ray to serve.

    Args:
        environ: What is set already; those values are returned unchanged.
        machine: Where the processes will run; this machine if None.

    Returns:
        Names and values; set them before ray is imported.
    """
    return _resolve({Place.CLUSTER, Place.SERVE}, environ, machine or this_machine())


def training_worker_environment(
    num_threads: int, environ: Mapping[str, str] = os.environ, *, machine: Machine | None = None
) -> dict[str, str]:
    """Settings for one training worker; set them before paddle is imported there.

    Args:
        num_threads: Compute threads of the worker.
        environ: What is set already; those values are returned unchanged. In a Ray worker that
            is also ``OMP_NUM_THREADS``, which Ray sets to the CPUs that the worker asked for.
        machine: Where the worker runs; this machine if None.

    Returns:
        Names and values.
    """
    found = machine or this_machine()
    return _resolve(
        {Place.TRAINING}, environ, Machine(found.num_cpus, found.is_amd, max(1, num_threads))
    )


def missing_serve_switches(environ: Mapping[str, str] = os.environ) -> list[str]:
    """Names of the Serve switches that nobody set; one set to "0" was switched off on purpose."""
    return [
        setting.name for setting in SETTINGS if setting.is_switch and setting.name not in environ
    ]


def shell(variables: Mapping[str, str]) -> str:
    """Lines for `eval` or a file that a shell sources."""
    return "".join(f"export {name}={shlex.quote(value)}\n" for name, value in variables.items())


def docker(variables: Mapping[str, str]) -> str:
    """Lines of a Dockerfile."""
    return "".join(f"ENV {name}={shlex.quote(value)}\n" for name, value in variables.items())


def _resolve(places: set[Place], environ: Mapping[str, str], machine: Machine) -> dict[str, str]:
    resolved = {}
    for setting in SETTINGS:
        value = setting.value_on(machine) if setting.place in places else None
        if value is not None:
            resolved[setting.name] = environ.get(setting.name, value)
    return resolved


def _num_usable_cpus() -> int:
    if hasattr(os, "sched_getaffinity"):  # Linux: what the container or taskset grants
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
