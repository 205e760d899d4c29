"""Read an ONNX graph with more outputs than it has."""

from __future__ import annotations

from pathlib import Path

import onnx


def with_outputs(graph: Path, names: tuple[str, ...]) -> bytes | str:
    """Give what an engine reads: the path, or the bytes of a graph with inner nodes as outputs.

    Nodes that no result needs are lost once an engine has read a graph, so that it cannot be asked
    for them afterwards.

    Args:
        graph: An ONNX file.
        names: Inner nodes, whose types the file knows; none: the file as it is.
    """
    if not names:
        return str(graph)
    model = onnx.load(str(graph))
    values = {value.name: value for value in model.graph.value_info}
    model.graph.output.extend(values[name] for name in names)
    serialized: bytes = model.SerializeToString()
    return serialized
