"""Load one model of a service and put it behind its runner, with its meters."""

from __future__ import annotations

import asyncio

from ernie_ray.errors import ConfigError
from ernie_ray.inference.text_model import TextModel
from ernie_ray.modeldir import Manifest
from ernie_ray.modeldir.folder import read_manifest
from ernie_ray.serving.args import ModelArgs
from ernie_ray.serving.local_runner import LocalRunner
from ernie_ray.serving.meters import Meters
from ernie_ray.serving.served_model import layer_node
from ernie_ray.serving.service_metrics import ModelMetrics


async def load_runner(args: ModelArgs, num_cpus: int, meters: Meters) -> LocalRunner:
    """Open a model directory, verify it, start its engine and warm it up.

    Args:
        args: What to load.
        num_cpus: CPUs of the replica; the engine's threads unless ``args`` says otherwise.
        meters: Count its batches.

    Raises:
        ModelDirError: The directory is damaged or fails its parity check.
        ConfigError: The engine, precision or a layer cannot be had.
    """
    model = await asyncio.to_thread(load_model, args, max(1, num_cpus))
    metrics = ModelMetrics(meters, args.name or model.manifest.name)
    runner = LocalRunner(model, args.batching, metrics.on_batch)
    metrics.watch(runner)
    await runner.check()
    await runner.warm_up()
    return runner


def load_model(args: ModelArgs, num_cpus: int) -> TextModel:
    """Load a predictor; see ``load_runner``."""
    # Engines are heavy to import; the controller, which imports this module too, needs none.
    from pathlib import Path

    from ernie_ray.inference.predictor import Predictor

    return Predictor.from_dir(
        args.dir,
        engine=args.engine,
        precision=args.precision,
        num_threads=args.num_threads or num_cpus,
        layers=exposed_nodes(read_manifest(Path(args.dir)), args),
    )


def exposed_nodes(manifest: Manifest, args: ModelArgs) -> tuple[str, ...]:
    """Names of the layers that the arguments expose.

    Raises:
        ConfigError: The model has no such layer.
    """
    nodes = []
    for layer in args.layers:
        node = layer_node(manifest, layer)
        if node is None:
            raise ConfigError(
                f"models[].layers: {args.dir} has no layer {layer}; choose 1 to "
                f"{len(manifest.layer_nodes)}, or -1 for the last"
            )
        nodes.append(node)
    return tuple(dict.fromkeys(nodes))
