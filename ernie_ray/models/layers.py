"""Linear, LayerNorm and dropout with Paddle's parameters and a faster training step on CPUs.

Paddle 3.3's CPU kernels sum a bias's gradient, differentiate a LayerNorm and draw dropout on one
thread, number by number, which is about a third of a step on two cores
(docs/decisions/0004-paddle-on-cpus.md). Here they are matrix products and a fast generator. On
other devices, while exporting and without gradients these layers are Paddle's own.

Dimension key: M rows (all but the last axis), H width.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import paddle
from numpy.typing import NDArray
from paddle import nn
from paddle.autograd import PyLayer
from paddle.nn import functional

_SEEDS = 2**31 - 1
_LEVELS = 2**16  # a dropout probability is rounded to so many


class Linear(nn.Linear):
    """As ``paddle.nn.Linear``, with the bias added within the product."""

    def forward(self, input: paddle.Tensor) -> paddle.Tensor:
        """Map [..., in] to [..., out]."""
        if not trains_on_cpu(input):
            return super().forward(input)
        rows_MH = paddle.reshape(input, [-1, input.shape[-1]])
        product = paddle.addmm(self.bias, rows_MH, self.weight)
        return paddle.reshape(product, [*input.shape[:-1], self.weight.shape[1]])


class LayerNorm(nn.LayerNorm):
    """As ``paddle.nn.LayerNorm`` over the last axis."""

    def forward(self, input: paddle.Tensor) -> paddle.Tensor:
        """Normalise [..., H]."""
        if not trains_on_cpu(input):
            return super().forward(input)
        return _Normalise.apply(input, self.weight, self.bias, self._epsilon)


class Dropout(nn.Dropout):
    """As ``paddle.nn.Dropout``; what it drops follows from ``paddle.seed``."""

    def forward(self, input: paddle.Tensor) -> paddle.Tensor:
        """Zero a share of [...] and scale the others up, while training."""
        if not (self.training and 0 < self.p < 1 and trains_on_cpu(input)):
            return super().forward(input)
        seed = paddle.randint(0, _SEEDS, [1]).item()
        return input * paddle.to_tensor(_kept(seed, self.p, tuple(input.shape)))


def _kept(seed: int, probability: float, shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Draw a mask of 0 and 1 / (1 - p): 16 random bits for each number."""
    size = int(np.prod(shape))
    words = np.random.SFC64(seed).random_raw(-(-size // 4))
    threshold = min(round(probability * _LEVELS), _LEVELS - 1)
    scale = _LEVELS / (_LEVELS - threshold)
    is_kept = words.view(np.uint16)[:size].reshape(shape) >= threshold
    return np.multiply(is_kept, scale, dtype=np.float32)


class _Normalise(PyLayer):
    """LayerNorm whose sums and spreads over an axis are products with ones.

    Paddle adds equal shapes, and multiplies matrices, ten times faster than it sums over rows or
    broadcasts.
    """

    @staticmethod
    def forward(
        ctx: Any, states: paddle.Tensor, weight: paddle.Tensor, bias: paddle.Tensor, epsilon: float
    ) -> paddle.Tensor:
        ctx.save_for_backward(states, weight)
        ctx.epsilon = epsilon
        return functional.layer_norm(states, states.shape[-1:], weight, bias, epsilon)

    @staticmethod
    def backward(ctx: Any, gradient: paddle.Tensor) -> tuple[paddle.Tensor, ...]:
        states, weight_H = ctx.saved_tensor()
        width = states.shape[-1]
        x_MH = paddle.reshape(states, [-1, width])
        dy_MH = paddle.reshape(gradient, [-1, width])
        mean_H1 = paddle.full([width, 1], 1.0 / width)
        ones_1H, ones_1M = paddle.ones([1, width]), paddle.ones([1, x_MH.shape[0]])

        def mean_of(rows_MH: paddle.Tensor) -> paddle.Tensor:
            return paddle.matmul(rows_MH, mean_H1)

        def spread(column_M1: paddle.Tensor) -> paddle.Tensor:
            return paddle.matmul(column_M1, ones_1H)

        centred_MH = x_MH - spread(mean_of(x_MH))
        scale_MH = spread(paddle.rsqrt(mean_of(centred_MH * centred_MH) + ctx.epsilon))
        unit_MH = centred_MH * scale_MH
        weighted_MH = dy_MH * paddle.matmul(ones_1M, weight_H[None], transpose_x=True)
        pulled_MH = spread(mean_of(weighted_MH)) + unit_MH * spread(mean_of(weighted_MH * unit_MH))
        dx_MH = (weighted_MH - pulled_MH) * scale_MH
        return (
            paddle.reshape(dx_MH, states.shape),
            paddle.matmul(ones_1M, dy_MH * unit_MH)[0],
            paddle.matmul(ones_1M, dy_MH)[0],
        )


def trains_on_cpu(tensor: paddle.Tensor) -> bool:
    """Whether the layers above go their own way for this input."""
    return bool(
        paddle.in_dynamic_mode()
        and paddle.is_grad_enabled()
        and tensor.place.is_cpu_place()
        and tensor.dtype == paddle.float32
    )
