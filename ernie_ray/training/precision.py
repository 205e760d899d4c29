"""Number format of a training step: fp32, or matrix products in bf16 or fp16 with loss scaling.

Knows Paddle's automatic mixed precision (level O1: weights, their updates, softmax and norms stay
fp32) and gradients; not the loop.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext

import paddle

from ernie_ray.errors import ConfigError
from ernie_ray.training.loss_scale import LossScale

# As Paddle's and PyTorch's scalers.
_FIRST_SCALE = 65536.0

_DTYPES = {"bf16": "bfloat16", "fp16": "float16"}


class Precision:
    """Runs the forward pass in a number format and keeps gradients whole.

    Attributes:
        loss_scale: The factor now.
        scales_loss: It is used at all: in fp16.
    """

    loss_scale: LossScale
    scales_loss: bool

    def __init__(self, name: str) -> None:
        """Prepare for fp32, bf16 or fp16 on the current device.

        Raises:
            ConfigError: The device cannot; Paddle would go on in fp32 with a warning.
        """
        self._dtype = _DTYPES.get(name)
        self.scales_loss = name == "fp16"
        self.loss_scale = LossScale(factor=_FIRST_SCALE if self.scales_loss else 1.0)
        if self._dtype and not _device_has(self._dtype):
            raise ConfigError(
                f"training.precision={name} cannot be used on {paddle.get_device()}; it needs a "
                "GPU with tensor cores (bf16: Ampere or newer). Set training.precision=fp32"
            )

    @property
    def can_scale_down(self) -> bool:
        """An overflow may yet be mended by a smaller factor."""
        return self.scales_loss and self.loss_scale.factor > 1.0

    def forward(self) -> AbstractContextManager[None]:
        """Surrounds a forward pass; what leaves it may be in the short format."""
        if self._dtype is None:
            return nullcontext()
        return paddle.amp.auto_cast(dtype=self._dtype, level="O1")

    def scaled(self, loss: paddle.Tensor) -> paddle.Tensor:
        """The loss whose gradient is taken."""
        return loss * self.loss_scale.factor if self.scales_loss else loss

    def unscale(self, parameters: Sequence[paddle.Tensor]) -> bool:
        """Undo ``scaled`` in the gradients, after they were summed over the workers.

        Every worker holds the same sums, so all come to the same answer.

        Returns:
            The gradients can be used; False: leave this step out.
        """
        if not self.scales_loss:
            return True
        gradients = [p.grad for p in parameters if p.grad is not None]
        checks = [paddle.isfinite(gradient).all() for gradient in gradients]
        is_finite = bool(paddle.stack(checks).all())
        with paddle.no_grad():
            for gradient in gradients:
                gradient.scale_(1.0 / self.loss_scale.factor)
        self.loss_scale = self.loss_scale.after(is_finite=is_finite)
        return is_finite


def _device_has(dtype: str) -> bool:
    if not paddle.get_device().startswith("gpu"):
        return False
    if dtype == "float16":
        return bool(paddle.amp.is_float16_supported())
    return bool(paddle.amp.is_bfloat16_supported())
