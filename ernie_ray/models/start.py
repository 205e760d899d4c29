"""The start folder: what training begins from, written once and read by every worker.

Holds the task and either the pretrained encoder (after trimming and dropping layers) with its
tokenizer, or a student's sizes with its vocabulary. A path to it crosses process borders, the
weights do not.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field
from safetensors.numpy import load_file

from ernie_ray.modeldir import NetworkConfig, Pooling, TaskSpec, VocabularySpec
from ernie_ray.modeldir.folder import TOKENIZER, VOCABULARY, WEIGHTS
from ernie_ray.modeldir.weight_files import write_arrays, write_tokenizer
from ernie_ray.models.pretrained import PretrainedEncoder

SPEC = "start.json"
"""The file that a start folder has once it is whole."""
_WARM_WEIGHTS = "warm.safetensors"


class StartSpec(BaseModel):
    """Contents of ``start.json``."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    task: TaskSpec
    network: NetworkConfig
    pooling: Pooling | None = Field(
        description="How token states become the vector; none: a student."
    )
    normalize: bool = Field(description="Readers scale vectors to length 1 by default.")
    text_prefix: str = Field(description="Put before every text.")
    max_tokens: int = Field(gt=2, description="Longest input, special tokens included.")
    pretrained: str = Field(description="Source of the weights; empty for a student.")
    embedding_std: float = Field(0.02, gt=0, description="Spread of a student's first embeddings.")
    token_dropout: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="Share of a student's tokens that training leaves out.",
    )


def write_start(folder: Path, spec: StartSpec, pretrained: PretrainedEncoder) -> None:
    """Write a start folder.

    Args:
        folder: Exists and is empty.
        spec: Describes ``pretrained`` and the task.
        pretrained: Gives weights and tokenizer.
    """
    write_tokenizer(folder / TOKENIZER, pretrained.tokenizer)
    write_arrays(folder / WEIGHTS, pretrained.weights)
    (folder / SPEC).write_text(spec.model_dump_json(indent=1), encoding="utf-8")


def write_student_start(folder: Path, spec: StartSpec, vocabulary: VocabularySpec) -> None:
    """Write the start folder of a student, whose weights are drawn when training starts.

    Args:
        folder: Exists and is empty.
        spec: Describes the student and the task.
        vocabulary: How texts are cut.
    """
    (folder / VOCABULARY).write_text(vocabulary.model_dump_json(), encoding="utf-8")
    (folder / SPEC).write_text(spec.model_dump_json(indent=1), encoding="utf-8")


def read_spec(folder: Path) -> StartSpec:
    """Read what a start folder describes."""
    return StartSpec.model_validate_json((folder / SPEC).read_bytes())


def read_encoder_weights(folder: Path) -> dict[str, NDArray[np.float32]]:
    """Read the encoder's starting weights, by the names of ``ernie_ray.models.encoder``."""
    weights: dict[str, NDArray[np.float32]] = load_file(folder / WEIGHTS)
    return weights


def write_warm_weights(folder: Path, weights: Mapping[str, NDArray[np.float32]]) -> None:
    """Add weights that replace those of the encoder and the head's random ones."""
    write_arrays(folder / _WARM_WEIGHTS, weights)


def read_warm_weights(folder: Path) -> dict[str, NDArray[np.float32]]:
    """Read what ``write_warm_weights`` wrote, by the names of ``TextNetwork``; empty if nothing."""
    path = folder / _WARM_WEIGHTS
    return load_file(path) if path.is_file() else {}
