"""`ernie-ray serve`: a model directory behind HTTP with one command."""

from __future__ import annotations

import logging
import os
import signal
import socket
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from ernie_ray.cli.free_ports import free_ports
from ernie_ray.cli.options import address_option, open_storage, storage_option
from ernie_ray.cli.ray_session import connect
from ernie_ray.environment import serve_environment, this_machine
from ernie_ray.errors import ConfigError, ErnieRayError
from ernie_ray.modeldir import Manifest, open_model_dir
from ernie_ray.serving.args import ModelArgs, ServiceArgs
from ernie_ray.serving.haproxy import end_haproxies

_APP = "ernie-ray"
_SIDE_PORTS = (
    "RAY_SERVE_HAPROXY_STATS_PORT",
    "RAY_SERVE_HAPROXY_METRICS_PORT",
    "RAY_SERVE_FALLBACK_PROXY_HTTP_PORT",
)


@dataclass(frozen=True)
class _Plan:
    """Everything that the command decided before Ray starts."""

    args: ServiceArgs
    manifests: Sequence[Manifest]
    host: str
    port: int
    grpc_port: int | None
    address: str | None
    num_replicas: int
    num_cpus_per_replica: int
    verbose: bool


@click.command(name="serve")
@click.argument("model_dirs", nargs=-1, required=True, metavar="MODEL_DIR...")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", default=8000, show_default=True, type=click.IntRange(1, 65535))
@click.option(
    "--grpc-port",
    type=click.IntRange(1, 65535),
    help="Serve gRPC there, too; the replicas behind it listen on all addresses of the machine, "
    "whatever --host says (ports from 40000 on).  [default: no]",
)
@click.option("--name", multiple=True, help="Name in requests, once per MODEL_DIR.")
@click.option(
    "--engine",
    default="auto",
    show_default=True,
    help="openvino, onnxruntime, paddle, numpy (students).",
)
@click.option("--precision", default="auto", show_default=True, help="fp32, bf16...")
@click.option(
    "--layer",
    "layers",
    multiple=True,
    type=int,
    help="Layer that requests may choose: 1 is the first, -1 the last; repeatable.",
)
@click.option("--num-replicas", default=1, show_default=True, type=click.IntRange(1))
@click.option(
    "--num-cpus", type=click.IntRange(1), help="CPUs and threads of a replica.  [default: a share]"
)
@storage_option
@address_option
@click.option("--verbose", is_flag=True, help="Show the logs of Ray, Serve and the replicas.")
def command(model_dirs: tuple[str, ...], name: tuple[str, ...], **options: Any) -> None:
    r"""Serve model directories: vectors and scores over HTTP, until Ctrl-C.

    Starts a Ray of its own with HAProxy in front, unless an address is given. Nothing is left
    running afterwards. Requests that name no model are answered by the first. NAME@ALIAS is a model
    of the registry (see `ernie-ray promote`), looked up once, now.

    \b
    Examples:
      ernie-ray serve runs/teacher/model
      ernie-ray serve runs/teacher/model --grpc-port 9000
      ernie-ray serve reviews@production --storage /mnt/share
      ernie-ray serve teacher student --name teacher --name student --port 8100
      curl -d '{"texts": ["hello"]}' http://127.0.0.1:8000/v1/infer
    """
    plan = _make_plan(_found(model_dirs, options["storage"]), name, options)
    if plan.address is None:
        for port in filter(None, (plan.port, plan.grpc_port)):
            _refuse_busy_port(plan.host, port)
    for variable, value in _environment().items():
        os.environ.setdefault(variable, value)
    own_nodes: list[str] = []
    try:
        with connect(
            plan.address,
            num_cpus=plan.num_replicas * plan.num_cpus_per_replica,
            verbose=plan.verbose,
        ):
            if plan.address is None:
                own_nodes = _node_ids()
            _serve_until_stopped(plan)
    finally:
        end_haproxies(own_nodes)


def _found(model_dirs: Sequence[str], root: str | None) -> list[str]:
    from ernie_ray.jobs.registry import find_model

    place = open_storage(root)
    return [str(place.fetch(find_model(name, place))) for name in model_dirs]


