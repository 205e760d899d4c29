"""Start from the weights of another run: by parameter pattern, with a report of what was taken.

Knows parameters by name and shape only; nothing is loaded into a network here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field
from safetensors.numpy import load_file

from ernie_ray.errors import ConfigError
from ernie_ray.modeldir.folder import TOKENIZER, WEIGHTS
from ernie_ray.models.pretrained import from_pretrained
from ernie_ray.text.tokenizer import load_tokenizer

_WORD_TABLE = "encoder.embeddings.word.weight"

Weights = Mapping[str, NDArray[np.float32]]


class WarmStartReport(BaseModel):
    """What became of each parameter: contents of ``warm_start.json`` in the run folder."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    source: str = Field(description="Where the weights were read.")
    pattern: str = Field(description="Regular expression that a parameter's whole name must match.")
    taken: tuple[str, ...] = Field(description="Parameters that start from the source's values.")
    left: dict[str, str] = Field(description="Parameters of the source left out, with the reason.")
    missing: tuple[str, ...] = Field(description="Own parameters that the source does not have.")


def read_source(source: str) -> tuple[dict[str, NDArray[np.float32]], dict[str, int] | None]:
    """Read the weights of a model directory, a checkpoint, a run folder or a pretrained source.

    Returns:
        Arrays by the names of ``TextNetwork``, and the vocabulary of the word table, or None if it
        is not known.

    Raises:
        SourceError: There are no weights.
    """
    folder = Path(source)
    for place in (folder, folder / "model"):
        if (place / WEIGHTS).is_file() and not (place / "config.json").is_file():
            # A checkpoint's tokenizer lies in the start folder of its run.
            places = (place / TOKENIZER, place.parent.parent / "start" / TOKENIZER)
            found = next((path for path in places if path.is_file()), None)
            return load_file(place / WEIGHTS), None if found is None else _vocabulary(found)
    pretrained = from_pretrained(source)
    weights = {f"encoder.{name}": value for name, value in pretrained.weights.items()}
    return weights, pretrained.tokenizer.get_vocab(with_added_tokens=True)


def choose_weights(
    source: str, pattern: str, shapes: Mapping[str, tuple[int, ...]], tokenizer: Path
) -> tuple[dict[str, NDArray[np.float32]], WarmStartReport]:
    """Choose which weights of a source a network starts from.

    Args:
        source: As ``read_source`` takes it.
        pattern: Regular expression; a parameter is taken if all of its name matches.
        shapes: The network's parameters.
        tokenizer: The network's ``tokenizer.json``.

    Returns:
        The arrays to start from, and the report.

    Raises:
        ConfigError: The pattern is none, or nothing fits.
        SourceError: There are no weights.
    """
    try:
        matches = re.compile(pattern).fullmatch
    except re.error as error:
        raise ConfigError(f"model.warm_start_pattern={pattern!r}: {error}") from error
    weights, vocabulary = read_source(source)
    same_words = vocabulary is not None and vocabulary == _vocabulary(tokenizer)
    taken, left = {}, {}
    for name, value in sorted(weights.items()):
        if not matches(name):
            left[name] = "does not match the pattern"
        elif name not in shapes:
            left[name] = "no such parameter here"
        elif tuple(value.shape) != shapes[name]:
            left[name] = f"shape {list(value.shape)}, {list(shapes[name])} needed"
        elif name == _WORD_TABLE and not same_words:
            left[name] = "its rows are of another vocabulary"
        else:
            taken[name] = value
    if not taken:
        raise ConfigError(
            f"model.warm_start={source}: none of its {len(weights)} parameters can be taken; the "
            f"first: {next(iter(left.items()), 'none')}"
        )
    report = WarmStartReport(
        source=source,
        pattern=pattern,
        taken=tuple(taken),
        left=left,
        missing=tuple(sorted(shapes.keys() - weights.keys())),
    )
    return taken, report


def _vocabulary(path: Path) -> dict[str, int]:
    """Pieces and ids of a ``tokenizer.json``; only ever compared."""
    vocabulary: dict[str, int] = load_tokenizer(path).get_vocab(with_added_tokens=True)
    return vocabulary
