"""The settings of one student's training: network, vocabulary, and how it learns from a teacher."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from ernie_ray.config.recipe import (
    DataSection,
    ScalingSection,
    Section,
    TaskSection,
    TrainingSection,
    check_class_losses,
    check_metric,
    check_patience,
    check_workers,
)

_PositiveInt = Annotated[int, Field(gt=0)]


class DistillDataSection(DataSection):
    """Rows with the teacher's logits, as ``ernie-ray label`` writes them."""

    teacher_logits_column: str = Field(
        "teacher_logits",
        description="Column of the teacher's logits; empty: learn from labels alone.",
    )


class StudentSection(Section):
    """The student's network and vocabulary; what its kind does not have is not looked at."""

    kind: Literal["bow", "cnn", "lstm"] = Field("bow", description="Kind of network.")
    name: str = Field("", description="Name in the manifest; empty: the run's name.")
    vocabulary: Literal["characters", "words", "subwords", "ngrams"] = Field(
        "ngrams", description="What a token is; words are jieba's, n-grams are of characters."
    )
    max_pieces: int = Field(35_000, gt=0, description="Most pieces of the vocabulary.")
    max_texts: int = Field(
        20_000, gt=0, description="Most texts that sub-words are trained on, drawn at random."
    )
    min_count: int = Field(1, gt=0, description="Rarer characters and words are unknown.")
    lowercase: bool = Field(True, description="Fold case.")
    ngram_orders: tuple[_PositiveInt, ...] = Field(
        (1, 2, 3), min_length=1, description="Lengths of the n-grams."
    )
    bucket_bits: int = Field(17, gt=0, le=24, description="n-grams share 2 ** bucket_bits ids.")
    max_tokens: int = Field(128, ge=4, description="Most tokens of a row; a pair shares them.")
    embedding_size: int = Field(128, gt=0, description="Width of the embedding.")
    embedding_std: float = Field(0.02, gt=0, description="Spread of the first embeddings.")
    token_dropout: float = Field(
        0.0, ge=0, lt=1, description="Share of the tokens that each training step leaves out."
    )
    pooling: str = Field(
        "", description="Over the tokens; empty: sum (bow), max (cnn), last (lstm)."
    )
    squash: Literal["none", "softsign", "tanh"] = Field(
        "none", description="Applied to the pooled features."
    )
    hidden_sizes: tuple[_PositiveInt, ...] = Field((), description="Widths of the dense layers.")
    dense_activation: Literal["none", "tanh", "relu"] = Field(
        "tanh", description="After each dense layer."
    )
    widths: tuple[_PositiveInt, ...] = Field(
        (3,), min_length=1, description="Window widths of a CNN, in tokens."
    )
    num_filters: int = Field(128, gt=0, description="Filters of each width.")
    activation: Literal["relu", "tanh"] = Field("relu", description="After the filters.")
    num_units: int = Field(128, gt=0, description="State size of an LSTM, each direction.")
    is_bidirectional: bool = Field(True, description="The LSTM reads backwards, too.")


class DistillationSection(Section):
    """How the student learns from the teacher.

    The loss of a row is (1 - hard_weight) x soft + hard_weight x hard. Where a row has no label, or
    is an augmented copy, whose label may no longer hold, it is the soft part alone; where it has no
    teacher logits, the hard part alone. ``training.label_smoothing`` and ``training.class_weights``
    change the hard part.
    """

    loss: Literal["soft_cross_entropy", "mse"] = Field(
        "soft_cross_entropy",
        description="soft_cross_entropy: of softened probabilities (Hinton 2015), as the kit with "
        "temperature 1; mse: between logits (Tang 2019).",
    )
    temperature: float = Field(1.0, gt=0, description="Divides both logits in soft_cross_entropy.")
    hard_weight: float = Field(0.0, ge=0, le=1, description="Share of the hard labels' loss.")
    hard_epochs: int = Field(
        0,
        ge=0,
        description="Of the epochs, the last so many see the labelled rows alone, with their hard "
        "labels (the kit: 1 of 10).",
    )
    labelled_repeats: int = Field(
        1,
        ge=1,
        description="How often an epoch has each labelled row where there are others, too; "
        "augmented copies and unlabelled rows it has once.",
    )

    def refuse_only_hard_epochs(self, training: TrainingSection) -> None:
        """Raise ValueError if there is no epoch for the teacher, or perhaps none without it."""
        if self.hard_epochs >= training.num_epochs:
            raise ValueError(
                f"distillation.hard_epochs={self.hard_epochs} leaves none of "
                f"training.num_epochs={training.num_epochs} to learn from the teacher"
            )
        if self.hard_epochs and (training.max_steps or training.patience_evaluations):
            raise ValueError(
                "distillation.hard_epochs are the last of training.num_epochs, which "
                "training.max_steps and training.patience_evaluations may end before; set both to 0"
            )


class DistillRecipe(Section):
    """One complete training of a student."""

    data: DistillDataSection
    task: TaskSection = TaskSection()
    student: StudentSection = StudentSection()
    distillation: DistillationSection = DistillationSection()
    training: TrainingSection = TrainingSection()
    scaling: ScalingSection = ScalingSection()

    @property
    def model_name(self) -> str:
        """Name in the manifest; empty: the run's name."""
        return self.student.name

    @model_validator(mode="after")
    def _is_possible(self) -> DistillRecipe:
        if self.task.family != "classification":
            raise ValueError(
                f"task.family={self.task.family}: students answer with classes; leave it at "
                "classification"
            )
        check_class_losses(self.task, self.training)
        check_patience(self.data, self.training)
        check_workers(self.training, self.scaling)
        check_metric(self.training, self.data)
        self.distillation.refuse_only_hard_epochs(self.training)
        return self
