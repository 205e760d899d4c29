"""OpenVINO on the CPU: the default there."""

from __future__ import annotations

import os

import numpy as np
import openvino
from numpy.typing import NDArray

from ernie_ray.inference.engines.cpu import cpu_precisions
from ernie_ray.inference.engines.engine import EngineOptions, choose_precision
from ernie_ray.inference.engines.int8_weights import GROUP_SIZE, quantize_weights
from ernie_ray.inference.engines.onnx_graph import needed_graph
from ernie_ray.modeldir import ModelDir
from ernie_ray.modeldir.folder import ONNX_GRAPH
from ernie_ray.text.features import FeatureBatch

# In int8 what is no product of a weight matrix stays in fp32.
_HINTS = {"fp32": "f32", "bf16": "bf16", "int8": "f32"}
_NUM_CACHED_SHAPES = 256
"""Compiled kernels kept for shapes seen before; bounds the memory that random shapes take."""


class OpenvinoEngine:
    """A compiled model; each call takes an inference request of its own from a pool."""

    name = "openvino"

    def __init__(
        self, compiled: openvino.CompiledModel, precision: str, outputs: tuple[str, ...]
    ) -> None:
        self.precision = precision
        self._compiled = compiled
        # A port may carry several names: those of the nodes that compiling merged.
        self._outputs = {
            name: i
            for i, port in enumerate(compiled.outputs)
            for name in port.get_names()
            if name in outputs
        }
        self._idle: list[openvino.InferRequest] = []

    def run(self, batch: FeatureBatch) -> dict[str, NDArray[np.float32]]:
        """Run one padded batch; see ``Engine.run``."""
        # list.pop and append are atomic, so concurrent calls never share a request.
        request = self._idle.pop() if self._idle else self._compiled.create_infer_request()
        try:
            request.infer(
                [batch.input_ids, batch.token_type_ids, batch.attention_mask], share_inputs=True
            )
            return {
                name: request.get_output_tensor(i).data.astype(np.float32, copy=True)
                for name, i in self._outputs.items()
            }
        finally:
            self._idle.append(request)


def openvino_precisions() -> list[str]:
    """What this engine has on this machine; int8 is last, so that it is taken on demand only."""
    return [*cpu_precisions(), "int8"]


def load(model_dir: ModelDir, options: EngineOptions) -> OpenvinoEngine:
    """Compile the ONNX graph for the CPU."""
    core = openvino.Core()
    precision = choose_precision(options.precision, openvino_precisions(), model_dir)
    graph, extra = model_dir.file(ONNX_GRAPH), options.extra_outputs
    model = core.read_model(needed_graph(graph, extra) if extra else str(graph))
    if precision == "int8":
        quantize_weights(model)
    outputs = model_dir.manifest.results + options.extra_outputs
    num_cores = len(os.sched_getaffinity(0))
    num_threads = options.num_threads or num_cores
    settings = {
        "INFERENCE_PRECISION_HINT": _HINTS[precision],
        "DYNAMIC_QUANTIZATION_GROUP_SIZE": GROUP_SIZE if precision == "int8" else 0,
        "INFERENCE_NUM_THREADS": num_threads,
        "NUM_STREAMS": 1,
        "PERFORMANCE_HINT": "LATENCY",
        "CPU_RUNTIME_CACHE_CAPACITY": _NUM_CACHED_SHAPES,
        # Threads are bound to the first cores, in every process alike: replicas and actors with a
        # part of the machine each would share those and leave the others idle. An engine that
        # has all cores gains a tenth by it under load.
        "ENABLE_CPU_PINNING": num_threads >= num_cores,
    }
    return OpenvinoEngine(core.compile_model(model, "CPU", settings), precision, outputs)
