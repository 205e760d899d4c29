"""What a service is told: models, limits. Read from Serve's YAML (`args:`) or the command line.

Replicas and their resources are Serve's own options and stand beside `args` in the YAML.
"""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field, model_validator

from ernie_ray.inference.grouping import BatchLimits


class _Args(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class RequestLimits(_Args):
    """Bounds on what one request may send; each is checked before the work it would cause."""

    max_body_bytes: int = Field(
        default=4 << 20, gt=0, description="Longest request body, in bytes."
    )
    max_texts: int = Field(default=2048, gt=0, description="Most texts (or pairs) of one request.")
    max_text_characters: int = Field(
        default=20_000, gt=0, description="Longest text, in characters."
    )


class ModelArgs(_Args):
    """One model directory to serve."""

    dir: str = Field(min_length=1, description="Path of the model directory on every node.")
    name: str | None = Field(
        default=None, min_length=1, description="Name in requests; the manifest's."
    )
    engine: str = Field(default="auto", description="auto, openvino, onnxruntime or paddle.")
    precision: str = Field(
        default="auto", description="auto, fp32, bf16...: one that the manifest bounds."
    )
    num_threads: int | None = Field(
        default=None, gt=0, description="Compute threads; by default the replica's num_cpus."
    )
    batching: BatchLimits = Field(
        default=BatchLimits(), description="Bounds of its queue and batches."
    )


class ServiceArgs(_Args):
    """A whole service; the first model answers requests that name none."""

    models: tuple[ModelArgs, ...] = Field(min_length=1, description="Model directories to serve.")
    limits: RequestLimits = Field(default=RequestLimits(), description="Bounds of one request.")

    @model_validator(mode="after")
    def _names_are_distinct(self) -> ServiceArgs:
        names = [model.name for model in self.models if model.name is not None]
        if len(set(names)) != len(names):
            raise ValueError(f"models: names must be distinct, got {', '.join(names)}")
        return self
