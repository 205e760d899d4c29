"""AdamW as encoders are fine-tuned: decay groups, clipping, warm-up and linear decay."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import paddle
from numpy.typing import NDArray
from paddle import nn

from ernie_ray.config import TrainingSection
from ernie_ray.errors import CheckpointError


@dataclass(frozen=True)
class LinearSchedule:
    """Learning rate that rises to its peak and falls linearly to 0.

    The kit's schedule (``demo/finetune_classifier.py``):
    min(step / warm, (max - step) / (max - warm)).
    """

    peak: float
    num_warmup_steps: int
    num_steps: int

    def at(self, step: int) -> float:
        """Learning rate of the optimizer step with this number, counted from 0."""
        if step < self.num_warmup_steps:
            return self.peak * (step + 1) / self.num_warmup_steps
        left = self.num_steps - step
        return self.peak * max(left, 0) / max(self.num_steps - self.num_warmup_steps, 1)


class AdamW:
    """Paddle's AdamW over a network, with state named by the network's parameters.

    Paddle names optimizer state after a process-wide counter (``linear_7.w_0_moment1_0``), which
    differs as soon as another layer is built first; here the names are the network's own.
    """

    def __init__(self, network: nn.Layer, settings: TrainingSection) -> None:
        """Prepare for the trainable parameters of ``network``.

        Biases and LayerNorm weights (every parameter with one dimension) are not decayed.
        """
        self._parameters = {
            name: p for name, p in network.named_parameters() if not p.stop_gradient
        }
        if settings.head_learning_rate is not None:
            for name, parameter in self._parameters.items():
                if name.startswith("head."):
                    ratio = settings.head_learning_rate / settings.learning_rate
                    parameter.optimize_attr["learning_rate"] = ratio
        for name, parameter in self._parameters.items():
            if (depth := _depth_below_top(name, network)) and settings.layer_decay < 1:
                parameter.optimize_attr["learning_rate"] = settings.layer_decay**depth
        decayed = {p.name for p in self._parameters.values() if len(p.shape) > 1}
        self._optimizer = paddle.optimizer.AdamW(
            learning_rate=settings.learning_rate,
            parameters=list(self._parameters.values()),
            weight_decay=settings.weight_decay,
            apply_decay_param_fun=decayed.__contains__,
            grad_clip=nn.ClipGradByGlobalNorm(settings.clip_norm),
        )

    @property
    def parameters(self) -> list[paddle.Tensor]:
        """The trained parameters, in the network's order."""
        return list(self._parameters.values())

    def step(self, learning_rate: float) -> None:
        """Apply the gradients once and clear them."""
        self._optimizer.set_lr(learning_rate)
        self._optimizer.step()
        self._optimizer.clear_grad()

    def skip_step(self) -> None:
        """Clear the gradients without using them."""
        self._optimizer.clear_grad()

    def state(self) -> dict[str, NDArray[np.float32]]:
        """Copy the state out: ``{parameter}:{slot}`` to array; empty before the first step."""
        found = self._optimizer.state_dict()
        return {
            f"{name}:{key.removeprefix(parameter.name + '_')}": value.numpy()
            for name, parameter in self._parameters.items()
            for key, value in found.items()
            if key.startswith(parameter.name + "_")
        }

    def load_state(self, state: dict[str, NDArray[np.float32]]) -> None:
        """Restore what ``state`` gave.

        Raises:
            CheckpointError: The state is of other parameters than those trained here.
        """
        restored = {}
        for key, value in state.items():
            name, _, slot = key.rpartition(":")
            if name not in self._parameters:
                raise CheckpointError(
                    f"optimizer state of {name}, which is not trained here; resume with the "
                    "recipe that the run was started with"
                )
            restored[f"{self._parameters[name].name}_{slot}"] = paddle.to_tensor(value)
        self._optimizer.set_state_dict(restored)


def _depth_below_top(name: str, network: nn.Layer) -> int:
    """Layers above a parameter: 0 for the top one and the head, their number for embeddings."""
    if name.startswith("encoder.embeddings."):
        return len(network.encoder.layers)
    if name.startswith("encoder.layers."):
        return len(network.encoder.layers) - 1 - int(name.split(".")[2])
    return 0
