"""Read vocabularies, and trim a tokenizer to the pieces that a corpus uses.

Knows the JSON form of the ``tokenizers`` library. Does not know embeddings: a trimmed tokenizer
comes with the old id of every piece it kept, so that the caller can pick the same rows.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import tokenizers
from numpy.typing import NDArray

from ernie_ray.errors import SourceError

METASPACE = "\u2581"
_CONTINUATION = "##"
_BYTE_PIECE = re.compile(r"<0x[0-9A-F]{2}>")
_TEXTS_PER_CALL = 1024


@dataclass(frozen=True)
class TrimmedTokenizer:
    """A tokenizer with fewer pieces.

    Attributes:
        tokenizer: Ids 0 to ``len(kept_ids) - 1``, in the old order.
        kept_ids: Old id of each new id, int64 [new vocabulary size], ascending.
    """

    tokenizer: tokenizers.Tokenizer
    kept_ids: NDArray[np.int64]

    def new_id(self, old_id: int) -> int:
        """New id of a piece that was kept."""
        return int(np.searchsorted(self.kept_ids, old_id))


def read_vocab(path: Path) -> list[str]:
    """Read a ``vocab.txt``: one piece a line, its line number is its id.

    Lines may be ``piece<TAB>id``, as in the ERNIE archives; what follows the tab is not needed.
    Where a piece stands twice (ERNIE 3.0 has ``$`` twice), its last line counts, as in the
    originals' loaders; the first becomes a piece that no text matches.

    Raises:
        SourceError: The file is missing or not UTF-8.
    """
    try:
        # Not splitlines(): some vocabularies hold pieces such as U+2028.
        lines = path.read_text(encoding="utf-8").replace("\r\n", "\n").rstrip("\n").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise SourceError(f"{path}: not a vocabulary: {error}") from error
    pieces = [line.split("\t")[0] for line in lines]
    last_line = {piece: i for i, piece in enumerate(pieces)}
    # Words are cut at white space, so none holds a space.
    return [p if last_line[p] == i else f"{p} {i}" for i, p in enumerate(pieces)]


def single_characters(tokenizer: tokenizers.Tokenizer) -> set[str]:
    """List the characters that are pieces by themselves, marked as a word's start or not."""
    bodies = (piece.removeprefix(METASPACE) for piece in tokenizer.get_vocab())
    return {body for body in bodies if len(body) == 1}


def trim_tokenizer(tokenizer: tokenizers.Tokenizer, texts: Iterable[str]) -> TrimmedTokenizer:
    """Keep the pieces that ``texts`` use, and all that is needed to cut any other text.

    Kept are: special tokens, byte pieces, every piece of a single character (also with the marker
    of a word's start or continuation), and every piece with a character that no single-character
    piece covers. The given texts are cut exactly as before: both supported models choose among the
    pieces that match, and what they chose is still there. Other texts are cut smaller and meet no
    unknown token where the full vocabulary has none.

    Args:
        tokenizer: A Unigram or WordPiece tokenizer; not changed.
        texts: The corpus, with the prefix that the model needs.

    Raises:
        SourceError: The tokenizer is of another kind (BPE builds its pieces from each other, so
            dropping one changes others).
    """
    spec = json.loads(tokenizer.to_str())
    kind = spec["model"]["type"]
    if kind not in ("Unigram", "WordPiece"):
        raise SourceError(
            f"cannot trim a {kind} vocabulary (only Unigram and WordPiece); "
            "switch vocabulary trimming off for this model"
        )
    kept = _used_ids(tokenizer, texts) | _special_ids(spec)
    kept |= _unigram_floor(spec["model"]) if kind == "Unigram" else _wordpiece_floor(spec["model"])
    kept_ids = np.array(sorted(kept), dtype=np.int64)
    _renumber(spec, {int(old): new for new, old in enumerate(kept_ids)})
    return TrimmedTokenizer(tokenizers.Tokenizer.from_str(json.dumps(spec)), kept_ids)