def _make_plan(model_dirs: Sequence[str], names: Sequence[str], options: dict[str, Any]) -> _Plan:
    if names and len(names) != len(model_dirs):
        raise ConfigError(
            f"{len(names)} names for {len(model_dirs)} model directories; give --name once for "
            "each or not at all"
        )
    # Opened here so that a wrong folder is one clear line, not a replica that fails over and over.
    manifests = [open_model_dir(path).manifest for path in model_dirs]
    shown = list(names) or [manifest.name for manifest in manifests]
    if len(set(shown)) < len(shown):
        raise ConfigError(f"models share a name ({', '.join(shown)}); give each a --name")
    num_replicas = options["num_replicas"]
    num_cpus = options["num_cpus"] or max(1, this_machine().num_cpus // num_replicas)
    models = tuple(
        ModelArgs(
            dir=str(Path(path).resolve()),
            name=name,
            engine=options["engine"],
            precision=options["precision"],
            layers=options["layers"],
            place="ingress",  # one machine: its models share each replica's threads
        )
        for path, name in zip(model_dirs, shown, strict=True)
    )
    return _Plan(
        ServiceArgs(models=models),
        manifests,
        options["host"],
        options["port"],
        options["grpc_port"],
        options["address"] or os.environ.get("RAY_ADDRESS"),
        num_replicas,
        num_cpus,
        options["verbose"],
    )


def _serve_until_stopped(plan: _Plan) -> None:
    from ray import serve
    from ray.serve.config import HTTPOptions
    from ray.serve.schema import LoggingConfig

    from ernie_ray.serving.deployment import build_app

    quiet = not plan.verbose
    if quiet:
        logging.getLogger("ray.serve").setLevel(logging.WARNING)
    _refuse_running_service(plan)
    try:
        serve.start(
            http_options=HTTPOptions(host=plan.host, port=plan.port),
            grpc_options=_grpc_options(plan),
            logging_config=LoggingConfig(enable_access_log=False),
        )
        app = build_app(
            plan.args,
            num_replicas=plan.num_replicas,
            ray_actor_options={"num_cpus": plan.num_cpus_per_replica},
            max_constructor_retry_count=1,
        )
        _run(app)
        stop = _stop_on_signals()  # until here Ctrl-C breaks the start off
        click.echo(_ready_lines(plan))
        stop.wait()
        click.echo("stopping ...")
    finally:
        # Ends replicas gracefully. A cluster that we joined keeps Serve and its other applications;
        # our own Ray ends right after this.
        serve.delete(_APP)


def _refuse_running_service(plan: _Plan) -> None:
    """Leave a joined cluster's service alone: ours would take its place and end it at Ctrl-C.

    Raises:
        ConfigError: There is one, or Serve listens on another port.
    """
    from ray import serve
    from ray.serve.context import _get_global_client

    if _APP in serve.status().applications:
        raise ConfigError(
            f"this Ray cluster runs an application {_APP!r} already; stop that one first, leave "
            "--address and RAY_ADDRESS out to serve from a Ray of its own, or deploy several with "
            "a Serve file (serve_apps/)"
        )
    client = _get_global_client(raise_if_no_controller_running=False)
    if client is not None and (port := client.http_config.port) != plan.port:
        raise ConfigError(
            f"Ray Serve runs on this cluster already and listens on port {port}; give --port {port}"
        )


def _grpc_options(plan: _Plan) -> Any:
    from ray.serve.config import gRPCOptions

    from ernie_ray.serving.grpc_dialect import SERVICER_FUNCTIONS

    if plan.grpc_port is None:
        return None
    return gRPCOptions(
        port=plan.grpc_port,
        grpc_servicer_functions=list(SERVICER_FUNCTIONS),
        enable_reflection=True,
    )


def _run(app: Any) -> None:
    from ray import serve

    try:
        serve.run(app, name=_APP, route_prefix="/")
    except RuntimeError as error:
        deployments = serve.status().applications[_APP].deployments.values()
        # The replica's traceback as text; its last line is the error itself.
        reasons = [line for one in deployments for line in one.message.splitlines() if line.strip()]
        raise ErnieRayError(
            f"the service did not start: {reasons[-1].strip() if reasons else error} "
            "(--verbose shows the replica's log)"
        ) from error


def _node_ids() -> list[str]:
    import ray

    return [node["NodeID"] for node in ray.nodes()]


def _ready_lines(plan: _Plan) -> str:
    host = "127.0.0.1" if plan.host == "0.0.0.0" else plan.host
    url = f"http://{host}:{plan.port}"
    route = "/v1/infer" if plan.manifests[0].task.num_outputs else "/v1/vectors"
    names = ", ".join(str(model.name) for model in plan.args.models)
    return (
        f"serving {names} at {url} (Ctrl-C stops it); try:\n"
        f'  curl -s {url}{route} -d \'{{"texts": ["hello"]}}\''
    )


def _stop_on_signals() -> threading.Event:
    stop = threading.Event()

    def ask_to_stop(number: int, frame: object) -> None:
        if stop.is_set():  # asked twice: do not wait for a stop that hangs
            raise KeyboardInterrupt
        stop.set()

    signal.signal(signal.SIGINT, ask_to_stop)
    signal.signal(signal.SIGTERM, ask_to_stop)
    return stop


def _environment() -> dict[str, str]:
    # Several services may run on one machine, so that Serve's side ports are any free ones.
    return {
        **serve_environment(),
        # Keeps the ports of our own Ray on the loopback, but for the replicas' gRPC, whose address
        # Serve does not let anyone choose (so Ray names "no cluster of machines");
        # without it replicas could not be reached if the service listens on 127.0.0.1 only.
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
        **{
            name: str(port)
            for name, port in zip(_SIDE_PORTS, free_ports(len(_SIDE_PORTS)), strict=True)
        },
        # Only one machine: no other proxy has to notice a replica's end before it goes.
        "RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S": "0.5",
    }


def _refuse_busy_port(host: str, port: int) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise ConfigError(
                f"cannot listen on {host}:{port}: {error.strerror}; choose another --port"
            ) from error
