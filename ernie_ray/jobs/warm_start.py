"""Start from the weights of another run: by parameter pattern, with a report of what was taken.

Outputs of the head are told apart by their labels and rows of the word table by their pieces, for
another run may have them in another order. Nothing is loaded into a network here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field
from safetensors.numpy import load_file

from ernie_ray.errors import ConfigError, SourceError
from ernie_ray.jobs import runs
from ernie_ray.modeldir import TaskSpec, open_model_dir
from ernie_ray.modeldir.folder import MANIFEST, TOKENIZER, WEIGHTS
from ernie_ray.models.pretrained import from_pretrained
from ernie_ray.models.pretrained.safetensors_file import read_safetensors
from ernie_ray.models.start import read_spec
from ernie_ray.text.row_files import first_line
from ernie_ray.text.tokenizer import load_tokenizer
from ernie_ray.training.checkpoint import OPTIMIZER, STATE, read_checkpoint_weights

_WORD_TABLE = "encoder.embeddings.word.weight"

_HEAD = "head."
_MAX_SHOWN = 20

Weights = Mapping[str, NDArray[np.float32]]


@dataclass(frozen=True)
class Source:
    """What a warm start may take.

    Attributes:
        weights: Arrays by the names of ``TextNetwork``.
        vocabulary: Pieces of the word table's rows, or None if they are not known.
        task: What the head answers, or None if that is not known.
    """

    weights: Weights
    vocabulary: dict[str, int] | None
    task: TaskSpec | None


@dataclass(frozen=True)
class Network:
    """What is started.

    Attributes:
        shapes: Its parameters by the names of ``TextNetwork``.
        words: Its word table without the warm start.
        vocabulary: Pieces of the table's rows.
        task: What its head shall answer.
    """

    shapes: Mapping[str, tuple[int, ...]]
    words: NDArray[np.float32]
    vocabulary: Mapping[str, int]
    task: TaskSpec


class WarmStartReport(BaseModel):
    """What became of each parameter: contents of ``warm_start.json`` in the run folder."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    source: str = Field(description="Where the weights were read.")
    pattern: str = Field(description="Regular expression that a parameter's whole name must match.")
    taken: tuple[str, ...] = Field(description="Parameters that start from the source's values.")
    partly: dict[str, str] = Field(
        default_factory=dict,
        description="Those of which some rows are the source's, with how many.",
    )
    left: dict[str, str] = Field(description="Parameters of the source left out, with the reason.")
    missing: tuple[str, ...] = Field(description="Own parameters that the source does not have.")


def read_source(source: str, start: Path | None = None) -> Source:
    """Read a model directory, a checkpoint, a run folder or a pretrained source.

    Args:
        source: A folder on this machine, or a name of pretrained weights.
        start: The start folder of a checkpoint's run, where its tokenizer and task lie; None: in
            its place beside the checkpoint.

    Raises:
        SourceError: There are no weights, or they or the start folder are damaged.
        ModelDirError: The model directory is broken.
        CheckpointError: The checkpoint is broken.
    """
    folder = Path(source)
    for place in (folder, folder / runs.MODEL):
        if (place / MANIFEST).is_file():
            model_dir = open_model_dir(place)
            weights = load_file(model_dir.file(WEIGHTS))
            return Source(weights, _vocabulary(place), model_dir.manifest.task)
    if (folder / WEIGHTS).is_file() and not (folder / "config.json").is_file():
        is_checkpoint = (folder / STATE).is_file() or (folder / OPTIMIZER).is_file()
        read = read_checkpoint_weights if is_checkpoint else _read_loose_weights
        start = start or folder.parent.parent / runs.START
        return Source(read(folder), _vocabulary(start), _task(start))
    pretrained = from_pretrained(source)
    weights = {f"encoder.{name}": value for name, value in pretrained.weights.items()}
    return Source(weights, pretrained.tokenizer.get_vocab(with_added_tokens=True), None)


