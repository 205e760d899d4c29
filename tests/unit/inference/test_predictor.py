import os
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import onnxruntime
import paddle
import pytest
from safetensors.numpy import load_file

from ernie_ray.errors import ConfigError, MalformedRequestError, ModelDirError
from ernie_ray.inference.engines import EngineOptions, load_engine
from ernie_ray.inference.engines.cpu import cpu_precisions
from ernie_ray.inference.engines.openvino_engine import openvino_precisions
from ernie_ray.inference.layer_pooling import POOLER
from ernie_ray.inference.parity import check_parity, cosines
from ernie_ray.inference.predictor import Predictor, normalize
from ernie_ray.inference.text_model import Outputs
from ernie_ray.modeldir import PairSpec, open_model_dir
from ernie_ray.models.encoder import load_weights
from ernie_ray.models.text_network import TextNetwork
from ernie_ray.text.features import TokenIds, pad_batch
from tests.tiny_models import export_tiny_classifier

ENGINES = [("openvino", "fp32"), ("onnxruntime", "fp32"), ("paddle", "fp32")]
TEXTS = ["好书", "这家店的服务很差，不推荐。", "good", "很", "房间干净！服务好 good bad goods abc"]


@pytest.fixture(scope="module", params=ENGINES, ids=lambda pair: "-".join(pair))
def predictor(request, tiny_model_dir):
    engine, precision = request.param
    return Predictor.from_dir(tiny_model_dir, engine=engine, precision=precision)


@pytest.fixture(scope="module")
def network(tiny_model_dir):
    """The network in Paddle eager mode, from the directory's own weights."""
    manifest = open_model_dir(tiny_model_dir).manifest
    built = TextNetwork(manifest.network, pooling=manifest.vector.pooling, task=manifest.task)
    load_weights(built, load_file(tiny_model_dir / "weights.safetensors"))
    built.eval()
    return built


def eager(network, rows):
    batch = pad_batch(rows, pad_token_id=0)
    with paddle.no_grad():
        return network(
            *map(paddle.to_tensor, (batch.input_ids, batch.token_type_ids, batch.attention_mask))
        )


def random_rows(rng, count):
    lengths = rng.integers(3, 33, count)
    return [TokenIds([2, *rng.integers(5, 60, n - 2).tolist(), 3], [0] * n) for n in lengths]


def test_every_engine_gives_what_the_network_gives(predictor, network):
    rows = random_rows(np.random.default_rng(5), 7)
    found, expected = predictor.forward(rows), eager(network, rows)
    np.testing.assert_allclose(found.vectors, expected.vector.numpy(), atol=1e-4)
    np.testing.assert_allclose(found.logits, expected.logits.numpy(), atol=1e-4)


def test_batch_equals_single(predictor):
    batch = predictor.run(TEXTS)
    for i, text in enumerate(TEXTS):
        single = predictor.run([text])
        np.testing.assert_allclose(single.vectors[0], batch.vectors[i], atol=1e-5)
        np.testing.assert_allclose(single.logits[0], batch.logits[i], atol=1e-5)


PRECISIONS = [
    *(("openvino", precision) for precision in openvino_precisions()),
    *(("paddle", precision) for precision in cpu_precisions()),
    ("onnxruntime", "fp32"),
]


@pytest.mark.parametrize(("engine", "precision"), PRECISIONS)
def test_any_mix_of_lengths_gives_what_each_text_gets_alone(engine, precision, tiny_model_dir):
    predictor = Predictor.from_dir(tiny_model_dir, engine=engine, precision=precision)
    rng = np.random.default_rng(11)
    rows = [row for _ in range(4) for row in random_rows(rng, int(rng.integers(2, 24)))]
    alone = [predictor.forward([row]) for row in rows]
    bound = predictor.manifest.parity[precision]
    while rows:
        size = int(rng.integers(1, 17))
        mixed = predictor.forward(rows[:size])
        singles = np.concatenate([one.vectors for one in alone[:size]])
        assert cosines(mixed.vectors, singles).min() >= bound.min_cosine
        logits = np.concatenate([one.logits for one in alone[:size]])
        assert np.abs(mixed.logits - logits).max() <= bound.max_logit_error
        rows, alone = rows[size:], alone[size:]


