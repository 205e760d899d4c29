import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from ernie_ray.errors import ConfigError
from ernie_ray.jobs.warm_start import Network, choose_weights
from ernie_ray.modeldir import ClassificationSpec, PairSpec, ReadingSpec
from tests.tiny_models import SPEC, VOCAB

WORDS = "encoder.embeddings.word.weight"


@pytest.fixture
def network(tiny_model_dir):
    """The network of the tiny model directory, as another run would begin it."""
    weights = load_file(tiny_model_dir / "weights.safetensors")
    return Network(
        shapes={name: value.shape for name, value in weights.items()},
        words=np.full(weights[WORDS].shape, 7.0, np.float32),
        vocabulary={piece: i for i, piece in enumerate(VOCAB)},
        task=SPEC,
    )


def test_everything_that_fits_is_taken(tiny_model_dir, network):
    taken, report = choose_weights(str(tiny_model_dir), ".*", network)
    assert set(taken) == set(report.taken) == set(network.shapes)
    assert report.left == report.partly == {}
    assert report.missing == ()
    for name, expected in load_file(tiny_model_dir / "weights.safetensors").items():
        np.testing.assert_array_equal(taken[name], expected, err_msg=name)


def test_a_pattern_and_a_shape_leave_parameters_out(tiny_model_dir, network):
    other = {"head.weight": (32, 7), "head.bias": (7,), "extra.weight": (1,)}
    pattern = r"head\..*|encoder\.embeddings\..*"
    network = replace(network, shapes={**network.shapes, **other})
    taken, report = choose_weights(str(tiny_model_dir), pattern, network)
    assert report.left["head.weight"] == "shape [32, 2], [32, 7] needed"
    assert report.left["encoder.layers.0.ffn.up.weight"] == "does not match the pattern"
    assert report.missing == ("extra.weight",)
    assert set(taken) == {name for name in network.shapes if name.startswith("encoder.embeddings.")}


def test_rows_of_the_word_table_go_by_their_pieces_and_pieces_of_its_own_keep_theirs(
    tiny_model_dir, network
):
    trimmed = ["书", *VOCAB[:3], "gold", "好"]
    own = replace(
        network,
        shapes={**network.shapes, WORDS: (len(trimmed), 32)},
        words=network.words[: len(trimmed)],
        vocabulary={piece: i for i, piece in enumerate(trimmed)},
    )
    taken, report = choose_weights(str(tiny_model_dir), ".*", own)
    source = load_file(tiny_model_dir / "weights.safetensors")[WORDS]
    for row, piece in zip(taken[WORDS], trimmed, strict=True):
        expected = np.full(32, 7.0) if piece == "gold" else source[VOCAB.index(piece)]
        np.testing.assert_array_equal(row, expected, err_msg=piece)
    assert report.partly[WORDS].startswith("5 of 6 rows")


def test_a_word_table_without_a_common_piece_is_left(tiny_model_dir, network):
    foreign = replace(network, vocabulary={f"x{i}": i for i in range(len(VOCAB))})
    _, report = choose_weights(str(tiny_model_dir), ".*", foreign)
    assert report.left[WORDS].endswith("another vocabulary")


def test_outputs_of_the_head_go_by_their_labels(tiny_model_dir, network):
    swapped = replace(network, task=ClassificationSpec(labels=SPEC.labels[::-1]))
    taken, _ = choose_weights(str(tiny_model_dir), ".*", swapped)
    source = load_file(tiny_model_dir / "weights.safetensors")
    assert (source["head.weight"][:, 0] != source["head.weight"][:, 1]).any()
    np.testing.assert_array_equal(taken["head.weight"], source["head.weight"][:, ::-1])
    np.testing.assert_array_equal(taken["head.bias"], source["head.bias"][::-1])


@pytest.mark.parametrize(
    ("task", "reason"),
    [
        (ClassificationSpec(labels=("good", "bad")), "its labels are others: negative, positive"),
        (ClassificationSpec(labels=SPEC.labels, multi_label=True), "multi_label is False, True"),
        (ReadingSpec(), "family is classification, reading needed"),
    ],
    ids=["labels", "kind", "family"],
)
def test_a_head_that_answers_something_else_is_left_with_the_reason(
    tiny_model_dir, network, task, reason
):
    taken, report = choose_weights(str(tiny_model_dir), ".*", replace(network, task=task))
    assert reason in report.left["head.weight"]
    assert reason in report.left["head.bias"]
    assert not [name for name in taken if name.startswith("head.")]


def test_a_regression_does_not_start_a_ranking(tiny_model_dir, network, tmp_path):
    source = shutil.copytree(tiny_model_dir, tmp_path / "regression")
    manifest = json.loads((source / "manifest.json").read_text(encoding="utf-8"))
    manifest["task"] = PairSpec(objective="regression").model_dump()
    (source / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    weights = load_file(source / "weights.safetensors")
    head = {"head.weight": weights["head.weight"][:, :1], "head.bias": weights["head.bias"][:1]}
    save_file(weights | {k: v.copy() for k, v in head.items()}, source / "weights.safetensors")
    shapes = {**network.shapes, **{name: value.shape for name, value in head.items()}}
    for objective, is_taken in (("regression", True), ("ranking", False)):
        own = replace(network, shapes=shapes, task=PairSpec(objective=objective, high=5.0))
        taken, report = choose_weights(str(source), ".*", own)
        assert ("head.weight" in taken) == is_taken
    assert "objective is regression, ranking needed" in report.left["head.weight"]


def test_weights_of_unknown_origin_give_neither_words_nor_a_head(tiny_model_dir, network, tmp_path):
    shutil.copy(tiny_model_dir / "weights.safetensors", tmp_path)
    taken, report = choose_weights(str(tmp_path), ".*", network)
    assert set(report.left) == {WORDS, "head.weight", "head.bias"}
    assert set(taken) == network.shapes.keys() - report.left.keys()


def test_the_encoder_of_vectors_only_gives_no_head(tiny_embedding_dir, network):
    _, report = choose_weights(str(tiny_embedding_dir), ".*", network)
    assert report.missing == ("head.bias", "head.weight")


@pytest.mark.parametrize("pattern", ["(", "nothing"])
def test_a_pattern_that_takes_nothing_is_an_error(tiny_model_dir, network, pattern):
    with pytest.raises(ConfigError, match="warm_start"):
        choose_weights(str(tiny_model_dir), pattern, network)
