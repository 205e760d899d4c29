"""The Paddle engine on a card beside another engine on the CPU."""

import numpy as np
import pytest

from ernie_ray.inference.predictor import Predictor
from tests.tiny_models import tiny_rows

pytestmark = pytest.mark.gpu


@pytest.mark.parametrize("precision", ["fp32", "fp16", "bf16"])
def test_paddle_on_a_card_gives_the_vectors_of_onnx_runtime_on_a_cpu(
    tiny_model_dir, precision, record_property
):
    texts = [text for text, _ in tiny_rows(64, seed=5)]
    on_card = Predictor.from_dir(tiny_model_dir, engine="paddle", precision=precision)
    on_cpu = Predictor.from_dir(tiny_model_dir, engine="onnxruntime", precision="fp32")
    left, right = on_card.run(texts).vectors, on_cpu.run(texts).vectors
    lengths = np.linalg.norm(left, axis=1) * np.linalg.norm(right, axis=1)
    smallest = ((left * right).sum(axis=1) / lengths).min()
    record_property("smallest cosine", f"{smallest:.6f}")
    assert smallest > on_card.manifest.parity[precision].min_cosine
