"""Tokenizers from vocabularies, against the rules of the originals."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import sentencepiece

from ernie_ray.errors import SourceError
from ernie_ray.text.tokenizer_build import (
    CutOptions,
    WordCut,
    tokenizer_from_folder,
    wordpiece_tokenizer,
    xlm_unigram_tokenizer,
)
from ernie_ray.text.vocabulary import read_vocab

SHARED = Path(__file__).parents[3].parent / "shared" / "data" / "vocab"
SPECIALS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
TEXTS = [
    "今天天气不错，iPhone12 手机很好用！",
    "Café naïve HELLO-world, e-mail: a_b@c.com",
    "1998年 3.14%\t全角ＡＢＣ\u3000空格",
    "𠀀龘 \U0001f600 Привет",
    "x" * 101,
]


def vocab_file(name: str) -> Path:
    path = SHARED / name
    if not path.exists():
        pytest.skip(f"{path} is absent")
    return path


def cut_as_ernie_1(text: str, vocab: dict[str, int]) -> list[str]:
    """The rule of paddle-ernie's ErnieTokenizer, written down again."""
    tokens = []
    for word in re.findall(r"[a-zA-Z0-9]+|\S", text):
        tokens += greedy_pieces(word.lower(), vocab)
    return tokens


def greedy_pieces(word: str, vocab: dict[str, int]) -> list[str]:
    pieces: list[str] = []
    start = 0
    while start < len(word) and len(word) <= 100:
        for end in range(len(word), start, -1):
            piece = ("##" if start else "") + word[start:end]
            if piece in vocab:
                pieces.append(piece)
                start = end
                break
        else:
            return ["[UNK]"]
    return pieces or ["[UNK]"]


@pytest.mark.parametrize(
    ("name", "cls", "sep"), [("ernie_1.0_vocab.txt", 1, 2), ("ernie_3.0_base_vocab.txt", 1, 2)]
)
def test_ernie_vocabularies_are_cut_as_the_original_cuts(name: str, cls: int, sep: int) -> None:
    vocab = read_vocab(vocab_file(name))
    ids = {piece: i for i, piece in enumerate(vocab)}
    tokenizer = wordpiece_tokenizer(vocab, WordCut.ERNIE_1)
    for text in TEXTS:
        expected = [ids[piece] for piece in cut_as_ernie_1(text, ids)]
        assert tokenizer.encode(text).ids == [cls, *expected, sep]


@pytest.mark.parametrize("name", ["bert_base_chinese_vocab.txt", "ernie_2.0_en_vocab.txt"])
def test_bert_cut_splits_chinese_and_punctuation_and_strips_accents(name: str) -> None:
    tokenizer = wordpiece_tokenizer(read_vocab(vocab_file(name)), WordCut.BERT)
    tokens = tokenizer.encode("Café, hello").tokens
    assert "".join(tokens[1:-1]).replace("##", "") == "cafe,hello"
    if "chinese" in name:
        assert tokenizer.encode("今天Hello。").tokens[1:3] == ["今", "天"]


def test_pairs_carry_their_token_types() -> None:
    tokenizer = wordpiece_tokenizer([*SPECIALS, "a", "b"])
    pair = tokenizer.encode("a a", "b")
    assert pair.tokens == ["[CLS]", "a", "a", "[SEP]", "b", "[SEP]"]
    assert pair.type_ids == [0, 0, 0, 0, 1, 1]


def test_case_is_kept_where_the_options_say_so(tmp_path: Path) -> None:
    vocab = [*SPECIALS, "A", "a"]
    kept = wordpiece_tokenizer(vocab, options=CutOptions(lowercase=False))
    assert kept.encode("A a").tokens[1:3] == ["A", "a"]
    (tmp_path / "vocab.txt").write_text("\n".join(vocab))
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"do_lower_case": False}))
    assert tokenizer_from_folder(tmp_path, WordCut.BERT).encode("A a").tokens[1:3] == ["A", "a"]
    assert wordpiece_tokenizer(vocab).encode("A a").tokens[1:3] == ["a", "a"]


def test_a_vocabulary_without_special_tokens_is_refused() -> None:
    with pytest.raises(SourceError, match=r"no \[UNK\]"):
        wordpiece_tokenizer(["a", "b"])


