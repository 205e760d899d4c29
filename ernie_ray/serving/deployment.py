"""The Ray Serve deployment: models load in the replica that answers HTTP itself.

Inference runs in the ingress deployment, so that a request takes one hop: HAProxy to replica. A
replica takes traffic only after every model's digests and golden texts were checked.
"""

from __future__ import annotations

import asyncio
import logging
import os
from typing import Any

import ray
from ray import serve

from ernie_ray.environment import missing_serve_switches
from ernie_ray.inference.text_model import TextModel
from ernie_ray.serving.app import TextService
from ernie_ray.serving.args import ModelArgs, ServiceArgs
from ernie_ray.serving.catalog import Catalog
from ernie_ray.serving.served_model import ServedModel

logger = logging.getLogger("ray.serve")

# Our own queue refuses by tokens; Serve must not hold requests back before it (its default is 5).
_MAX_ONGOING_REQUESTS = 10_000


@serve.deployment(
    name="TextModels",
    max_ongoing_requests=_MAX_ONGOING_REQUESTS,
    health_check_period_s=10,
    health_check_timeout_s=30,
    graceful_shutdown_timeout_s=35,
    ray_actor_options={"num_cpus": 1},
)
@serve.ingress()  # type: ignore[untyped-decorator]
class TextModels:
    """One replica: every model of the service, each with its own queue."""

    async def __init__(self, args: ServiceArgs) -> None:
        """Load the models; blocks neither health checks nor other models' loading.

        Args:
            args: Models and limits.

        Raises:
            ModelDirError: A model directory is damaged or fails its parity check.
        """
        _warn_of_missing_switches()
        num_cpus = ray.get_runtime_context().get_assigned_resources().get("CPU", 1)
        models = [
            ServedModel(
                await asyncio.to_thread(load_model, model, max(1, int(num_cpus))),
                name=model.name,
                limits=args.limits,
                batching=model.batching,
            )
            for model in args.models
        ]
        self._catalog = Catalog(models)
        self._service = TextService(self._catalog, args.limits)

    def __serve_build_asgi_app__(self) -> TextService:
        """The application that Serve calls for each request."""
        return self._service

    async def check_health(self) -> None:
        """Run a real forward through every model; Serve replaces the replica if one raises."""
        for model in self._catalog:
            rows = await asyncio.to_thread(model.model.tokenize, ["health"])
            await asyncio.to_thread(model.model.forward, rows)

    async def __del__(self) -> None:
        """Finish what is inside before the replica goes."""
        if hasattr(self, "_service"):
            await self._service.close()


def load_model(args: ModelArgs, num_cpus: int) -> TextModel:
    """Open a model directory, verify it and start its engine.

    Args:
        args: What to load.
        num_cpus: CPUs of the replica; the engine's threads unless ``args`` says otherwise.
    """
    # Engines are heavy to import; the controller, which imports this module too, needs none.
    from ernie_ray.inference.predictor import Predictor

    return Predictor.from_dir(
        args.dir,
        engine=args.engine,
        precision=args.precision,
        num_threads=args.num_threads or num_cpus,
    )


def build_app(args: ServiceArgs, **options: Any) -> serve.Application:
    """Bind the deployment to its arguments.

    Args:
        args: Models and limits.
        **options: Options of ``serve.deployment``, such as ``num_replicas``.
    """
    deployment = TextModels.options(**options) if options else TextModels
    return deployment.bind(args)


def _warn_of_missing_switches() -> None:
    for name in missing_serve_switches(os.environ):
        logger.warning(
            '%s is not set, so this service is slow; run `eval "$(ernie-ray env)"` in the shell '
            "that starts Ray, on every node, and start Ray again",
            name,
        )
