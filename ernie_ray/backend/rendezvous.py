"""Bring Ray Train's workers together in one Paddle process group.

Two moments, as Paddle needs them: before the train function the workers get the variables that
``paddle.distributed.launch`` would set; in the training thread, where Paddle keeps its device and
its tracer, the process group is made. Paddle is never imported in this module: its ``FLAGS_*`` are
read at import, after the variables are set.

Knows nothing of networks, data or recipes.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any

import ray
import ray.train
from ray.train._internal.utils import get_address_and_port
from ray.train.backend import Backend, BackendConfig

_SETUP_TIMEOUT_S = 60.0


@dataclass
class PaddleConfig(BackendConfig):
    """How the workers of a ``PaddleTrainer`` talk to each other.

    Attributes:
        communication: ``nccl`` (GPUs) or ``gloo`` (CPUs); None: as ``ScalingConfig.use_gpu`` says.
        timeout_s: Longest wait for another worker in the rendezvous and in each collective.
        socket_interface: Network interface (``eth0``) that gloo and NCCL bind to; None lets them
            choose. Machines whose host name resolves to a loopback address need it.
        environment: Gives further variables; called on each worker, since they may depend on its
            machine, before Paddle is imported there.
    """

    communication: str | None = None
    timeout_s: int = 1800
    socket_interface: str | None = None
    environment: Callable[[], dict[str, str]] | None = None

    @property
    def backend_cls(self) -> type[Backend]:
        """The hooks that Ray Train calls around a worker group."""
        return PaddleBackend

    @property
    def train_func_context(self) -> Callable[[], AbstractContextManager[None]]:
        """Wraps the train function, in the training thread of each worker."""
        return process_group

    def to_dict(self) -> dict[str, Any]:
        """What Ray Train records of this configuration."""
        return {"communication": self.communication, "timeout_s": self.timeout_s}


class PaddleBackend(Backend):
    """Gives each worker the variables of Paddle's rendezvous."""

    # Every worker sees all GPUs of its machine and picks one by index, as NCCL's direct paths need.
    share_cuda_visible_devices = True

    def on_start(self, worker_group: Any, backend_config: PaddleConfig) -> None:
        """Collect addresses in rank order and set the variables on every worker."""
        endpoints = [
            f"{address}:{port}" for address, port in worker_group.execute(get_address_and_port)
        ]
        # The store listens on a port of its own, beside the first worker's endpoint.
        address, port = worker_group.execute_single(0, get_address_and_port)
        uses_gpu = worker_group.get_resources_per_worker().get("GPU", 0) > 0
        setups = [
            worker_group.execute_single_async(
                rank,
                _set_environment,
                _Rendezvous(rank, tuple(endpoints), f"{address}:{port}", uses_gpu),
                backend_config,
            )
            for rank in range(len(worker_group))
        ]
        ray.get(setups, timeout=_SETUP_TIMEOUT_S)


@dataclass(frozen=True)
class _Rendezvous:
    """One worker's place in the group; endpoints are in rank order."""

    rank: int
    endpoints: Sequence[str]
    master: str
    uses_gpu: bool


def rendezvous_environment(
    rendezvous: _Rendezvous, config: PaddleConfig, *, local_rank: int, gpu_index: int | None
) -> dict[str, str]:
    """Variables that ``paddle.distributed.launch`` would set for one worker (Paddle 3.3).

    Args:
        rendezvous: The worker's rank and everybody's addresses.
        config: The user's choices.
        local_rank: Index of the worker among those of its machine.
        gpu_index: Position of its GPU in ``CUDA_VISIBLE_DEVICES``; None without one.
    """
    communication = config.communication or ("nccl" if rendezvous.uses_gpu else "gloo")
    variables = {
        "PADDLE_TRAINER_ID": str(rendezvous.rank),
        "PADDLE_TRAINERS_NUM": str(len(rendezvous.endpoints)),
        "PADDLE_TRAINER_ENDPOINTS": ",".join(rendezvous.endpoints),
        "PADDLE_CURRENT_ENDPOINT": rendezvous.endpoints[rendezvous.rank],
        "PADDLE_MASTER": rendezvous.master,
        "PADDLE_RANK_IN_NODE": str(local_rank),
        "PADDLE_LOCAL_RANK": str(local_rank),
        "PADDLE_GLOBAL_RANK": str(rendezvous.rank),
        "PADDLE_GLOBAL_SIZE": str(len(rendezvous.endpoints)),
        # "auto" on a CPU build falls into an HTTP store that starts processes of its own.
        "PADDLE_DISTRI_BACKEND": communication,
        "PADDLE_PG_TIMEOUT": str(config.timeout_s * 1000),
    }
    if gpu_index is not None:
        variables["FLAGS_selected_gpus"] = str(gpu_index)
    if config.socket_interface:
        variables["GLOO_SOCKET_IFNAME"] = config.socket_interface
        variables["NCCL_SOCKET_IFNAME"] = config.socket_interface
    return {**(config.environment() if config.environment else {}), **variables}


def _set_environment(rendezvous: _Rendezvous, config: PaddleConfig) -> None:
    """Set the variables; runs on the worker."""
    # Paddle's store ignores these, but some of its Python checks prefer them to PADDLE_MASTER.
    os.environ.pop("MASTER_ADDR", None)
    os.environ.pop("MASTER_PORT", None)
    os.environ.update(
        rendezvous_environment(
            rendezvous,
            config,
            local_rank=ray.train.get_context().get_local_rank(),
            gpu_index=_own_gpu_index() if rendezvous.uses_gpu else None,
        )
    )


def _own_gpu_index() -> int:
    """Position of this worker's GPU among those that its process sees."""
    own = str(ray.get_gpu_ids()[0])
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", own).split(",")
    return visible.index(own)


@contextmanager
def process_group() -> Iterator[None]:
    """Join the group of this worker for the time of the train function.

    With one worker there is no group: Paddle would only warn. The device is set either way.
    """
    import paddle

    # Ray ends workers by SIGTERM, for which Paddle's handler would print a crash report.
    paddle.disable_signal_handler()
    gpu = os.environ.get("FLAGS_selected_gpus")  # noqa: SIM112, so does Paddle spell it
    paddle.set_device(f"gpu:{gpu}" if gpu is not None else "cpu")
    if int(os.environ["PADDLE_TRAINERS_NUM"]) == 1:
        yield
        return
    paddle.distributed.init_parallel_env()
    try:
        yield
    finally:
        paddle.distributed.destroy_process_group()
