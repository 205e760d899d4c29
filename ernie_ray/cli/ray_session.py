"""Join a Ray cluster or start one for a single command: the library's only ``ray.init``.

Does not know what runs on it.
"""

from __future__ import annotations

import importlib
import logging
import os
import secrets
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from ernie_ray.environment import cluster_environment
from ernie_ray.errors import ConfigError
from ernie_ray.jobs.storage import is_submitted_job


@contextmanager
def connect(
    address: str | None = None, *, num_cpus: int | None = None, verbose: bool = False
) -> Iterator[None]:
    """Have Ray while the block runs.

    Joins the cluster of a submitted job, of ``address`` or of ``RAY_ADDRESS``; else starts a Ray
    on this machine and stops it at the end. A Ray that this process has already is used as it is.

    Args:
        address: Cluster to join, ``"host:port"``; None: as above.
        num_cpus: Logical CPUs of a Ray that is started here; None: those of the machine.
        verbose: Show Ray's own log and what workers print.

    Raises:
        ConfigError: The cluster cannot be joined, or Ray was imported too early to start one.
    """
    joins = bool(address or os.environ.get("RAY_ADDRESS")) or is_submitted_job(os.environ)
    if not joins:
        _set_local_environment()
    import ray

    if ray.is_initialized():
        yield
        return
    level = logging.INFO if verbose else logging.WARNING
    if joins:
        _join(address, level, verbose=verbose)
    else:
        ray.init(
            address="local",
            num_cpus=num_cpus,
            include_dashboard=False,
            logging_level=level,
            log_to_driver=verbose,
        )
    if not verbose:
        _quiet_ray_data()
    try:
        yield
    finally:
        ray.shutdown()


def _quiet_ray_data() -> None:
    # Importing it sets its loggers up, and would undo an earlier change.
    importlib.import_module("ray.data")
    # Its log file keeps everything; only the terminal is for the command's own output.
    for handler in logging.getLogger("ray.data").handlers:
        if isinstance(handler, logging.StreamHandler):
            handler.setLevel(max(handler.level, logging.WARNING))
    # Says at every start that the bars are off, as they are meant to be.
    logging.getLogger("ray.data._internal.progress").setLevel(logging.ERROR)


def _set_local_environment() -> None:
    # Ray reads these when it is imported. Whoever reaches one of its ports can run code, so the
    # cluster of this command gets a token of its own; without one Ray would write a lasting one
    # into the home folder.
    ray = sys.modules.get("ray")
    if ray is not None and "RAY_AUTH_MODE" not in os.environ and not ray.is_initialized():
        raise ConfigError(
            "Ray was imported before `connect` could set its environment: import what needs Ray "
            "(as `ernie_ray.jobs.finetune` does) after it, or set RAY_AUTH_MODE before you start "
            "Python"
        )
    for name, value in cluster_environment().items():
        os.environ.setdefault(name, value)
    if os.environ["RAY_AUTH_MODE"] == "token" and "RAY_AUTH_TOKEN_PATH" not in os.environ:
        os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))


def _join(address: str | None, level: int, *, verbose: bool) -> None:
    shown = address or os.environ.get("RAY_ADDRESS") or "auto"
    try:
        _knock(shown)
        import ray

        # In a submitted job Ray has put the address into the environment.
        ray.init(address=address, logging_level=level, log_to_driver=verbose)
    except (OSError, ValueError, RuntimeError) as error:
        raise ConfigError(
            f"no Ray cluster at {shown}: {str(error).splitlines()[0]}; start one with `ray start "
            "--head`, correct --address, or unset RAY_ADDRESS"
        ) from error


def _knock(address: str) -> None:
    # Ray itself tries for minutes where nothing listens.
    host, _, port = address.rpartition(":")
    if host and "/" not in host and port.isdecimal():
        socket.create_connection((host, int(port)), timeout=10).close()
