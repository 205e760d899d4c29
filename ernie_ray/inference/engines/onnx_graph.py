"""Read an ONNX graph as far as its results, and nodes that are asked for besides, need it."""

from __future__ import annotations

from pathlib import Path

import onnx


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
    values = {value.name: value for value in model.graph.value_info}
    model.graph.output.extend(values[name] for name in names)
    is_left_out = _drop_unneeded_nodes(model.graph)
    if not (names or is_left_out):
        return str(path)
    serialized: bytes = model.SerializeToString()
    return serialized


def _drop_unneeded_nodes(graph: onnx.GraphProto) -> bool:
    """Remove nodes that no output needs; tells whether there were any."""
    needed = {output.name for output in graph.output}
    kept = []
    for node in reversed(graph.node):  # a node stands behind those that it reads
        if needed.intersection(node.output):
            needed.update(node.input)
            kept.append(node)
    is_left_out = len(kept) < len(graph.node)
    del graph.node[:]
    graph.node.extend(reversed(kept))
    return is_left_out
