from dataclasses import replace

import numpy as np
import paddle
import pytest

from ernie_ray.config import TinyStudentSection
from ernie_ray.distillation.tiny_start import embeddings_of_pieces, layer_map, tiny_start, widen
from ernie_ray.errors import ConfigError
from ernie_ray.models.encoder import Encoder, load_weights
from ernie_ray.models.pretrained.layouts import weight_shapes
from ernie_ray.text.subword_tokenizer import train_subword_tokenizer
from tests.tiny_models import VOCAB, tiny_encoder, word_texts

TEXTS = word_texts()
TABLE = "embeddings.word.weight"


def shape(**changes):
    small = {"num_layers": 2, "hidden_size": 32, "num_heads": 4, "ffn_size": 64, "max_tokens": 32}
    return TinyStudentSection(**(small | changes))


@pytest.fixture(scope="module")
def tokenizer():
    return train_subword_tokenizer(TEXTS, 60, lowercase=True)


def states_of(config, weights, ids):
    encoder = Encoder(config)
    load_weights(encoder, weights)
    encoder.eval()
    ids = paddle.to_tensor(ids)
    with paddle.no_grad():
        return encoder(ids, paddle.zeros_like(ids), paddle.ones_like(ids))[-1].numpy()


def test_layers_are_spread_up_to_the_last():
    assert layer_map(shape(num_layers=3), 12) == (4, 8, 12)
    assert layer_map(shape(num_layers=2, teacher_layers=(1, 3)), 6) == (1, 3)
    with pytest.raises(ConfigError, match="layers 1 to 6"):
        layer_map(shape(num_layers=2, teacher_layers=(1, 7)), 6)
    with pytest.raises(ConfigError, match="the teacher has 2"):
        layer_map(shape(num_layers=3), 2)


def test_a_new_piece_is_the_mean_of_the_teachers_pieces_of_its_text(tokenizer):
    teacher = tiny_encoder()
    found = embeddings_of_pieces(teacher, tokenizer)
    table = teacher.weights[TABLE]
    piece = "服务"
    expected = table[[VOCAB.index(character) for character in piece]].mean(axis=0)
    np.testing.assert_allclose(found[tokenizer.token_to_id(piece)], expected, rtol=1e-6)
    for ours, theirs in (("<s>", "[CLS]"), ("</s>", "[SEP]"), ("<pad>", "[PAD]"), ("次", "[UNK]")):
        np.testing.assert_array_equal(
            found[tokenizer.token_to_id(ours)], table[VOCAB.index(theirs)]
        )
    marked = next(p for p in tokenizer.get_vocab() if p == "▁good")
    np.testing.assert_array_equal(found[tokenizer.token_to_id(marked)], table[VOCAB.index("good")])


def test_the_same_tokenizer_keeps_the_teachers_embeddings():
    teacher = tiny_encoder()
    found = tiny_start(teacher, teacher.tokenizer, shape(num_layers=1))
    np.testing.assert_array_equal(found.weights[TABLE], teacher.weights[TABLE])
    for name, value in found.weights.items():
        origin = name.replace("layers.0", "layers.1")  # of two layers the last
        np.testing.assert_array_equal(value, teacher.weights[origin])


def test_a_table_with_rows_beyond_the_vocabulary_loses_them():
    teacher = tiny_encoder()
    table = teacher.weights[TABLE]
    padded = replace(
        teacher,
        config=teacher.config.model_copy(update={"vocab_size": len(table) + 3}),
        weights=teacher.weights | {TABLE: np.pad(table, ((0, 3), (0, 0)))},
    )
    found = tiny_start(padded, padded.tokenizer, shape(num_layers=1))
    np.testing.assert_array_equal(found.weights[TABLE], table)
    assert found.config.vocab_size == len(table)


def test_a_widened_network_computes_the_same_but_for_its_norms():
    teacher = tiny_encoder()
    even = teacher.config.model_copy(update={"hidden_size": 64, "num_heads": 8, "ffn_size": 96})
    ids = np.random.default_rng(1).integers(5, len(VOCAB), (3, 9))
    narrow = states_of(teacher.config, teacher.weights, ids)
    # Where all units have equally many copies, LayerNorm sees the same mean and variance.
    wide = widen(teacher.weights, teacher.config, even, np.random.default_rng(0))
    found = states_of(even, wide, ids)
    np.testing.assert_allclose(found, np.concatenate([narrow, narrow], axis=2), atol=1e-4)
    # Otherwise only nearly: by 4/3 as ERNIE Tiny.
    third = teacher.config.model_copy(update={"hidden_size": 40, "num_heads": 5})
    wide = widen(teacher.weights, teacher.config, third, np.random.default_rng(0))
    first = states_of(third, wide, ids)[..., :32]
    similarity = (first * narrow).sum() / np.linalg.norm(first) / np.linalg.norm(narrow)
    assert similarity > 0.9


def test_copies_of_a_unit_differ_in_what_they_give():
    teacher = tiny_encoder()
    wide = teacher.config.model_copy(update={"ffn_size": 128})
    down = widen(teacher.weights, teacher.config, wide, np.random.default_rng(0))[
        "layers.0.ffn.down.weight"
    ]
    assert not np.allclose(down[:64], down[64:])
    np.testing.assert_allclose(
        down[:64] + down[64:], teacher.weights["layers.0.ffn.down.weight"], rtol=1e-5
    )


@pytest.mark.parametrize("start", ["teacher", "random"])
def test_a_start_has_the_shape_that_was_asked_for(tokenizer, start):
    student = shape(start=start, hidden_size=40, num_heads=5, ffn_size=80, text_prefix="x: ")
    found = tiny_start(tiny_encoder(), tokenizer, student)
    assert found.config.vocab_size == tokenizer.get_vocab_size()
    assert found.config.pad_token_id == tokenizer.token_to_id("<pad>")
    assert found.text_prefix == "x: "
    assert {n: w.shape for n, w in found.weights.items()} == weight_shapes(found.config)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"hidden_size": 16}, "only wider students"),
        ({"hidden_size": 48, "num_heads": 4}, "needs 6 heads"),
        ({"max_tokens": 65}, "64 positions"),
    ],
)
def test_a_shape_that_cannot_start_from_the_teacher_is_refused(tokenizer, changes, message):
    with pytest.raises(ConfigError, match=message):
        tiny_start(tiny_encoder(), tokenizer, shape(**changes))


def test_a_teacher_without_a_special_token_gives_what_it_has(tokenizer):
    teacher = replace(tiny_encoder(), tokenizer=tokenizer)
    table = np.arange(tokenizer.get_vocab_size() * 32, dtype=np.float32).reshape(-1, 32)
    found = embeddings_of_pieces(replace(teacher, weights={TABLE: table}), tiny_encoder().tokenizer)
    np.testing.assert_array_equal(found[VOCAB.index("[SEP]")], table[tokenizer.token_to_id("</s>")])
