"""Models whose vector is the first token's: the rest of their last layer is computed on demand."""

import numpy as np
import onnx
import openvino
import paddle
import pytest
from safetensors.numpy import load_file

from ernie_ray.inference.engines.onnx_graph import needed_graph
from ernie_ray.inference.predictor import Predictor
from ernie_ray.modeldir import Pooling, open_model_dir
from ernie_ray.modeldir.folder import ONNX_GRAPH
from ernie_ray.models.encoder import load_weights
from ernie_ray.models.text_network import TextNetwork
from ernie_ray.text.features import pad_batch
from tests.tiny_models import export_tiny_classifier

TEXTS = ["好书", "这家店的服务很差，不推荐。", "good", "很"]


@pytest.fixture(scope="module", params=[Pooling.CLS, Pooling.POOLER])
def folder(request, tmp_path_factory):
    return export_tiny_classifier(tmp_path_factory.mktemp("first") / "m", pooling=request.param)


def eager(folder, rows):
    manifest = open_model_dir(folder).manifest
    network = TextNetwork(manifest.network, pooling=manifest.vector.pooling, task=manifest.task)
    load_weights(network, load_file(folder / "weights.safetensors"))
    network.eval()
    batch = pad_batch(rows, pad_token_id=0)
    with paddle.no_grad():
        return network(
            *map(paddle.to_tensor, (batch.input_ids, batch.token_type_ids, batch.attention_mask))
        )


def products_of_one_token(graph):
    """Matrix products over the first token alone, among those that the results need."""
    model = openvino.Core().read_model(str(graph))
    shapes = [
        node.output(0).partial_shape
        for node in model.get_ordered_ops()
        if node.get_type_name() == "MatMul" and len(node.output(0).partial_shape) == 3
    ]
    return sum(shape[1].get_max_length() == 1 for shape in shapes)


@pytest.mark.parametrize("layers", [[], ["layer_2"]], ids=["", "last layer"])
@pytest.mark.parametrize("engine", ["openvino", "onnxruntime", "paddle"])
def test_the_short_way_gives_what_the_network_gives(engine, layers, folder):
    predictor = Predictor.from_dir(folder, engine=engine, precision="fp32", layers=layers)
    rows = predictor.tokenize(TEXTS)
    found, expected = predictor.forward(rows), eager(folder, rows)
    np.testing.assert_allclose(found.vectors, expected.vector.numpy(), atol=1e-4)
    np.testing.assert_allclose(found.logits, expected.logits.numpy(), atol=1e-4)
    for name in layers:
        states = expected.layer_states[-1].numpy()
        for i, row in enumerate(rows):
            of_row = slice(None, len(row))
            np.testing.assert_allclose(found.states[name][i, of_row], states[i, of_row], atol=1e-4)


def test_int8_rounds_the_last_layer_where_it_is_exposed(folder):
    predictor = Predictor.from_dir(folder, engine="openvino", precision="int8", layers=["layer_2"])
    whole = Predictor.from_dir(folder, engine="openvino", precision="fp32", layers=["layer_2"])
    rows = predictor.tokenize(TEXTS)
    found, exact = (one.forward(rows).states["layer_2"] for one in (predictor, whole))
    assert np.abs(found - exact).max() > 1e-4


def test_a_graph_is_read_as_far_as_it_is_needed(folder, tmp_path):
    path = folder / ONNX_GRAPH
    whole = onnx.load(str(path)).graph
    short, exposed = (
        onnx.load_from_string(needed_graph(path, names)).graph for names in ((), ("layer_2",))
    )
    assert len(short.node) < len(exposed.node) <= len(whole.node)
    assert [output.name for output in exposed.output] == ["vector", "logits", "layer_2"]
    mean = export_tiny_classifier(tmp_path / "mean", pooling=Pooling.MEAN) / ONNX_GRAPH
    assert needed_graph(mean, ()) == str(mean)


def test_where_the_first_token_alone_is_read_the_others_are_left_out(folder, tmp_path):
    assert products_of_one_token(folder / ONNX_GRAPH) == 4  # query, output, widened, narrowed
    mean = export_tiny_classifier(tmp_path / "mean", pooling=Pooling.MEAN)
    assert products_of_one_token(mean / ONNX_GRAPH) == 0
