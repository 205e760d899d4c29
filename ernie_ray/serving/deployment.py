"""The Ray Serve deployments: the ingress, and one for each model that stands on its own.

The hot model runs in the ingress deployment, so that its requests take one hop: HAProxy to replica.
A replica takes traffic only after every model's digests and golden texts were checked.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ray
from ray import serve
from ray.serve.handle import DeploymentHandle

from ernie_ray.environment import missing_serve_switches
from ernie_ray.errors import ErnieRayError
from ernie_ray.modeldir.folder import read_manifest
from ernie_ray.serving.api_keys import ApiKeys
from ernie_ray.serving.app import ServiceOptions, TextService
from ernie_ray.serving.args import ModelArgs, ServiceArgs
from ernie_ray.serving.ask import Ask, Result, Runner
from ernie_ray.serving.catalog import Catalog
from ernie_ray.serving.cors import Cors
from ernie_ray.serving.grpc_dialect import GrpcMethods
from ernie_ray.serving.loading import exposed_nodes, load_runner
from ernie_ray.serving.local_runner import LocalRunner
from ernie_ray.serving.meters import Meters
from ernie_ray.serving.ray_meters import RayMeters
from ernie_ray.serving.remote_runner import RemoteRunner
from ernie_ray.serving.request_log import RequestLog
from ernie_ray.serving.served_model import ServedModel
from ernie_ray.serving.service_metrics import tell_process
from ernie_ray.serving.steering import SteeringHeaders
from ernie_ray.serving.work_report import WorkReport

logger = logging.getLogger("ray.serve")

# What a Serve YAML that names these deployments may override.
DEPLOYMENT = "TextModels"
_DEFAULTS = {
    # Our own queue refuses by tokens; Serve must not hold requests back before it (by default 5).
    "max_ongoing_requests": 10_000,
    "graceful_shutdown_timeout_s": 35,
    "health_check_period_s": 5,
    "max_constructor_retry_count": 2,  # a damaged model stays damaged; the default is 20
    "ray_actor_options": {"num_cpus": 1},
}


def deployment_name(model: ModelArgs) -> str:
    """Name of the deployment of a model that stands on its own."""
    return f"Model-{model.name}"


class TextModelReplica(GrpcMethods):
    """One ingress replica: HTTP and gRPC, the models that live in it, and the way to the others."""

    def __init__(self, args: ServiceArgs, handles: dict[str, DeploymentHandle[Any]]) -> None:
        """Remember what to load; Serve asks for the application next.

        Args:
            args: Models and limits.
            handles: Deployments of the models that stand on their own, by name.
        """
        self._args = args
        self._handles = handles
        self._meters = Meters()
        self._exporter = RayMeters(self._meters)
        self._work = WorkReport(())
        self.service: TextService | None = None
        super().__init__(lambda: self.service)

    async def __serve_build_asgi_app__(self) -> TextService:
        """Load the models; the replica takes requests only after this.

        Raises:
            ModelDirError: A model directory is damaged or fails its parity check.
        """
        _warn_of_missing_switches()
        served = []
        for model in self._args.models:
            manifest = read_manifest(Path(model.dir))
            served.append(
                ServedModel(
                    await self._runner(model),
                    name=model.name,
                    limits=self._args.limits,
                    layers=exposed_nodes(manifest, model),
                )
            )
        options = ServiceOptions(
            self._args.limits,
            ApiKeys.from_args(self._args.security),
            Cors(self._args.security.cors_origins),
            RequestLog(self._args.log_requests, logger.getChild("requests")),
            self._meters,
            sends_request_id=False,
        )
        self.service = TextService(Catalog(served), options)
        SteeringHeaders.is_on = True
        tell_process(self._meters, os.environ)
        self._work = WorkReport(
            one.runner.batcher for one in served if isinstance(one.runner, LocalRunner)
        )
        self._exporter.start()
        return self.service

    def record_autoscaling_stats(self) -> dict[str, float]:
        """Tell Serve how much work waits here and how busy the engines are."""
        return self._work.take()

    async def check_health(self) -> None:
        """Run a real forward through every model here; Serve replaces the replica if one raises."""
        if self.service is not None:
            await self.service.check_models()

    async def __del__(self) -> None:
        """Finish what is inside before the replica goes."""
        if self.service is not None:
            await self.service.close()
            self._exporter.stop()

    async def _runner(self, model: ModelArgs) -> Runner:
        handle = self._handles.get(model.name or "")
        if handle is None:
            return await load_runner(model, _num_cpus(), self._meters)
        manifest = read_manifest(Path(model.dir))
        return RemoteRunner(handle, manifest, model.batching.max_queue_tokens)


class ModelReplica:
    """One replica of a model that stands on its own."""

    # Serve awaits it; a type checker knows only plain constructors.
    async def __init__(self, args: ModelArgs) -> None:  # type: ignore[misc]
        """Load the model; Serve waits for it.

        Args:
            args: What to load.

        Raises:
            ModelDirError: The model directory is damaged or fails its parity check.
        """
        meters = Meters()
        self._exporter = RayMeters(meters)
        self._runner = await load_runner(args, _num_cpus(), meters)
        self._work = WorkReport([self._runner.batcher])
        tell_process(meters, os.environ)
        self._exporter.start()

    def record_autoscaling_stats(self) -> dict[str, float]:
        """Tell Serve how much work waits here and how busy the engine is."""
        return self._work.take()

    async def infer(self, ask: Ask) -> Result | ErnieRayError:
        """Answer an ask. Our own errors are returned, since raised ones cross as another type."""
        try:
            return await self._runner.run(ask)
        except ErnieRayError as error:
            return error

    async def check_health(self) -> None:
        """Run a real forward; Serve replaces the replica if it raises."""
        await self._runner.check()

    async def __del__(self) -> None:
        """Finish what is inside before the replica goes."""
        await self._runner.close()
        self._exporter.stop()


def build_app(
    args: ServiceArgs, own: Mapping[str, Mapping[str, Any]] | None = None, **options: Any
) -> serve.Application:
    """Bind the deployments to their arguments.

    Args:
        args: Models and limits.
        own: The same options for models that stand on their own, by the model's name.
        **options: Options of ``serve.deployment`` for the ingress that replace the defaults here.
    """
    models = {
        model.name: _deployment(
            ModelReplica, deployment_name(model), (own or {}).get(str(model.name), {})
        ).bind(model)
        for i, model in enumerate(args.models)
        if args.is_own(i)
    }
    ingress = _deployment(serve.ingress()(TextModelReplica), DEPLOYMENT, options)
    return ingress.bind(args, models)


def _deployment(replica: Any, name: str, options: Mapping[str, Any]) -> serve.Deployment:
    settings: dict[str, Any] = {**_DEFAULTS, "name": name, **options}
    return serve.deployment(**settings)(replica)


def _num_cpus() -> int:
    # GPU replicas may ask for a fraction of a CPU.
    return int(ray.get_runtime_context().get_assigned_resources().get("CPU", 1))


def _warn_of_missing_switches() -> None:
    for name in missing_serve_switches(os.environ):
        logger.warning(
            '%s is not set, so this service is slow; run `eval "$(ernie-ray env)"` in the shell '
            "that starts Ray, on every node, and start Ray again",
            name,
        )