def _used_ids(tokenizer: tokenizers.Tokenizer, texts: Iterable[str]) -> set[int]:
    unlimited = tokenizers.Tokenizer.from_str(tokenizer.to_str())
    unlimited.no_truncation()
    unlimited.no_padding()
    used: set[int] = set()
    for chunk in text_chunks(texts):
        for encoding in unlimited.encode_batch_fast(chunk):
            used.update(encoding.ids)
    return used


def text_chunks(texts: Iterable[str]) -> Iterator[list[str]]:
    """Split a stream of texts into lists for one call of the tokenizer each."""
    stream = iter(texts)
    while chunk := list(islice(stream, _TEXTS_PER_CALL)):
        yield chunk


def _special_ids(spec: dict[str, Any]) -> set[int]:
    vocab = spec["model"]["vocab"]
    ids = {token["id"] for token in spec["added_tokens"]}
    if spec["model"]["type"] == "WordPiece":
        return ids | {vocab[spec["model"]["unk_token"]]}
    ids.add(spec["model"]["unk_id"])
    return {i for i in ids if i is not None}


def _unigram_floor(model: dict[str, Any]) -> set[int]:
    pieces = [piece for piece, _ in model["vocab"]]
    singles = {piece for piece in pieces if len(piece) == 1}
    # The score of an unknown character is derived from the lowest score, so that one stays too.
    kept = {min(range(len(pieces)), key=lambda i: model["vocab"][i][1])}
    for i, piece in enumerate(pieces):
        if (
            len(piece.removeprefix(METASPACE)) <= 1
            or _BYTE_PIECE.fullmatch(piece)
            or not singles.issuperset(piece)
        ):
            kept.add(i)
    return kept


def _wordpiece_floor(model: dict[str, Any]) -> set[int]:
    marker = model.get("continuing_subword_prefix") or _CONTINUATION
    vocab: dict[str, int] = model["vocab"]
    first = {piece for piece in vocab if len(piece) == 1}
    later = {piece.removeprefix(marker) for piece in vocab if piece.startswith(marker)}
    later = {piece for piece in later if len(piece) == 1}

    def is_needed(piece: str) -> bool:
        if piece.startswith(marker) and piece != marker:
            body = piece.removeprefix(marker)
            return len(body) == 1 or not later.issuperset(body)
        return len(piece) <= 1 or piece[0] not in first or not later.issuperset(piece[1:])

    return {i for piece, i in vocab.items() if is_needed(piece)}


def _renumber(spec: dict[str, Any], new_ids: dict[int, int]) -> None:
    model = spec["model"]
    if model["type"] == "Unigram":
        model["vocab"] = [model["vocab"][old] for old in new_ids if old < len(model["vocab"])]
        model["unk_id"] = new_ids[model["unk_id"]]
    else:
        model["vocab"] = {p: new_ids[old] for p, old in model["vocab"].items() if old in new_ids}
    for token in spec["added_tokens"]:
        token["id"] = new_ids[token["id"]]
    if spec["padding"]:
        spec["padding"]["pad_id"] = new_ids[spec["padding"]["pad_id"]]
    for processor in _processors(spec["post_processor"]):
        _renumber_processor(processor, new_ids)


def _processors(post: dict[str, Any] | None) -> list[dict[str, Any]]:
    if post is None:
        return []
    return list(post["processors"]) if post["type"] == "Sequence" else [post]


def _renumber_processor(processor: dict[str, Any], new_ids: dict[int, int]) -> None:
    if processor["type"] == "TemplateProcessing":
        for token in processor["special_tokens"].values():
            token["ids"] = [new_ids[old] for old in token["ids"]]
        return
    for key in ("sep", "cls"):  # BertProcessing and RobertaProcessing: [token, id]
        if key in processor:
            processor[key] = [processor[key][0], new_ids[processor[key][1]]]
