"""The manifest: everything a reader needs to know of a model directory before opening a graph.

Each section carries a digest of its own, so that an edited label list is refused by name.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from ernie_ray.modeldir.network import NetworkConfig, Pooling
from ernie_ray.modeldir.task import TaskSpec

FORMAT_VERSION = 1


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class InputSpec(_Section):
    """How a text becomes the graph's inputs."""

    max_tokens: int = Field(gt=2, description="Longest input in tokens, special tokens included.")
    pad_token_id: int = Field(ge=0, description="Id that fills a batch up.")
    text_prefix: str = Field("", description="Put before every text (E5 models: 'query: ').")
    names: tuple[str, ...] = Field(
        ("input_ids", "token_type_ids", "attention_mask"),
        description="Graph inputs in order, each int64 [batch, tokens].",
    )


class VectorSpec(_Section):
    """The text vector that the graph's output ``vector`` holds."""

    pooling: Pooling | None = Field(
        description="How token states become the vector, inside the graph; none: a student, whose "
        "network section says it."
    )
    size: int = Field(gt=0, description="Numbers per vector.")
    normalize: bool = Field(description="Readers scale the vector to length 1 by default.")


class ParityBound(_Section):
    """How far an engine may stray from the golden outputs at one precision."""

    min_cosine: float = Field(gt=0, le=1, description="Smallest cosine to each golden vector.")
    max_logit_error: float = Field(gt=0, description="Largest absolute difference of a logit.")


class GoldenText(_Section):
    """One text with what the trained network gave for it (Paddle, fp32)."""

    text: str
    text_pair: str | None = None
    input_ids: tuple[int, ...] = Field(description="Token ids, special tokens included.")
    vector: tuple[float, ...] = Field(description="The vector before any scaling.")
    logits: tuple[float, ...] = Field(
        (),
        description="Raw task outputs, token after token if the task "
        "answers per token; empty without a head.",
    )


class Lineage(_Section):
    """Where the weights come from."""

    pretrained: str = Field("", description="Source of the starting weights.")
    run: str = Field("", description="Name of the training run; empty if never fine-tuned.")
    step: int = Field(0, ge=0, description="Optimizer steps behind the exported checkpoint.")
    data_digest: str = Field("", description="SHA-256 over the training rows' features.")
    recipe: dict[str, Any] = Field(default_factory=dict, description="The resolved recipe.")


class FileEntry(_Section):
    """Size and digest of one file."""

    num_bytes: int = Field(ge=0)
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")


class Manifest(_Section):
    """Contents of ``manifest.json``."""

    format_version: int = Field(FORMAT_VERSION, description="Raised when readers must change.")
    name: str = Field(min_length=1, description="Name that the service shows.")
    task: TaskSpec
    network: NetworkConfig
    input: InputSpec
    vector: VectorSpec
    outputs: tuple[str, ...] = Field(description="Graph outputs in the Paddle graph's order.")
    layer_nodes: tuple[str, ...] = Field(
        description="Name of each layer's output [batch, tokens, hidden] in the graphs, in order."
    )
    parity: dict[str, ParityBound] = Field(description="Bound for each precision (fp32, bf16...).")
    lineage: Lineage
    metrics: dict[str, dict[str, float]] = Field(
        default_factory=dict, description="Measured values by split, e.g. metrics.dev.accuracy."
    )
    versions: dict[str, str] = Field(description="Library versions at export.")
    files: dict[str, FileEntry] = Field(default_factory=dict, description="Every other file.")
    section_digests: dict[str, str] = Field(
        default_factory=dict, description="SHA-256 of each other section's canonical JSON."
    )

    def digests_of_sections(self) -> dict[str, str]:
        """SHA-256 of the canonical JSON of every section except the digests themselves."""
        sections = self.model_dump(mode="json", exclude={"section_digests"})
        return {key: _sha256_of_json(value) for key, value in sections.items()}

    @property
    def results(self) -> tuple[str, ...]:
        """Graph outputs that every caller wants: ``vector`` and, with a head, ``logits``."""
        return tuple(name for name in self.outputs if name not in self.layer_nodes)

    @property
    def fingerprint(self) -> str:
        """Short name of exactly these weights, labels and settings: 16 hexadecimal digits."""
        return _sha256_of_json(self.section_digests)[:16]


def _sha256_of_json(value: Any) -> str:
    canonical = json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()
