"""Students in numpy: the only engine that runs them, and it needs no framework."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file

from ernie_ray.errors import ConfigError
from ernie_ray.inference.engines.engine import EngineOptions, choose_precision
from ernie_ray.inference.students import NumpyStudent
from ernie_ray.modeldir import EncoderConfig, ModelDir
from ernie_ray.modeldir.folder import WEIGHTS
from ernie_ray.text.features import TokenIds


class NumpyEngine:
    """Runs rows as they are, without padding."""

    name = "numpy"
    precision = "fp32"

    def __init__(self, student: NumpyStudent) -> None:
        self._student = student

    def run_rows(self, rows: Sequence[TokenIds]) -> dict[str, NDArray[np.float32]]:
        """Run rows of any lengths; see ``RowEngine.run_rows``."""
        vectors, logits = self._student.run(rows)
        return {"vector": vectors, "logits": logits}


def load(model_dir: ModelDir, options: EngineOptions) -> NumpyEngine:
    """Read a student's weights and prepare its tables.

    Raises:
        ConfigError: The model is an encoder, or a precision other than fp32 is wanted.
    """
    network = model_dir.manifest.network
    if isinstance(network, EncoderConfig):
        raise ConfigError("engine 'numpy' runs students only; choose auto or another engine")
    choose_precision(options.precision, ["fp32"], model_dir)
    return NumpyEngine(NumpyStudent(network, load_file(model_dir.file(WEIGHTS))))
