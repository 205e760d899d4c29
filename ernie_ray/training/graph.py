"""Write a trained network as graphs: one for Paddle Inference, one in ONNX.

Both have dynamic shapes, pooling inside, and every layer's output under a known name. Knows nothing
of checkpoints, manifests or engines.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import onnx
import paddle
import paddle2onnx
from paddle import nn

from ernie_ray.modeldir.folder import ONNX_GRAPH, PADDLE_GRAPH, PADDLE_WEIGHTS
from ernie_ray.models.build import Network
from ernie_ray.models.text_network import TextNetwork

_ONNX_OPSET = 17
"""The first with LayerNormalization as one node, which engines fuse."""

INPUT_NAMES = ("input_ids", "token_type_ids", "attention_mask")


class _ExportedNetwork(nn.Layer):
    """The network as a function of three arrays to a flat tuple, which a graph can hold."""

    def __init__(self, network: TextNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(
        self,
        input_ids: paddle.Tensor,
        token_type_ids: paddle.Tensor,
        attention_mask: paddle.Tensor,
    ) -> tuple[paddle.Tensor, ...]:
        network = self.network
        states = network.encoder(input_ids, token_type_ids, attention_mask)
        last_states = states[-1]
        if network.reads_first_token:
            # Once more by itself, so that who is not asked for the layer can leave the rest out.
            last_states = network.encoder.first_of_last_layer(states[-2], attention_mask)
        vector, logits = network.results(last_states, attention_mask)
        results = (vector,) if logits is None else (vector, logits)
        return results + states[1:]


def result_names(network: Network) -> tuple[str, ...]:
    """Graph outputs that every caller wants: ``vector`` and, with a head, ``logits``."""
    return ("vector", "logits") if network.task.num_outputs else ("vector",)


def layer_names(network: TextNetwork) -> tuple[str, ...]:
    """Node names of the layers' outputs [batch, tokens, hidden], ``layer_1`` first."""
    return tuple(f"layer_{i + 1}" for i in range(network.encoder.config.num_layers))


def write_graphs(network: TextNetwork, folder: Path) -> None:
    """Write the Paddle graph and the ONNX graph of a network into a folder.

    The Paddle graph's outputs are ``result_names`` followed by ``layer_names``, in that order. In
    the ONNX graph only ``result_names`` are outputs; a reader that wants a layer adds its node. So
    where the first token alone is read (pooling ``cls`` and ``pooler``), ONNX engines compute five
    sixths of the last layer on demand only.
    """
    network.eval()
    static = paddle.jit.to_static(
        _ExportedNetwork(network),
        input_spec=[
            paddle.static.InputSpec([None, None], "int64", name=name) for name in INPUT_NAMES
        ],
        full_graph=True,
    )
    paddle.jit.save(static, str(folder / PADDLE_GRAPH.removesuffix(".json")))
    with _silent_native_output():
        paddle2onnx.export(
            str(folder / PADDLE_GRAPH),
            str(folder / PADDLE_WEIGHTS),
            str(folder / ONNX_GRAPH),
            opset_version=_ONNX_OPSET,
            auto_upgrade_opset=False,
            # Its default optimizer installs packages over the network while it runs.
            optimize_tool="none",
        )
    model = onnx.load(str(folder / ONNX_GRAPH))
    results = result_names(network)
    _rename_outputs(model.graph, results + layer_names(network))
    _hide_outputs(model.graph, keep=results)
    _drop_unused_constants(model.graph)
    onnx.checker.check_model(model)
    onnx.save(model, str(folder / ONNX_GRAPH))


@contextmanager
def _silent_native_output() -> Iterator[None]:
    """Drop what C++ code prints to stdout, which is for the command's own results."""
    sys.stdout.flush()
    kept = os.dup(1)
    try:
        with Path(os.devnull).open("wb") as nowhere:
            os.dup2(nowhere.fileno(), 1)
        yield
    finally:
        os.dup2(kept, 1)
        os.close(kept)


def _rename_outputs(graph: onnx.GraphProto, names: tuple[str, ...]) -> None:
    """Give the outputs, in order, their names; every node that reads them follows."""
    new_name = {output.name: name for output, name in zip(graph.output, names, strict=True)}
    for node in graph.node:
        for ends in (node.input, node.output):
            ends[:] = [new_name.get(end, end) for end in ends]
    for output in graph.output:
        output.name = new_name[output.name]


def _hide_outputs(graph: onnx.GraphProto, *, keep: tuple[str, ...]) -> None:
    """Turn outputs into inner values, whose types stay known."""
    outputs = list(graph.output)
    del graph.output[:]
    for output in outputs:
        (graph.output if output.name in keep else graph.value_info).append(output)


def _drop_unused_constants(graph: onnx.GraphProto) -> None:
    used = {end for node in graph.node for end in node.input}
    kept = [constant for constant in graph.initializer if constant.name in used]
    del graph.initializer[:]
    graph.initializer.extend(kept)
    nodes = [n for n in graph.node if n.op_type != "Constant" or used.intersection(n.output)]
    del graph.node[:]
    graph.node.extend(nodes)
