"""What needs a CUDA device: skipped with its reason where there is none; `make gpu-check`."""

from __future__ import annotations

import pytest


@pytest.fixture(scope="session", autouse=True)
def num_cards() -> int:
    """Cards that Paddle sees, at least one."""
    import paddle

    if not paddle.is_compiled_with_cuda():
        pytest.skip("this Paddle is built without CUDA; install paddlepaddle-gpu")
    found = int(paddle.device.cuda.device_count())
    if not found:
        pytest.skip("no NVIDIA card is visible")
    return found
