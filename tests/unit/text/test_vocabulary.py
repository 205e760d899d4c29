"""Reading and trimming vocabularies."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest
import tokenizers
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import models, pre_tokenizers, processors

from ernie_ray.errors import SourceError
from ernie_ray.text.tokenizer_build import WordCut, wordpiece_tokenizer, xlm_unigram_tokenizer
from ernie_ray.text.vocabulary import read_vocab, trim_tokenizer

SHARED = Path(__file__).parents[3].parent / "shared" / "data"
VOCAB = [
    *("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"),
    *("a", "b", "c", "##a", "##b", "##c", "ab", "abc", "##bc", "##abc", "cab", "q1", "天", "天气"),
]


def test_read_vocab_takes_the_part_before_the_tab(tmp_path: Path) -> None:
    path = tmp_path / "vocab.txt"
    path.write_text("[PAD]\t0\n[UNK]\t1\n\u2028\t2\n", encoding="utf-8")
    assert read_vocab(path) == ["[PAD]", "[UNK]", "\u2028"]


def test_the_last_line_counts_where_a_piece_stands_twice(tmp_path: Path) -> None:
    path = tmp_path / "vocab.txt"
    path.write_text("\n".join(["$", *VOCAB, "$"]))
    vocab = read_vocab(path)
    tokenizer = wordpiece_tokenizer(vocab)
    assert tokenizer.get_vocab_size() == len(vocab)
    assert tokenizer.encode("$ 0").ids[1] == len(vocab) - 1


def test_trimmed_ids_are_compact_and_in_the_old_order() -> None:
    full = wordpiece_tokenizer(VOCAB)
    trimmed = trim_tokenizer(full, ["abc"])
    pieces = [trimmed.tokenizer.id_to_token(i) for i in range(len(trimmed.kept_ids))]
    assert pieces == [VOCAB[i] for i in trimmed.kept_ids]
    assert "abc" in pieces
    assert "ab" not in pieces
    assert trimmed.new_id(VOCAB.index("abc")) == pieces.index("abc")


def test_a_piece_whose_characters_stand_nowhere_else_is_kept() -> None:
    trimmed = trim_tokenizer(wordpiece_tokenizer(VOCAB), ["a"])
    assert trimmed.tokenizer.encode("q1").tokens == ["[CLS]", "q1", "[SEP]"]


@given(st.text(alphabet="abcq1 天气", max_size=12), st.text(alphabet="abcq1 天气", max_size=12))
def test_trimmed_wordpiece_is_never_more_ignorant(corpus: str, other: str) -> None:
    full = wordpiece_tokenizer(VOCAB)
    trimmed = trim_tokenizer(full, [corpus]).tokenizer
    assert trimmed.encode(corpus).tokens == full.encode(corpus).tokens
    unknown = full.encode(other).tokens.count("[UNK]")
    assert trimmed.encode(other).tokens.count("[UNK]") <= unknown


PIECES = [
    "<s>",
    "<pad>",
    "</s>",
    "<unk>",
    "\u2581",
    *"abcd",
    "\u2581a",
    "ab",
    "\u2581abc",
    "xy",
    "cd",
]
SCORES = [0.0, 0.0, 0.0, 0.0, -2.0, -5.0, -5.5, -6.0, -6.5, -3.0, -4.0, -4.5, -7.0, -3.5]


@given(st.text(alphabet="abcdxyz ", max_size=12), st.text(alphabet="abcdxyz ", max_size=12))
def test_trimmed_unigram_is_never_more_ignorant(corpus: str, other: str) -> None:
    full = xlm_unigram_tokenizer(PIECES, SCORES, unk_id=3)
    trimmed = trim_tokenizer(full, [corpus]).tokenizer
    assert trimmed.encode(corpus).tokens == full.encode(corpus).tokens
    unknown = full.encode(other).ids.count(3)
    assert trimmed.encode(other).ids.count(trimmed.token_to_id("<unk>")) <= unknown


def test_byte_pieces_stay() -> None:
    pieces = [*PIECES, "<0x41>", "<0xFF>"]
    full = xlm_unigram_tokenizer(pieces, [*SCORES, -9.0, -9.0], unk_id=3)
    trimmed = trim_tokenizer(full, ["a"]).tokenizer
    assert trimmed.token_to_id("<0xFF>") is not None


def test_roberta_style_special_tokens_are_renumbered() -> None:
    full = xlm_unigram_tokenizer(["cd", *PIECES[:-1]], SCORES, unk_id=4)
    full.post_processor = processors.RobertaProcessing(("</s>", 3), ("<s>", 1))
    trimmed = trim_tokenizer(full, ["a"]).tokenizer
    ids = trimmed.encode("a", "a").ids
    assert ids[0] == trimmed.token_to_id("<s>")
    assert ids[-1] == trimmed.token_to_id("</s>")


def test_bpe_is_refused() -> None:
    bpe = tokenizers.Tokenizer(models.BPE({"a": 0, "b": 1, "ab": 2}, [("a", "b")]))
    bpe.pre_tokenizer = pre_tokenizers.Whitespace()
    with pytest.raises(SourceError, match="cannot trim a BPE"):
        trim_tokenizer(bpe, ["ab"])


@pytest.mark.parametrize("cut", list(WordCut))
def test_a_real_chinese_vocabulary_trims_without_new_unknown_tokens(cut: WordCut) -> None:
    path = SHARED / "vocab" / "ernie_1.0_vocab.txt"
    if not path.is_file():
        pytest.skip(f"{path} is absent")
    full = wordpiece_tokenizer(read_vocab(path), cut)
    reviews, news = (
        _texts(f"unlabelled/{name}/train.jsonl.gz") for name in ("zh_reviews", "zh_news_wiki")
    )
    trimmed = trim_tokenizer(full, reviews).tokenizer
    assert [e.tokens for e in trimmed.encode_batch(reviews)] == [
        e.tokens for e in full.encode_batch(reviews)
    ]
    unknown = [sum(e.tokens.count("[UNK]") for e in t.encode_batch(news)) for t in (trimmed, full)]
    assert unknown[0] <= unknown[1]
    assert trimmed.get_vocab_size() < full.get_vocab_size()


def _texts(name: str, count: int = 500) -> list[str]:
    with gzip.open(SHARED / name, "rt", encoding="utf-8") as stream:
        return [json.loads(line)["text"] for _, line in zip(range(count), stream, strict=False)]
