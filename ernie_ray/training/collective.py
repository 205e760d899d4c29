"""What the loop needs of the other training workers: one sum.

Knows Paddle's process group, not how it was set up (``ernie_ray.backend`` does that under Ray).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import paddle
from numpy.typing import NDArray


@dataclass(frozen=True)
class WorkerGroup:
    """This worker's place among those that train together.

    Attributes:
        rank: 0 for the worker that writes.
        world_size: Workers in all; with 1 nothing is sent.
    """

    rank: int = 0
    world_size: int = 1

    def sum_gradients(self, parameters: Sequence[paddle.Tensor]) -> None:
        """Replace every gradient by its sum over the workers.

        All gradients travel in one buffer: on gloo the count of messages costs more than their
        size, and parameters that got no gradient (a pooler that pooling leaves out) need no care.
        """
        if self.world_size == 1:
            return
        gradients = [p.grad for p in parameters if p.grad is not None]
        flat = paddle.concat([paddle.flatten(gradient) for gradient in gradients])
        paddle.distributed.all_reduce(flat)
        sizes = [int(gradient.size) for gradient in gradients]
        for gradient, part in zip(gradients, paddle.split(flat, sizes), strict=True):
            paddle.assign(paddle.reshape(part, gradient.shape), output=gradient)

    def sum_array(self, array: NDArray[np.float32]) -> NDArray[np.float32]:
        """Add the workers' arrays, float32 of one shape; every worker gets the sum."""
        if self.world_size == 1:
            return array
        tensor = paddle.to_tensor(array)
        paddle.distributed.all_reduce(tensor)
        return tensor.numpy()
