"""Build one ``tokenizers.Tokenizer`` from whatever vocabulary a pretrained model came with.

The forms: WordPiece as BERT cuts, WordPiece as ERNIE 1.0 cut, SentencePiece Unigram models (ERNIE
Tiny's with its own ids), the Unigram pieces of multilingual-e5, and a tokenizer.json that came
along. Each result adds its special tokens and token-type ids itself. Knows no weights.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import tokenizers
from tokenizers import Regex, normalizers, pre_tokenizers, processors
from tokenizers.models import Unigram, WordPiece

from ernie_ray.errors import SourceError
from ernie_ray.text.sentencepiece_file import PieceModel, read_sentencepiece
from ernie_ray.text.tokenizer import load_tokenizer
from ernie_ray.text.vocabulary import METASPACE, read_vocab

_BERT_SPECIALS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
XLM_SPECIALS = ("<s>", "<pad>", "</s>", "<unk>", "<mask>")

# Under this name fairseq's models carry pieces whose ids the model shifts.
_XLM_MODEL_FILE = "sentencepiece.bpe.model"
_NUM_OWN_SPECIALS = 3  # <unk>, <s>, </s> of the SentencePiece file

# What ERNIE Tiny calls a word of Latin letters or digits; all else it cuts by dictionary.
_LATIN_WORD_START = Regex(r"(?<![a-z0-9])(?=[a-z0-9])")

# Where XLM-R's character map differs from NFKC: these vanish, those become a space.
_XLM_DROPPED = Regex("[\x01-\x08\x0b\x0e-\x1f\x7f\x8f\x9f]")
_XLM_SPACES = Regex("[\t\n\x0c\r\u1680\u200b-\u200f\u2028\u2029\u2581\ufeff\ufffd]")
_WIDE_TILDE, _PRIVATE_USE = "\uff5e", "\ue000"  # NFKC would make the wide tilde "~"


class WordCut(StrEnum):
    """How text is cut to words before WordPiece."""

    BERT = "bert"
    ERNIE_1 = "ernie_1"


@dataclass(frozen=True)
class CutOptions:
    """Choices of a ``tokenizer_config.json``.

    Attributes:
        lowercase: Fold to lower case.
        strip_accents: Drop accents; None: as ``lowercase`` says.
        split_chinese: Each CJK character is a word of its own.
    """

    lowercase: bool = True
    strip_accents: bool | None = None
    split_chinese: bool = True


def tokenizer_from_folder(folder: Path, cut: WordCut) -> tokenizers.Tokenizer:
    """Build the tokenizer of a pretrained model's folder.

    Taken is the first of: ``tokenizer.json``; a SentencePiece ``*.model`` (here or in
    ``subword/``), with the ids of ``vocab.txt`` where there is one; ``vocab.txt`` as ``cut`` says.

    Raises:
        SourceError: There is none of these, or it cannot be read.
    """
    ready = folder / "tokenizer.json"
    if ready.is_file():
        return load_tokenizer(ready)
    options = _read_options(folder / "tokenizer_config.json")
    vocab_file = folder / "vocab.txt"
    models = sorted([*folder.glob("*.model"), *folder.glob("subword/*.model")])
    if models and models[0].name == _XLM_MODEL_FILE:
        return _xlm_tokenizer_of(read_sentencepiece(models[0]))
    if models:
        vocab = read_vocab(vocab_file) if vocab_file.is_file() else None
        return sentencepiece_tokenizer(read_sentencepiece(models[0]), vocab)
    if vocab_file.is_file():
        return wordpiece_tokenizer(read_vocab(vocab_file), cut, options)
    raise SourceError(
        f"{folder}: no tokenizer found; tokenizer.json, vocab.txt or a SentencePiece *.model must "
        "lie beside the weights"
    )


def wordpiece_tokenizer(
    vocab: Sequence[str], cut: WordCut = WordCut.BERT, options: CutOptions | None = None
) -> tokenizers.Tokenizer:
    """Build a WordPiece tokenizer: words, then the longest known pieces, ``##`` inside words.

    ``[CLS] A [SEP]`` and ``[CLS] A [SEP] B [SEP]`` with token types 0 and 1. ERNIE 1.0 took runs
    of ASCII letters and digits, or else single characters, as words, and stripped no accents
    (``ErnieTokenizer`` of paddle-ernie); BERT, PaddleNLP and the Hugging Face conversions cut as
    ``BasicTokenizer`` does.

    Args:
        vocab: Pieces in id order.
        cut: Which words.
        options: Case and accents; None: lower case.

    Raises:
        SourceError: ``[UNK]``, ``[CLS]`` or ``[SEP]`` is not in the vocabulary.
    """
    options = options or CutOptions()
    ids = {piece: i for i, piece in enumerate(vocab)}
    tokenizer = tokenizers.Tokenizer(WordPiece(ids, unk_token="[UNK]"))
    if cut is WordCut.BERT:
        tokenizer.normalizer = normalizers.BertNormalizer(
            clean_text=True,
            handle_chinese_chars=options.split_chinese,
            strip_accents=options.strip_accents,
            lowercase=options.lowercase,
        )
        tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    else:
        if options.lowercase:
            tokenizer.normalizer = normalizers.Lowercase()
        words = Regex(r"[a-zA-Z0-9]+|\S")
        tokenizer.pre_tokenizer = pre_tokenizers.Split(words, behavior="removed", invert=True)
    _add_bert_specials(tokenizer, ids)
    return tokenizer


def sentencepiece_tokenizer(
    model: PieceModel, vocab: Sequence[str] | None = None
) -> tokenizers.Tokenizer:
    """Build a Unigram tokenizer from a SentencePiece model.

    With ``vocab`` the ids are the vocabulary's lines, and text is cut as ERNIE Tiny cut it but for
    one simplification. Its original tokenizer first segments text with a pickled dictionary
    (longest match, five characters), joins the words with spaces, and then cuts each word into
    pieces. Here the pieces choose the words: Chinese pieces that start a word match without their
    marker, and the likeliest cut of the whole run is taken. Where the greedy word boundary is not
    the likeliest one, the pieces differ (on Chinese reviews 95 % are those of a greedy cut with
    the same words; without this step 4 % would be); case folding, specials and ids do not.

    Args:
        model: Pieces, scores and character map.
        vocab: Pieces in id order where they are not the SentencePiece ids; None: they are.

    Raises:
        SourceError: The special tokens are not in the vocabulary.
    """
    if vocab is None:
        pieces = list(zip(model.pieces, model.scores, strict=True))
        unk = model.unk_id
    else:
        pieces = _pieces_in_vocab_order(model, vocab)
        unk = _require(vocab, "[UNK]")
    tokenizer = tokenizers.Tokenizer(Unigram(pieces, unk_id=unk, byte_fallback=False))
    steps = [normalizers.Precompiled(model.character_map)] if model.character_map else []
    if vocab is None:
        spaces = [normalizers.Strip(), normalizers.Replace(Regex(" {2,}"), " ")]
        tokenizer.normalizer = normalizers.Sequence([*steps, *spaces])
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
    else:
        marks = normalizers.Replace(_LATIN_WORD_START, METASPACE)
        tokenizer.normalizer = normalizers.Sequence([*steps, normalizers.Lowercase(), marks])
        tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    ids = {piece: i for i, piece in enumerate(vocab or model.pieces)}
    if "[CLS]" in ids:
        _add_bert_specials(tokenizer, ids)
    else:
        add_xlm_specials(tokenizer, ids)
    return tokenizer


def xlm_unigram_tokenizer(
    pieces: Sequence[str], scores: Sequence[float], unk_id: int
) -> tokenizers.Tokenizer:
    """Build the tokenizer of XLM-R and multilingual-e5 from its pieces in model id order.

    NFKC (with the exceptions of the original character map), ``<s> A </s>`` and
    ``<s> A </s> </s> B </s>``, token type 0 throughout.

    Raises:
        SourceError: ``<s>`` or ``</s>`` is not among the pieces.
    """
    model = Unigram(list(zip(pieces, scores, strict=True)), unk_id=unk_id, byte_fallback=False)
    tokenizer = tokenizers.Tokenizer(model)
    tokenizer.normalizer = normalizers.Sequence(xlm_normalizers())
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
    add_xlm_specials(tokenizer, {piece: i for i, piece in enumerate(pieces)})
    return tokenizer


def xlm_normalizers() -> list[normalizers.Normalizer]:
    """List the steps that clean text as XLM-R and multilingual-e5 do."""
    return [
        normalizers.Replace(_XLM_DROPPED, ""),
        normalizers.Replace(_XLM_SPACES, " "),
        normalizers.Replace(_WIDE_TILDE, _PRIVATE_USE),
        normalizers.NFKC(),
        normalizers.Replace(_PRIVATE_USE, _WIDE_TILDE),
        normalizers.Strip(),
        normalizers.Replace(Regex(" {2,}"), " "),
    ]


def _xlm_tokenizer_of(model: PieceModel) -> tokenizers.Tokenizer:
    own, scores = model.pieces[_NUM_OWN_SPECIALS:], model.scores[_NUM_OWN_SPECIALS:]
    pieces = [*XLM_SPECIALS[:-1], *own, XLM_SPECIALS[-1]]
    return xlm_unigram_tokenizer(pieces, [0.0] * 4 + [*scores, 0.0], pieces.index("<unk>"))


def _pieces_in_vocab_order(model: PieceModel, vocab: Sequence[str]) -> list[tuple[str, float]]:
    scores = dict(zip(model.pieces, model.scores, strict=True))
    starts = {piece[1:] for piece in vocab if _starts_unspaced_word(piece)}
    lowest = min(model.scores)
    pieces = []
    for piece in vocab:
        if _starts_unspaced_word(piece):
            pieces.append((piece[1:], scores.get(piece, lowest)))
        elif piece in starts or piece == "<unk>":
            # A mid-word twin yields to the word start, and the table wants distinct strings: two
            # markers in a row never occur in normalised text.
            pieces.append((f"{METASPACE}{METASPACE}{piece}", lowest))
        else:
            pieces.append((piece, scores.get(piece, lowest)))
    return pieces


def _starts_unspaced_word(piece: str) -> bool:
    body = piece.removeprefix(METASPACE)
    return body != piece and body != "" and not (body[0].isascii() and body[0].isalnum())


def _add_bert_specials(tokenizer: tokenizers.Tokenizer, ids: Mapping[str, int]) -> None:
    _require(ids, "[UNK]")
    cls, sep = _require(ids, "[CLS]"), _require(ids, "[SEP]")
    tokenizer.add_special_tokens([t for t in _BERT_SPECIALS if t in ids])
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS]:0 $A:0 [SEP]:0",
        pair="[CLS]:0 $A:0 [SEP]:0 $B:1 [SEP]:1",
        special_tokens=[("[CLS]", cls), ("[SEP]", sep)],
    )


def add_xlm_specials(tokenizer: tokenizers.Tokenizer, ids: Mapping[str, int]) -> None:
    """Make a tokenizer add ``<s> A </s>`` and ``<s> A </s> </s> B </s>``, token type 0 throughout.

    Raises:
        SourceError: ``<s>`` or ``</s>`` is not among the pieces.
    """
    bos, eos = _require(ids, "<s>"), _require(ids, "</s>")
    tokenizer.add_special_tokens([t for t in XLM_SPECIALS if t in ids])
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s>:0 $A:0 </s>:0",
        pair="<s>:0 $A:0 </s>:0 </s>:0 $B:0 </s>:0",
        special_tokens=[("<s>", bos), ("</s>", eos)],
    )


def _require(ids: Mapping[str, int] | Sequence[str], token: str) -> int:
    if token not in ids:
        raise SourceError(f"the vocabulary has no {token}; is it the vocabulary of this model?")
    return ids[token] if isinstance(ids, Mapping) else ids.index(token)


def _read_options(path: Path) -> CutOptions:
    if not path.is_file():
        return CutOptions()
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise SourceError(f"{path}: not JSON: {error}") from error
    return CutOptions(
        lowercase=bool(raw.get("do_lower_case", True)),
        strip_accents=raw.get("strip_accents"),
        split_chinese=bool(raw.get("tokenize_chinese_chars", True)),
    )
