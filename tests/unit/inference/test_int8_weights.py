"""Rounding of an OpenVINO graph's weights, on graphs made here."""

from dataclasses import replace

import numpy as np
import openvino
import pytest
from openvino import opset13

from ernie_ray.errors import ConfigError
from ernie_ray.inference.engines.engine import choose_precision
from ernie_ray.inference.engines.int8_weights import quantize_weights
from ernie_ray.modeldir import open_model_dir

WIDTH, INNER, LABELS, ROWS = 96, 160, 3, 11


def graph(*, is_transposed):
    """A product, its activation, and a head as small as a classifier's."""
    rng = np.random.default_rng(3)
    inner = rng.standard_normal((WIDTH, INNER)).astype(np.float32)
    head = rng.standard_normal((INNER, LABELS)).astype(np.float32)
    inner[:, 7] = 0.0  # an output without any weight has no scale of its own
    data = opset13.parameter([-1, WIDTH], np.float32)
    stored = np.ascontiguousarray(inner.T) if is_transposed else inner
    hidden = opset13.relu(opset13.matmul(data, opset13.constant(stored), False, is_transposed))
    logits = opset13.matmul(hidden, opset13.constant(head), False, False)
    return openvino.Model([hidden, logits], [data])


def run(model, x):
    compiled = openvino.Core().compile_model(
        model, "CPU", {"INFERENCE_PRECISION_HINT": "f32", "DYNAMIC_QUANTIZATION_GROUP_SIZE": 0}
    )
    return [np.array(value) for value in compiled(x).values()]


@pytest.mark.parametrize("is_transposed", [False, True])
def test_wide_products_are_rounded_a_little_and_heads_not_at_all(is_transposed):
    x = np.random.default_rng(4).standard_normal((ROWS, WIDTH)).astype(np.float32)
    exact = run(graph(is_transposed=is_transposed), x)
    model = graph(is_transposed=is_transposed)
    quantize_weights(model)
    constants = [op for op in model.get_ordered_ops() if op.get_type_name() == "Constant"]
    shapes = {tuple(op.shape): op.get_element_type().get_type_name() for op in constants}
    assert list(shapes.values()).count("i8") == 1
    assert shapes[(INNER, WIDTH)] == "i8"
    assert shapes[(INNER, LABELS)] == "f32"
    hidden, logits = run(model, x)
    error = np.linalg.norm(hidden - exact[0]) / np.linalg.norm(exact[0])
    assert 0 < error < 0.01
    assert not hidden[:, 7].any()
    assert np.linalg.norm(logits - exact[1]) / np.linalg.norm(exact[1]) < 0.02


def test_a_folder_older_than_a_precision_is_told_to_be_exported_again(tiny_model_dir):
    model_dir = open_model_dir(tiny_model_dir)
    bounds = {key: value for key, value in model_dir.manifest.parity.items() if key != "int8"}
    older = model_dir.manifest.model_copy(update={"parity": bounds})
    older_dir = replace(model_dir, manifest=older)
    assert choose_precision("auto", ["fp32", "int8"], older_dir) == "fp32"
    with pytest.raises(ConfigError, match="no bound for precision 'int8'; export the model again"):
        choose_precision("int8", ["fp32", "int8"], older_dir)