def choose_weights(
    source: str, pattern: str, network: Network, start: Path | None = None
) -> tuple[dict[str, NDArray[np.float32]], WarmStartReport]:
    """Choose which weights of a source a network starts from.

    Args:
        source: As ``read_source`` takes it.
        pattern: Regular expression; a parameter is taken if all of its name matches.
        network: What is started.
        start: As ``read_source`` takes it.

    Returns:
        The arrays to start from, and the report.

    Raises:
        ConfigError: The pattern is none, or nothing fits.
        SourceError: There are no weights, or they are damaged.
        ModelDirError: The source is a broken model directory.
        CheckpointError: The source is a broken checkpoint.
    """
    try:
        matches = re.compile(pattern).fullmatch
    except re.error as error:
        raise ConfigError(f"model.warm_start_pattern={pattern!r}: {error}") from error
    found = read_source(source, start)
    taken: dict[str, NDArray[np.float32]] = {}
    partly: dict[str, str] = {}
    left: dict[str, str] = {}
    for name, value in sorted(found.weights.items()):
        fitted = _fitted(name, value, found, network) if matches(name) else None
        if fitted is None:
            left[name] = "does not match the pattern"
        elif isinstance(fitted, str):
            left[name] = fitted
        else:
            taken[name], note = fitted
            if note:
                partly[name] = note
    if not taken:
        raise ConfigError(
            f"model.warm_start={source}: none of its {len(found.weights)} parameters can be taken; "
            f"the first: {next(iter(left.items()), 'none')}"
        )
    report = WarmStartReport(
        source=source,
        pattern=pattern,
        taken=tuple(taken),
        partly=partly,
        left=left,
        missing=tuple(sorted(network.shapes.keys() - found.weights.keys())),
    )
    return taken, report


def _fitted(
    name: str, value: NDArray[np.float32], source: Source, network: Network
) -> tuple[NDArray[np.float32], str] | str:
    """A parameter as the network has it, with what is to be said of it; or why it does not fit."""
    needed = network.shapes.get(name)
    if needed is None:
        return "no such parameter here"
    if name == _WORD_TABLE and value.shape[1:] == needed[1:]:
        return _fitted_words(value, source.vocabulary, network)
    if tuple(value.shape) != needed:
        return f"shape {list(value.shape)}, {list(needed)} needed"
    if name.startswith(_HEAD):
        outputs = _outputs(source.task, network.task)
        return outputs if isinstance(outputs, str) else (value[..., outputs], "")
    return value, ""


def _fitted_words(
    table: NDArray[np.float32], vocabulary: dict[str, int] | None, network: Network
) -> tuple[NDArray[np.float32], str] | str:
    """The network's word table with the source's row for each piece that both have."""
    if vocabulary is None:
        return "the pieces of its rows are not known"
    # Added tokens may have ids beyond the table.
    theirs = {piece: i for piece, i in vocabulary.items() if i < len(table)}
    own = {piece: i for piece, i in network.vocabulary.items() if i < len(network.words)}
    shared = [(i, theirs[piece]) for piece, i in own.items() if piece in theirs]
    if not shared:
        return "its rows are of another vocabulary"
    rows, source_rows = np.array(shared).T
    words = network.words.copy()
    words[rows] = table[source_rows]
    if len(shared) == len(own):
        return words, ""
    return words, f"{len(shared)} of {len(own)} rows; the source lacks the other pieces"


def _outputs(source: TaskSpec | None, own: TaskSpec) -> Sequence[int] | str:
    """Each output's place in the source's head; or why the heads do not answer the same."""
    if source is None:
        return "what it answers is not known"
    for key in ("family", "objective", "multi_label"):
        theirs, ours = getattr(source, key, None), getattr(own, key, None)
        if theirs != ours:
            return f"it answers another task: {key} is {theirs}, {ours} needed"
    labels: tuple[str, ...] = getattr(source, "labels", ())
    wanted: tuple[str, ...] = getattr(own, "labels", ())
    if set(labels) != set(wanted):
        shown = ", ".join(labels[:_MAX_SHOWN]) + (", ..." if len(labels) > _MAX_SHOWN else "")
        return f"its labels are others: {shown}"
    return [labels.index(label) for label in wanted] or range(own.num_outputs)


def _read_loose_weights(folder: Path) -> Weights:
    return read_safetensors(folder / WEIGHTS)


def _task(start: Path) -> TaskSpec | None:
    """What a run's head answers, by its start folder; None without one."""
    if not start.is_dir():
        return None
    try:
        return read_spec(start).task
    except (OSError, ValueError) as error:
        raise SourceError(
            f"{start}: not the start folder of a run ({first_line(error)}); copy the run again"
        ) from error


def _vocabulary(folder: Path) -> dict[str, int] | None:
    """Pieces and ids of a folder's ``tokenizer.json``; None without one."""
    path = folder / TOKENIZER
    return load_tokenizer(path).get_vocab(with_added_tokens=True) if path.is_file() else None
