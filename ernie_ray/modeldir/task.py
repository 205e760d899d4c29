"""What a model directory answers: one frozen description per task family.

Behaviour (schemas, decoding, metrics) lives in ``ernie_ray.tasks``; this is only what is written
into a manifest.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator


class _Spec(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    is_per_token: ClassVar[bool] = False
    """True: the graph's logits are [batch, tokens, outputs], not [batch, outputs]."""


class _LabelledSpec(_Spec):
    labels: tuple[str, ...] = Field(min_length=2, description="Class names in logit order.")

    @field_validator("labels")
    @classmethod
    def _labels_are_distinct(cls, labels: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(labels)) != len(labels):
            raise ValueError("labels must be distinct")
        return labels

    @property
    def num_outputs(self) -> int:
        """Width of the logits."""
        return len(self.labels)


class EmbeddingSpec(_Spec):
    """Vectors only: an encoder without a head."""

    family: Literal["embedding"] = "embedding"

    @property
    def num_outputs(self) -> int:
        """Width of the logits: there are none."""
        return 0


class ClassificationSpec(_LabelledSpec):
    """One text (or pair) to one label, or to any number of them."""

    family: Literal["classification"] = "classification"
    multi_label: bool = Field(False, description="True: labels are independent (sigmoid).")


class PairSpec(_Spec):
    """Two texts to one number: a regression value or a ranking score."""

    family: Literal["pair"] = "pair"
    objective: Literal["regression", "ranking"] = "regression"
    low: float = Field(0.0, description="Smallest label value.")
    high: float = Field(1.0, description="Largest label value.")

    @property
    def num_outputs(self) -> int:
        """Width of the logits."""
        return 1


class TokenLabelsSpec(_LabelledSpec):
    """A label for each token, read as spans; ``labels`` are tags, ``O`` first."""

    is_per_token: ClassVar[bool] = True

    family: Literal["token_labels"] = "token_labels"
    scheme: Literal["BIO", "BIOES"] = "BIO"


class ReadingSpec(_Spec):
    """A question and a context to the answer's span."""

    is_per_token: ClassVar[bool] = True

    family: Literal["reading"] = "reading"
    max_answer_tokens: int = Field(100, gt=0, description="Longest answer, in tokens.")
    answerless_share: float = Field(
        1.0, ge=0, le=1, description="Of windows without a question's answer, those learnt from."
    )
    no_answer_threshold: float | None = Field(
        None,
        description="The best answer's score less that of none, below which none is given; null: "
        "an answer is always given.",
    )

    @property
    def num_outputs(self) -> int:
        """Width of the logits: start and end."""
        return 2


TaskSpec = Annotated[
    EmbeddingSpec | ClassificationSpec | PairSpec | TokenLabelsSpec | ReadingSpec,
    Field(discriminator="family"),
]
