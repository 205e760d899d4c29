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

# What a Serve YAML that names this deployment may override.
DEPLOYMENT = "TextModels"
_DEFAULTS = {
    "name": DEPLOYMENT,
    # Our own queue refuses by tokens; Serve must not hold requests back before it (by default 5).
    "max_ongoing_requests": 10_000,
    "graceful_shutdown_timeout_s": 35,
    "max_constructor_retry_count": 2,  # a damaged model stays damaged; the default is 20
    "ray_actor_options": {"num_cpus": 1},
}


class TextModelReplica:
    """One replica: every model of the service, each with its own queue."""

    def __init__(self, args: ServiceArgs) -> None:
        """Remember what to load; Serve asks for the application next.

        Args:
            args: Models and limits.
        """
        self._args = args
        self._service: TextService | None = None

    async def __serve_build_asgi_app__(self) -> TextService:
        """Load the models; the replica takes requests only after this.

        Raises:
            ModelDirError: A model directory is damaged or fails its parity check.
        """
        _warn_of_missing_switches()
        num_cpus = ray.get_runtime_context().get_assigned_resources().get("CPU", 1)
        models = [
            ServedModel(
                await asyncio.to_thread(load_model, model, max(1, int(num_cpus))),
                name=model.name,
                limits=self._args.limits,
                batching=model.batching,
            )
            for model in self._args.models
        ]
        self._service = TextService(Catalog(models), self._args.limits)
        return self._service

    async def check_health(self) -> None:
        """Run a real forward through every model; Serve replaces the replica if one raises."""
        if self._service is not None:
            await self._service.check_models()

    async def __del__(self) -> None:
        """Finish what is inside before the replica goes."""
        if self._service is not None:
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
        **options: Options of ``serve.deployment`` that replace the defaults here.
    """
    settings: dict[str, Any] = {**_DEFAULTS, **options}
    return serve.deployment(**settings)(serve.ingress()(TextModelReplica)).bind(args)


def _warn_of_missing_switches() -> None:
    for name in missing_serve_switches(os.environ):
        logger.warning(
            '%s is not set, so this service is slow; run `eval "$(ernie-ray env)"` in the shell '
            "that starts Ray, on every node, and start Ray again",
            name,
        )
