"""ONNX Runtime on the CPU, in fp32."""

from __future__ import annotations

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from ernie_ray.inference.engines.engine import EngineOptions, choose_precision
from ernie_ray.inference.engines.onnx_graph import needed_graph
from ernie_ray.modeldir import ModelDir
from ernie_ray.modeldir.folder import ONNX_GRAPH
from ernie_ray.text.features import FeatureBatch

_LOG_ERRORS_ONLY = 3


class OnnxruntimeEngine:
    """A session; it is thread-safe itself."""

    name = "onnxruntime"

    def __init__(self, session: onnxruntime.InferenceSession, precision: str) -> None:
        self.precision = precision
        self._session = session
        self._outputs = [output.name for output in session.get_outputs()]
        self._inputs = {i.name for i in session.get_inputs()}

    def run(self, batch: FeatureBatch) -> dict[str, NDArray[np.float32]]:
        """Run one padded batch; see ``Engine.run``."""
        arrays = {
            "input_ids": batch.input_ids,
            "token_type_ids": batch.token_type_ids,
            "attention_mask": batch.attention_mask,
        }
        results = self._session.run(None, {name: arrays[name] for name in self._inputs})
        return dict(zip(self._outputs, results, strict=True))


def load(model_dir: ModelDir, options: EngineOptions) -> OnnxruntimeEngine:
    """Open a session over the ONNX graph."""
    precision = choose_precision(options.precision, ["fp32"], model_dir)
    settings = onnxruntime.SessionOptions()
    settings.log_severity_level = _LOG_ERRORS_ONLY
    settings.intra_op_num_threads = options.num_threads or 0
    # Its memory pool would keep the largest block for every shape ever seen.
    settings.enable_cpu_mem_arena = False
    graph, extra = model_dir.file(ONNX_GRAPH), options.extra_outputs
    pooling = model_dir.manifest.vector.pooling
    may_leave_out = pooling is not None and pooling.reads_first_token
    source = needed_graph(graph, extra) if extra or may_leave_out else str(graph)
    session = onnxruntime.InferenceSession(source, settings, providers=["CPUExecutionProvider"])
    return OnnxruntimeEngine(session, precision)
