"""Read a SentencePiece Unigram ``.model`` file: pieces, scores and the character map."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ernie_ray.errors import SourceError

_UNIGRAM = 1


@dataclass(frozen=True)
class PieceModel:
    """What a Unigram model holds.

    Attributes:
        pieces: In id order.
        scores: Log-probability of each piece.
        unk_id: Id of the unknown piece.
        character_map: Compiled normalisation, as ``normalizers.Precompiled`` takes it; may be
            empty.
    """

    pieces: tuple[str, ...]
    scores: tuple[float, ...]
    unk_id: int
    character_map: bytes


def read_sentencepiece(path: Path) -> PieceModel:
    """Read a model file.

    Raises:
        SourceError: The file is not a SentencePiece model, or not of the Unigram kind.
    """
    # Imported here: only these models need protobuf's generated classes.
    from sentencepiece import sentencepiece_model_pb2

    proto = sentencepiece_model_pb2.ModelProto()
    try:
        proto.ParseFromString(path.read_bytes())
    except Exception as error:  # protobuf has its own DecodeError
        raise SourceError(f"{path}: not a SentencePiece model: {error}") from error
    if proto.trainer_spec.model_type != _UNIGRAM:
        raise SourceError(f"{path}: only Unigram SentencePiece models can be read")
    return PieceModel(
        pieces=tuple(piece.piece for piece in proto.pieces),
        scores=tuple(piece.score for piece in proto.pieces),
        unk_id=proto.trainer_spec.unk_id,
        character_map=proto.normalizer_spec.precompiled_charsmap,
    )