def test_small_batches_give_the_same_in_the_same_order(predictor):
    whole, cut = predictor.run(TEXTS), predictor.run(TEXTS, batch_tokens=1)
    np.testing.assert_allclose(whole.vectors, cut.vectors, atol=1e-5)


def test_threads_may_share_a_predictor(predictor):
    rng = np.random.default_rng(6)
    batches = [random_rows(rng, 3) for _ in range(8)]
    expected = [predictor.forward(rows).vectors for rows in batches]
    found = [None] * len(batches)

    def run(i):
        for _ in range(5):
            found[i] = predictor.forward(batches[i]).vectors

    threads = [threading.Thread(target=run, args=(i,)) for i in range(len(batches))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for i in range(len(batches)):
        np.testing.assert_allclose(found[i], expected[i], atol=1e-5)


def test_predictions_hold_label_scores_and_a_vector_of_length_one(predictor):
    predictions = predictor.predict(["好书", "很" * 100])
    assert predictions[0].result["label"] in ("negative", "positive")
    assert np.linalg.norm(predictions[0].vector) == pytest.approx(1.0, abs=1e-5)
    assert [p.is_truncated for p in predictions] == [False, True]


WATCHED = """
import os, sys, threading
from contextlib import suppress
from pathlib import Path

from ernie_ray.inference.predictor import Predictor
from ernie_ray.text.features import TokenIds

predictor = Predictor.from_dir(sys.argv[1], engine=sys.argv[2], precision="fp32", num_threads=1)
allowed, found, is_over = os.sched_getaffinity(0), set(), threading.Event()

def watch():
    while not is_over.is_set():
        for thread in Path("/proc/self/task").iterdir():
            with suppress(OSError):  # it has ended
                found.add(frozenset(os.sched_getaffinity(int(thread.name))))

watcher = threading.Thread(target=watch)
watcher.start()
for _ in range(100):
    predictor.forward([TokenIds([5] * 32, [0] * 32)] * 64)
is_over.set()
watcher.join()
sys.exit(found != {frozenset(allowed)})
"""


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="needs two cores")
@pytest.mark.parametrize("engine", ["openvino", "onnxruntime", "paddle"])
def test_no_thread_of_an_engine_with_a_part_of_the_cores_is_bound_to_one(engine, tiny_model_dir):
    """Else processes that share a machine would all run on its first cores.

    In a process of its own: an engine with all cores, of another test, does bind its threads.
    """
    command = [sys.executable, "-c", WATCHED, str(tiny_model_dir), engine]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def own_bytes() -> int:
    """Memory of this process now, without pages of files, which the system drops and reads again.

    Its peak may be that of an earlier test.
    """
    status = Path("/proc/self/status").read_text()
    (line,) = (line for line in status.splitlines() if line.startswith("RssAnon:"))
    return int(line.split()[1]) * 1024


def test_memory_stays_flat_over_random_shapes(predictor):
    rng = np.random.default_rng(7)

    def run_shapes(count):
        for _ in range(count):
            predictor.forward(random_rows(rng, int(rng.integers(1, 17))))

    run_shapes(300)  # fills the engines' caches of shapes
    before = own_bytes()
    run_shapes(300)
    assert own_bytes() - before < 24 << 20


@pytest.mark.parametrize("engine", ["openvino", "onnxruntime", "paddle"])
def test_each_layer_can_be_exposed(engine, tiny_model_dir, network):
    options = EngineOptions(precision="fp32", extra_outputs=("layer_1",))
    loaded = load_engine(open_model_dir(tiny_model_dir), engine, options)
    rows = random_rows(np.random.default_rng(8), 2)
    found = loaded.run(pad_batch(rows, pad_token_id=0))
    expected = eager(network, rows).layer_states[0].numpy()
    np.testing.assert_allclose(found["layer_1"], expected, atol=1e-4)
    assert set(found) == {"vector", "logits", "layer_1"}


