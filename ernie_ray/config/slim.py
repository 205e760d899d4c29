"""The settings of a whole Slim chain: augment, label, distil, export, measure."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from ernie_ray.config.recipe import (
    DataSection,
    ScalingSection,
    Section,
    TrainingSection,
    check_workers,
)
from ernie_ray.config.student import DistillationSection, StudentSection


class SlimDataSection(DataSection):
    """The rows of the chain; dev and test rows are needed to compare models."""

    dev: str = Field(min_length=1, description="Rows to choose checkpoints by.")
    test: str = Field(min_length=1, description="Rows on which the table's models are measured.")
    unlabelled: tuple[str, ...] = Field(
        (), description="More rows for the teacher to label: files, folders or globs."
    )

    @property
    def reading(self) -> dict[str, object]:
        """How rows are read, whichever they are: their columns, and what becomes of bad ones."""
        return self.model_dump(mode="json", exclude={"train", "dev", "test", "unlabelled"})


class TeacherSection(Section):
    """The teacher."""

    model: str = Field(min_length=1, description="Its model directory.")
    engine: Literal["auto", "openvino", "onnxruntime", "paddle", "numpy"] = Field(
        "auto", description="What runs it."
    )
    precision: Literal["auto", "fp32", "bf16", "fp16", "int8"] = Field(
        "auto", description="Number format of its network."
    )


class AugmentSection(Section):
    """Copies of the training rows; the defaults are the kit's."""

    num_copies: int = Field(10, ge=0, description="Copies of each row; 0: none.")
    noise_probability: float = Field(0.1, ge=0, le=1, description="Of a word to become noise.")
    replace_probability: float = Field(
        0.1, ge=0, le=1, description="Of a word to become another of its part of speech."
    )
    fragment_probability: float = Field(
        1.0, ge=0, le=1, description="Of a copy to be cut to a random fragment."
    )
    noise_word: str = Field("UNK", min_length=1, description="Stands for a lost word.")
    min_words: int = Field(
        2, ge=1, description="Copies of fewer words and punctuation marks are dropped."
    )
    seed: int = Field(42, ge=0, description="Same seed, same copies.")


class LabelSection(Section):
    """How the teacher labels."""

    num_actors: int = Field(1, ge=0, description="Copies of the teacher on Ray; 0: one, here.")
    cpus_per_actor: float = Field(0.0, ge=0, description="CPUs of each; 0: an equal share.")
    gpus_per_actor: float = Field(0.0, ge=0, description="GPUs of each; may be a fraction.")
    batch_tokens: int = Field(4096, gt=0, description="Largest padded batch, in tokens.")
    min_confidence: float = Field(
        0.0,
        ge=0,
        le=1,
        description="Rows without a label, and augmented copies, whose best class is less sure go.",
    )
    balance: bool = Field(
        False,
        description="Of rows without a label, and augmented copies, keep equally many of each "
        "class found; not with independent labels.",
    )


class ReportSection(Section):
    """The table and the plot."""

    num_timed_texts: int = Field(300, gt=0, description="Test texts timed one by one.")
    base_encoder: bool = Field(
        True, description="Time a 12 x 768 encoder with random weights, as Paddle runs it eagerly."
    )
    num_timed_base_texts: int = Field(30, gt=0, description="Texts timed on that encoder.")


class SlimRecipe(Section):
    """One complete chain; its student is trained with the teacher, and once more without."""

    data: SlimDataSection
    teacher: TeacherSection
    augment: AugmentSection = AugmentSection()
    label: LabelSection = LabelSection()
    student: StudentSection = StudentSection()
    plain_student: dict[str, Any] = Field(
        {}, description="Settings of `student` that are others without a teacher."
    )
    distillation: DistillationSection = DistillationSection()
    training: TrainingSection = TrainingSection()
    plain_training: TrainingSection | None = Field(
        None, description="Training of the student without a teacher; none: as with one."
    )
    scaling: ScalingSection = ScalingSection()
    report: ReportSection = ReportSection()

    @model_validator(mode="after")
    def _batch_fits_workers(self) -> SlimRecipe:
        for training in filter(None, (self.training, self.plain_training)):
            check_workers(training, self.scaling)
        self.distillation.refuse_only_hard_epochs(self.training)
        return self

    @field_validator("plain_student")
    @classmethod
    def _has_settings_of_a_student(cls, value: dict[str, Any]) -> dict[str, Any]:
        StudentSection.model_validate(value)
        return value  # as given: what is not given is as in `student`

    @property
    def student_without_teacher(self) -> StudentSection:
        """The student that is trained on labels alone."""
        changed = self.student.model_dump() | self.plain_student
        return StudentSection.model_validate(changed)
