"""Products in 8 bits: an OpenVINO graph whose weight matrices are int8 with a scale per output.

Weights are rounded when a graph is loaded; activations by OpenVINO at every product ("dynamic
quantization", groups of ``GROUP_SIZE`` values with a scale each), so that no calibration is needed.
What this brings, and where: docs/decisions/0001-engines.md.

Dimension key: O outputs of a product, I inputs.
"""

from __future__ import annotations

import numpy as np
import openvino
from numpy.typing import NDArray
from openvino import opset13

GROUP_SIZE = 64
"""Values of an activation that share a scale; 32 is slower, 128 errs more."""

_MIN_OUTPUTS = 64
"""Smaller products (heads) cost nothing and decide the scores: they stay as they are."""


def quantize_weights(model: openvino.Model) -> None:
    """Replace constant matrices by int8 ones, in place.

    Args:
        model: A graph as it was read.
    """
    products = [node for node in model.get_ordered_ops() if node.get_type_name() == "MatMul"]
    for product in products:
        constant = product.input_value(1).get_node()
        if constant.get_type_name() != "Constant" or len(constant.shape) != 2:
            continue
        attributes = product.get_attributes()
        weight = np.asarray(constant.data, np.float32)
        weight_OI = weight if attributes["transpose_b"] else weight.T
        if weight_OI.shape[0] < _MIN_OUTPUTS:
            continue
        matrix_OI, scale_O1 = _rounded(weight_OI)
        widened = opset13.convert(opset13.constant(matrix_OI), "f32")
        replacement = opset13.matmul(
            product.input_value(0),
            opset13.multiply(widened, opset13.constant(scale_O1)),
            bool(attributes["transpose_a"]),
            True,
        )
        replacement.set_friendly_name(product.get_friendly_name())
        product.output(0).replace(replacement.output(0))
    model.validate_nodes_and_infer_types()


def _rounded(weight_OI: NDArray[np.float32]) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    scale_O1 = np.abs(weight_OI).max(axis=1, keepdims=True) / np.float32(127)
    scale_O1 = np.where(scale_O1 > 0, scale_O1, np.float32(1)).astype(np.float32)
    return np.rint(weight_OI / scale_O1).astype(np.int8), scale_O1
