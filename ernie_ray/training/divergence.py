"""Stop a training that went astray."""

from __future__ import annotations

import math

from ernie_ray.config import TrainingSection
from ernie_ray.errors import DivergenceError


def refuse_divergence(loss: float, step: int, settings: TrainingSection) -> None:
    """Stop if a loss is no number: the weights are none either, and never will be again.

    Raises:
        DivergenceError: The loss is infinite or NaN.
    """
    if not math.isfinite(loss):
        raise DivergenceError(
            f"the loss is {loss} at step {step}; lower training.learning_rate (it is "
            f"{settings.learning_rate}) or training.clip_norm, and choose another --output"
        )
