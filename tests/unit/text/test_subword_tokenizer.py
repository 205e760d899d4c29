import pytest

from ernie_ray.text.subword_tokenizer import measure_lengths, train_subword_tokenizer
from ernie_ray.text.vocabulary import trim_tokenizer
from ernie_ray.text.windows import WindowTokenizer, cut_to_characters
from tests.tiny_models import word_texts

TEXTS = word_texts()


@pytest.fixture
def subwords():
    return train_subword_tokenizer(TEXTS, 60, lowercase=True)


def test_trained_pieces_are_short_and_never_cross_punctuation(subwords):
    lengths = measure_lengths(subwords, TEXTS)
    assert lengths.num_texts == len(TEXTS)
    assert 0.2 < lengths.saved < 1
    assert subwords.encode("房间很干净，服务").tokens[-2] == "服务"
    pieces = [piece for piece in subwords.get_vocab() if len(piece) > 1]
    assert not any(mark in piece for piece in pieces for mark in ",，")


def test_a_run_of_marks_may_be_one_piece():
    texts = [*TEXTS, *(f"{text}……" for text in TEXTS)]
    assert (
        train_subword_tokenizer(texts, 80, lowercase=True).encode("很好……").tokens[-2] == "......"
    )


def test_a_tokenizer_that_may_have_fewer_pieces_than_characters_knows_all_characters():
    small = train_subword_tokenizer(TEXTS, 11, lowercase=True)
    assert "<unk>" not in small.encode("".join(TEXTS)).tokens
    assert all(len(piece) == 1 for piece in small.get_vocab() if not piece.startswith("<"))


def test_spaces_beside_chinese_cost_nothing_and_words_keep_theirs(subwords):
    assert subwords.encode("服务 很 好").ids == subwords.encode("服务很好").ids
    assert measure_lengths(subwords, ["good bad 好"]).num_characters == 3
    assert subwords.encode("good bad").ids != subwords.encode("goodbad").ids


def test_spaces_between_words_are_known_to_a_corpus_without_words():
    chinese = train_subword_tokenizer(
        ["房间很干净", "服务很好"] * 9, 40, lowercase=True, characters="ab"
    )
    assert "<unk>" not in chinese.encode("ab ba 好").tokens


def test_characters_that_the_corpus_lacks_are_known_where_they_are_given():
    known = train_subword_tokenizer(TEXTS, 60, lowercase=True, characters="鑫Éa，")
    unknown = known.token_to_id("<unk>")
    assert unknown not in known.encode("鑫É").ids
    assert unknown in known.encode("龘").ids
    assert known.encode(TEXTS[0]).ids == train_subword_tokenizer(
        TEXTS, 60, lowercase=True
    ).encode(TEXTS[0]).ids  # fmt: skip


def test_taggers_and_readers_cut_it_to_characters(subwords):
    cut_to_characters(subwords)
    window = WindowTokenizer(subwords, max_tokens=16).encode(["服务 good，好"])[0]
    shown = [window.text[start:end] for start, end in window.offsets if start >= 0]
    assert shown == ["服", "务", "good", "，", "好"]


def test_it_can_be_trimmed_to_other_texts(subwords):
    trimmed = trim_tokenizer(subwords, ["服务 good"]).tokenizer
    assert trimmed.get_vocab_size() < subwords.get_vocab_size()
    assert trimmed.encode("服务 good").tokens == subwords.encode("服务 good").tokens