def test_the_pooler_is_that_of_the_network(tiny_model_dir, network):
    predictor = Predictor.from_dir(tiny_model_dir, precision="fp32", layers=["layer_2"])
    rows = random_rows(np.random.default_rng(9), 3)
    with paddle.no_grad():
        first = eager(network, rows).layer_states[-1][:, 0]
        expected = paddle.tanh(network.encoder.pooler(first)).numpy()
    np.testing.assert_allclose(predictor.forward(rows).states[POOLER][:, 0], expected, atol=1e-4)


def test_an_unknown_layer_is_an_error_that_lists_the_known_ones(tiny_model_dir):
    with pytest.raises(ConfigError, match="layer_1, layer_2"):
        load_engine(
            open_model_dir(tiny_model_dir), "openvino", EngineOptions(extra_outputs=("layer_9",))
        )


def test_a_model_without_a_head_gives_vectors_only(tiny_embedding_dir):
    predictor = Predictor.from_dir(tiny_embedding_dir)
    assert predictor.run(["好书"]).logits is None
    assert predictor.predict(["好书"])[0].result == {}


def test_a_model_of_pairs_refuses_a_single_text(tmp_path):
    task = PairSpec(objective="ranking")
    predictor = Predictor.from_dir(export_tiny_classifier(tmp_path / "pairs", task=task))
    assert "score" in predictor.predict([("好书", "很好")])[0].result
    with pytest.raises(MalformedRequestError, match="text 1: the model takes a pair of texts"):
        predictor.predict([("好书", "很好"), "好书"])


def test_an_engine_that_strays_is_refused(tiny_model_dir):
    class Strayed:
        engine, precision = "openvino", "fp32"

        def __init__(self):
            self._real = Predictor.from_dir(tiny_model_dir, engine="openvino", precision="fp32")

        def tokenize(self, texts):
            return self._real.tokenize(texts)

        def forward(self, rows):
            outputs = self._real.forward(rows)
            return Outputs(outputs.vectors, outputs.logits + self.shift)

    strayed = Strayed()
    strayed.shift = 0.0
    check_parity(strayed, open_model_dir(tiny_model_dir))
    strayed.shift = 0.01
    with pytest.raises(ModelDirError, match="logits of the golden texts differ"):
        check_parity(strayed, open_model_dir(tiny_model_dir))
    strayed.shift = np.nan
    with pytest.raises(ModelDirError, match="logits of the golden texts differ by nan"):
        check_parity(strayed, open_model_dir(tiny_model_dir))


@pytest.mark.parametrize(
    ("choice", "named"),
    [
        ({"engine": "tensorrt"}, "choose auto, openvino"),
        ({"engine": "onnxruntime", "precision": "fp16"}, "fp32"),
        ({"precision": "int3"}, "int3"),
    ],
)
def test_an_engine_or_precision_that_cannot_be_had_is_an_error_that_lists_those_that_can(
    tiny_model_dir, choice, named
):
    with pytest.raises(ConfigError, match=named):
        Predictor.from_dir(tiny_model_dir, **choice)


def test_bf16_comes_first_only_where_the_cpu_is_fast_at_it():
    zen5 = "vendor_id : AuthenticAMD\nflags : fpu avx512_bf16"
    without_amx = "vendor_id : GenuineIntel\nflags : fpu avx512_bf16"
    with_amx = "vendor_id : GenuineIntel\nflags : fpu avx512_bf16 amx_bf16"
    assert cpu_precisions(zen5)[0] == cpu_precisions(with_amx)[0] == "bf16"
    assert cpu_precisions(without_amx) == ["fp32", "bf16"]
    assert cpu_precisions("flags : fpu") == ["fp32"]


def test_the_onnx_graph_is_plain_onnx_with_dynamic_shapes(tiny_model_dir):
    session = onnxruntime.InferenceSession(tiny_model_dir / "graph.onnx")
    assert [o.name for o in session.get_outputs()] == ["vector", "logits"]
    for graph_input in session.get_inputs():
        assert all(not isinstance(size, int) for size in graph_input.shape)


def test_normalize_leaves_a_zero_vector_zero():
    found = normalize(np.array([[3.0, 4.0], [0.0, 0.0]], np.float32))
    np.testing.assert_allclose(found, [[0.6, 0.8], [0.0, 0.0]], atol=1e-6)
