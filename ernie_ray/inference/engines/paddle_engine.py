"""Paddle Inference: the default on GPUs; oneDNN on the CPU."""

from __future__ import annotations

import os
import threading

import numpy as np
from numpy.typing import NDArray
from paddle import inference

from ernie_ray.inference.engines.cpu import cpu_precisions
from ernie_ray.inference.engines.engine import EngineOptions, choose_precision
from ernie_ray.modeldir import ModelDir
from ernie_ray.modeldir.folder import PADDLE_GRAPH, PADDLE_WEIGHTS
from ernie_ray.text.features import FeatureBatch

_INITIAL_GPU_MEMORY_MB = 256
# oneDNN keeps kernels for as many shapes; with more, memory grows by 0.1 MB for every new one.
_NUM_CACHED_SHAPES = 10


class PaddleEngine:
    """A Paddle predictor. It is not thread-safe, so calls take turns."""

    name = "paddle"

    def __init__(
        self, predictor: inference.Predictor, precision: str, outputs: dict[str, int]
    ) -> None:
        """Wrap a predictor.

        Args:
            predictor: Ready to run.
            precision: What it computes in.
            outputs: Wanted outputs with their index in the graph.
        """
        self.precision = precision
        self._predictor = predictor
        handles = predictor.get_output_names()
        self._outputs = {name: handles[index] for name, index in outputs.items()}
        self._turn = threading.Lock()

    def run(self, batch: FeatureBatch) -> dict[str, NDArray[np.float32]]:
        """Run one padded batch; see ``Engine.run``."""
        arrays = {
            "input_ids": batch.input_ids,
            "token_type_ids": batch.token_type_ids,
            "attention_mask": batch.attention_mask,
        }
        with self._turn:
            for name in self._predictor.get_input_names():
                handle = self._predictor.get_input_handle(name)
                handle.copy_from_cpu(np.ascontiguousarray(arrays[name]))
            self._predictor.run()
            return {
                name: self._predictor.get_output_handle(handle)
                .copy_to_cpu()
                .astype(np.float32, copy=False)
                for name, handle in self._outputs.items()
            }


def load(model_dir: ModelDir, options: EngineOptions) -> PaddleEngine:
    """Load the Paddle graph on the GPU that the process sees, or on the CPU."""
    import paddle

    has_gpu = paddle.is_compiled_with_cuda() and paddle.device.cuda.device_count() > 0
    fastest_first = ["fp16", "bf16", "fp32"] if has_gpu else cpu_precisions()
    precision = choose_precision(options.precision, fastest_first, model_dir)
    config = inference.Config(
        str(model_dir.file(PADDLE_GRAPH)), str(model_dir.file(PADDLE_WEIGHTS))
    )
    config.disable_glog_info()
    config.switch_ir_optim(True)
    if has_gpu:
        modes = {
            "fp16": inference.PrecisionType.Half,
            "bf16": inference.PrecisionType.Bfloat16,
            "fp32": inference.PrecisionType.Float32,
        }
        config.enable_use_gpu(_INITIAL_GPU_MEMORY_MB, 0, modes[precision])
    else:
        config.disable_gpu()
        config.enable_mkldnn()
        if precision == "bf16":
            config.enable_mkldnn_bfloat16()
        config.set_mkldnn_cache_capacity(_NUM_CACHED_SHAPES)
        threads = options.num_threads or len(os.sched_getaffinity(0))
        config.set_cpu_math_library_num_threads(threads)
    names = model_dir.manifest.outputs
    wanted = model_dir.manifest.results + options.extra_outputs
    outputs = {name: names.index(name) for name in wanted}
    return PaddleEngine(inference.create_predictor(config), precision, outputs)