def test_a_tokenizer_json_that_came_along_wins_and_loses_its_padding(tmp_path: Path) -> None:
    ready = wordpiece_tokenizer([*SPECIALS, "a", "b"])
    ready.enable_padding(length=9)
    ready.enable_truncation(3)
    ready.save(str(tmp_path / "tokenizer.json"))
    (tmp_path / "vocab.txt").write_text("\n".join(SPECIALS))
    read = tokenizer_from_folder(tmp_path, WordCut.BERT)
    assert read.encode("a b a").tokens == ["[CLS]", "a", "b", "a", "[SEP]"]


def test_a_folder_without_any_vocabulary_says_what_is_needed(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"tokenizer\.json, vocab\.txt or a SentencePiece"):
        tokenizer_from_folder(tmp_path, WordCut.BERT)


def test_ernie_tiny_uses_its_vocabulary_ids_and_finds_chinese_words() -> None:
    folder = vocab_file("ernie_tiny")
    vocab = read_vocab(folder / "vocab.txt")
    tokenizer = tokenizer_from_folder(folder, WordCut.BERT)
    assert tokenizer.get_vocab_size() == len(vocab)
    encoding = tokenizer.encode("今天天气不错，IPhone 手机", "很好用")
    cut = [vocab[i] for i in encoding.ids]
    words = [f"\u2581{word}" for word in ("今天", "天气", "不错", ",", "iphone", "手机")]
    assert cut[:8] == ["[CLS]", *words, "[SEP]"]
    assert cut[-1] == "[SEP]"
    assert "[UNK]" not in cut
    assert encoding.type_ids[7:9] == [0, 1]
    assert tokenizer.token_to_id("[PAD]") == 0
    assert (encoding.ids[0], encoding.ids[-1]) == (3, 5)


def test_ernie_tiny_cuts_latin_words_as_sentencepiece_does() -> None:
    folder = vocab_file("ernie_tiny")
    vocab = read_vocab(folder / "vocab.txt")
    original = sentencepiece.SentencePieceProcessor(
        model_file=str(folder / "spm_cased_simp_sampled.model")
    )
    text = "hello wonderful transformer 2019 encyclopedia"
    ids = tokenizer_from_folder(folder, WordCut.BERT).encode(text).ids
    assert [vocab[i] for i in ids[1:-1]] == original.encode_as_pieces(text)


def test_xlm_tokenizer_frames_pairs_and_normalises() -> None:
    pieces = ["<s>", "<pad>", "</s>", "<unk>", "\u2581", *"abc1\uff5e~", "\u2581ab"]
    tokenizer = xlm_unigram_tokenizer(pieces, [-float(i) for i in range(len(pieces))], unk_id=3)
    pair = tokenizer.encode("ab", "c")
    assert pair.tokens == ["<s>", "\u2581ab", "</s>", "</s>", "\u2581", "c", "</s>"]
    assert set(pair.type_ids) == {0}
    # Full width becomes half width, controls vanish, spaces join; the wide tilde stays.
    assert tokenizer.encode("\x01ab\u200b\n １\uff5e").tokens[1:-1] == [
        "\u2581ab",
        "\u2581",
        "1",
        "\uff5e",
    ]


@pytest.fixture(scope="module")
def small_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SentencePiece Unigram model, trained on a few sentences."""
    folder = tmp_path_factory.mktemp("sentencepiece")
    sentences = ["the cat sat on the mat", "今天天气很好", "a cat and a dog", "天气不错"] * 20
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(sentences),
        model_prefix=str(folder / "small"),
        vocab_size=26,
        character_coverage=1.0,
        minloglevel=2,
    )
    return folder / "small.model"


def test_a_sentencepiece_model_gives_its_own_ids(small_model: Path) -> None:
    original = sentencepiece.SentencePieceProcessor(model_file=str(small_model))
    tokenizer = tokenizer_from_folder(small_model.parent, WordCut.BERT)
    for text in ("the dog sat", "  今天  the cat ", "天气很好 zebra"):
        expected = [original.bos_id(), *original.encode(text), original.eos_id()]
        assert tokenizer.encode(text).ids == expected


def test_a_fairseq_sentencepiece_model_gets_the_shifted_ids(
    small_model: Path, tmp_path: Path
) -> None:
    (tmp_path / "sentencepiece.bpe.model").write_bytes(small_model.read_bytes())
    original = sentencepiece.SentencePieceProcessor(model_file=str(small_model))
    tokenizer = tokenizer_from_folder(tmp_path, WordCut.BERT)
    text = "the cat 今天"
    assert tokenizer.encode(text).ids == [0, *(i + 1 for i in original.encode(text)), 2]
    assert tokenizer.token_to_id("<mask>") == original.get_piece_size() + 1
