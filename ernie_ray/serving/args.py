"""What a service is told: models, limits. Read from Serve's YAML (`args:`) or the command line.

Replicas and their resources are Serve's own options and stand beside `args` in the YAML, under the
name of the deployment.
"""

from __future__ import annotations

from typing import Literal

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
    max_layers: int = Field(default=4, gt=0, description="Most layers joined in one vector.")
    max_reply_numbers: int = Field(
        default=4_000_000, gt=0, description="Most numbers in the vectors of one reply."
    )
    max_header_bytes: int = Field(
        default=16_384, gt=0, description="Names and values of all request headers, in bytes."
    )
    max_timeout_ms: int = Field(
        default=60_000,
        gt=0,
        description="Time after which a request gets 504, in milliseconds; a client's "
        "x-request-timeout-ms can only shorten it.",
    )


class SecurityArgs(_Args):
    """Who may ask. TLS ends before this service (docs/serving.md)."""

    api_keys_file: str | None = Field(
        default=None, description="File with one SHA-256 of a key in each line, from `api-key`."
    )
    api_keys_variable: str | None = Field(
        default=None, description="Environment variable with such digests, separated by commas."
    )
    cors_origins: tuple[str, ...] = Field(
        default=(), description="Web origins whose pages may ask; none by default."
    )


class ModelArgs(_Args):
    """One model directory to serve."""

    dir: str = Field(min_length=1, description="Path of the model directory on every node.")
    name: str | None = Field(
        default=None, min_length=1, description="Name in requests; the manifest's."
    )
    engine: str = Field(
        default="auto", description="auto, openvino, onnxruntime, paddle or numpy (students)."
    )
    precision: str = Field(
        default="auto", description="auto, fp32, bf16, int8...: one that the manifest bounds."
    )
    num_threads: int | None = Field(
        default=None, gt=0, description="Compute threads; by default the replica's num_cpus."
    )
    layers: tuple[int, ...] = Field(
        default=(),
        description="Layers whose token states requests may choose: 1 is the first layer's output, "
        "-1 the last one's. Each costs a copy in every batch.",
    )
    place: Literal["auto", "ingress", "own"] = Field(
        default="auto",
        description="ingress: in the replicas that answer HTTP, one hop less. own: in a deployment "
        "called `Model-NAME`, with its own replicas, resources and scaling. auto: the first model "
        "in the ingress, others on their own.",
    )
    batching: BatchLimits = Field(
        default=BatchLimits(), description="Bounds of its queue and batches."
    )


class ServiceArgs(_Args):
    """A whole service; the first model answers requests that name none."""

    models: tuple[ModelArgs, ...] = Field(min_length=1, description="Model directories to serve.")
    limits: RequestLimits = Field(default=RequestLimits(), description="Bounds of one request.")
    security: SecurityArgs = Field(default=SecurityArgs(), description="Who may ask.")
    log_requests: Literal["all", "errors", "none"] = Field(
        default="errors", description="Which requests get a line of JSON in the log."
    )

    @model_validator(mode="after")
    def _names_are_distinct(self) -> ServiceArgs:
        names = [model.name for model in self.models if model.name is not None]
        if len(set(names)) != len(names):
            raise ValueError(f"models: names must be distinct, got {', '.join(names)}")
        for i, model in enumerate(self.models):
            if self.is_own(i) and model.name is None:
                raise ValueError(f"models[{i}]: a model with a deployment of its own needs a name")
        return self

    def is_own(self, index: int) -> bool:
        """Whether a model gets a deployment of its own."""
        place = self.models[index].place
        return place == "own" or (place == "auto" and index > 0)
