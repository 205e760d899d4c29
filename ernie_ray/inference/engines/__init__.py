"""Engines: each runs a model directory's graph on padded arrays."""

from ernie_ray.inference.engines.engine import (
    ENGINES,
    Engine,
    EngineOptions,
    RowEngine,
    load_engine,
)

__all__ = ["ENGINES", "Engine", "EngineOptions", "RowEngine", "load_engine"]
