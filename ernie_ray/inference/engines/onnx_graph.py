"""Read an ONNX graph as far as its results, and nodes that are asked for besides, need it."""

from __future__ import annotations

from pathlib import Path

import onnx
from onnx.utils import Extractor


def needed_graph(path: Path, names: tuple[str, ...]) -> bytes | str:
    """Give what an engine reads.

    An engine that has read a graph has either lost the nodes that no result needs (OpenVINO), and
    cannot be asked for them afterwards, or runs them for nothing (ONNX Runtime).

    Args:
        path: An ONNX file.
        names: Inner nodes, whose types the file knows, that become outputs.

    Returns:
        The path, if the file is what is needed; else a graph's bytes.
    """
    model = onnx.load(str(path))
    inputs, outputs = (
        [port.name for port in ports] for ports in (model.graph.input, model.graph.output)
    )
    needed = Extractor(model).extract_model(inputs, [*outputs, *names])
    if not names and len(needed.graph.node) == len(model.graph.node):
        return str(path)
    serialized: bytes = needed.SerializeToString()
    return serialized
