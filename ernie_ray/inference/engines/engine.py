"""What an engine is, and which one a machine gets.

Knows the engines by module name only: each is imported when it is chosen.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from ernie_ray.errors import ConfigError
from ernie_ray.modeldir import EncoderConfig, ModelDir
from ernie_ray.text.features import FeatureBatch, TokenIds

ENGINES = ("openvino", "onnxruntime", "paddle", "numpy")
PRECISIONS = ("fp32", "bf16", "fp16", "int8")


@dataclass(frozen=True)
class EngineOptions:
    """How to run a graph.

    Attributes:
        precision: ``fp32``, ``bf16``, ``fp16``, ``int8``, or ``auto``: the fastest that the engine
            has on this machine and that the manifest states a bound for, but for ``int8``, which
            changes vectors too much to be taken unasked.
        num_threads: CPU threads of one forward pass; None: all that the process may use.
        extra_outputs: Nodes to expose beside the graph's outputs, e.g. ``layer_3``.
    """

    precision: str = "auto"
    num_threads: int | None = None
    extra_outputs: tuple[str, ...] = ()


class Engine(Protocol):
    """A graph that is ready to run. Thread-safe."""

    name: str
    precision: str

    def run(self, batch: FeatureBatch) -> dict[str, NDArray[np.float32]]:
        """Run one padded batch.

        Returns:
            Each output by name: ``vector`` [batch, hidden], ``logits`` [batch, outputs] with a
            head, and the extra outputs [batch, tokens, hidden].
        """


@runtime_checkable
class RowEngine(Protocol):
    """An engine that wants rows as they are: padding would cost it more than it gains."""

    name: str
    precision: str

    def run_rows(self, rows: Sequence[TokenIds]) -> dict[str, NDArray[np.float32]]:
        """Run rows of any lengths; gives ``vector`` and ``logits`` as ``Engine.run`` does."""


def load_engine(model_dir: ModelDir, engine: str, options: EngineOptions) -> Engine | RowEngine:
    """Load a graph into an engine.

    Args:
        model_dir: An opened model directory.
        engine: One of ``ENGINES``, or ``auto``: ``numpy`` for a student; for an encoder ``paddle``
            where Paddle finds a GPU, else ``openvino`` (docs/decisions/0001-engines.md).
        options: Precision, threads and extra outputs.

    Raises:
        ConfigError: No such engine, precision or node.
    """
    known = model_dir.manifest.layer_nodes
    unknown = [name for name in options.extra_outputs if name not in known]
    if unknown:
        raise ConfigError(f"no node {', '.join(unknown)}; the model has: {', '.join(known)}")
    is_student = not isinstance(model_dir.manifest.network, EncoderConfig)
    name = engine
    if engine == "auto":
        name = "numpy" if is_student else _default_engine()
    if name not in ENGINES:
        raise ConfigError(f"engine {name!r}: choose auto, {', '.join(ENGINES)}")
    if is_student and name != "numpy":
        raise ConfigError(f"engine {name!r} cannot run a student; choose auto or numpy")
    module = importlib.import_module(f"ernie_ray.inference.engines.{name}_engine")
    loaded: Engine | RowEngine = module.load(model_dir, options)
    return loaded


def choose_precision(wanted: str, best_first: Sequence[str], model_dir: ModelDir) -> str:
    """Settle on a precision.

    Args:
        wanted: ``auto`` or a precision.
        best_first: What the engine has on this machine; ``auto`` takes the first with a bound.
        model_dir: States for which precisions it has a parity bound.

    Raises:
        ConfigError: The wanted precision is unknown or cannot be had here.
    """
    bounded = [p for p in best_first if p in model_dir.manifest.parity]
    if wanted == "auto":
        return bounded[0]
    if wanted in best_first and wanted not in bounded:
        raise ConfigError(
            f"{model_dir.path}: its manifest states no bound for precision {wanted!r}; export the "
            f"model again, or choose auto or one of: {', '.join(bounded)}"
        )
    if wanted not in bounded:
        raise ConfigError(
            f"precision {wanted!r} cannot be had with this engine and machine; "
            f"choose auto or one of: {', '.join(bounded)}"
        )
    return wanted


def _default_engine() -> str:
    try:
        import paddle
    except ImportError:
        return "openvino"
    has_gpu = paddle.is_compiled_with_cuda() and paddle.device.cuda.device_count() > 0
    return "paddle" if has_gpu else "openvino"
