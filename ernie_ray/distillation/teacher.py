"""Ask a teacher: texts in, its logits and, if wanted, its vectors out.

Knows the model directory only through ``Predictor``.

Dimension key: N texts, C task outputs, H numbers per vector.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ernie_ray.errors import ConfigError
from ernie_ray.inference.predictor import Predictor, normalize
from ernie_ray.text.tokenizer import Text


@dataclass(frozen=True)
class TeacherSettings:
    """How a teacher is run.

    Attributes:
        engine: As for ``Predictor.from_dir``.
        precision: As for ``Predictor.from_dir``.
        batch_tokens: Largest padded size of a batch, in tokens.
    """

    engine: str = "auto"
    precision: str = "auto"
    batch_tokens: int = 4096


@dataclass(frozen=True)
class TeacherOutputs:
    """What the teacher gives for N texts.

    Attributes:
        logits: Before temperature, float32 [N, C].
        vectors: float32 [N, H], scaled as the manifest says.
    """

    logits: NDArray[np.float32]
    vectors: NDArray[np.float32]


class Teacher:
    """A loaded model directory with a head."""

    def __init__(
        self, folder: Path, settings: TeacherSettings, *, num_threads: int | None = None
    ) -> None:
        """Load and verify.

        Args:
            folder: A model directory on this machine.
            settings: How it is run.
            num_threads: CPU threads of one forward pass; None: all that the process may use.

        Raises:
            ModelDirError: The directory is broken.
            ConfigError: The model has no head, or the engine cannot be had.
        """
        self._predictor = Predictor.from_dir(
            folder,
            engine=settings.engine,
            precision=settings.precision,
            num_threads=num_threads,
        )
        if not self._predictor.manifest.task.num_outputs:
            raise ConfigError(
                f"{folder}: the model has no head, so it has nothing to teach; fine-tune it first"
            )
        self._batch_tokens = settings.batch_tokens

    @property
    def engine(self) -> str:
        """Engine and precision that run it, ``"openvino bf16"``; ``auto`` is resolved."""
        return f"{self._predictor.engine} {self._predictor.precision}"

    def ask(self, texts: Sequence[Text]) -> TeacherOutputs:
        """Run texts, sorted by length into batches of the token budget; answers in their order.

        Raises:
            InferenceError: An output is NaN or infinite.
        """
        outputs = self._predictor.run(texts, batch_tokens=self._batch_tokens)
        assert outputs.logits is not None  # a model with a head was asked for
        vectors = outputs.vectors
        if self._predictor.manifest.vector.normalize:
            vectors = normalize(vectors)
        return TeacherOutputs(outputs.logits, vectors)
