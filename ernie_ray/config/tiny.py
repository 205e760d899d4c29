"""The settings of a whole Tiny chain: a shallow, wide encoder over short input, distilled.

Start, distil on any text, distil on the task, measure.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from ernie_ray.config.recipe import (
    ScalingSection,
    Section,
    TrainingSection,
    check_workers,
)
from ernie_ray.config.slim import LabelSection, ReportSection, SlimDataSection, TeacherSection
from ernie_ray.config.student import DistillationSection


class TinyDataSection(SlimDataSection):
    """The rows of the chain."""

    unlabelled_text_column: str = Field(
        "",
        description="Column of the text in `unlabelled`, if they are single texts of another form "
        "than the rows; empty: as the rows' text(s).",
    )

    @property
    def unlabelled_have_pairs(self) -> bool:
        """Unlabelled rows hold pairs as the others do."""
        return bool(self.text_pair_column) and not self.unlabelled_text_column

    @property
    def unlabelled_fit_the_task(self) -> bool:
        """Unlabelled rows are what the task is asked of."""
        return self.unlabelled_have_pairs == bool(self.text_pair_column)


class TinyTeacherSection(TeacherSection):
    """The teachers: a fine-tuned one, and perhaps another for text of any kind."""

    general: str = Field(
        "",
        description="Model directory that the student starts from and imitates on unlabelled text, "
        "e.g. of the pretrained encoder; empty: that of `model`.",
    )


class TinyStudentSection(Section):
    """The student's shape, and what it starts from."""

    name: str = Field("", description="Name in the manifest; empty: the run's name.")
    num_layers: int = Field(3, gt=0, description="Transformer blocks.")
    hidden_size: int = Field(384, gt=0, description="Width of every token state.")
    num_heads: int = Field(12, gt=0, description="Attention heads per block.")
    ffn_size: int = Field(1536, gt=0, description="Inner width of the feed-forward part.")
    start: Literal["teacher", "random"] = Field(
        "teacher",
        description="teacher: its layers and embeddings, widened by copying units; random: as BERT "
        "initialises.",
    )
    teacher_layers: tuple[int, ...] = Field(
        (),
        description="For each layer the teacher's, counted from 1, that it starts from and whose "
        "states it imitates; empty: evenly spread up to the last.",
    )
    max_tokens: int = Field(128, ge=4, description="Longest input, special tokens included.")
    pooling: Literal["cls", "mean", "max", "pooler"] | None = Field(
        None, description="How token states become a vector; none: as the teacher's."
    )
    text_prefix: str = Field("", description="Put before every text; costs tokens.")
    seed: int = Field(42, ge=0, description="Of random weights and of how copies share a unit.")

    @model_validator(mode="after")
    def _is_possible(self) -> TinyStudentSection:
        if self.hidden_size % self.num_heads:
            raise ValueError(
                f"hidden_size={self.hidden_size} is not divisible by num_heads={self.num_heads}"
            )
        if self.teacher_layers and len(self.teacher_layers) != self.num_layers:
            raise ValueError(
                f"teacher_layers names {len(self.teacher_layers)} layers, but num_layers is "
                f"{self.num_layers}; name one for each"
            )
        return self


class VocabularySection(Section):
    """What a token is."""

    kind: Literal["subwords", "given", "teacher"] = Field(
        "subwords",
        description="subwords: Unigram pieces trained on the texts of the chain; given: the "
        "tokenizer in `folder`; teacher: its own pieces, trimmed to those texts.",
    )
    folder: str = Field(
        "",
        description="With kind=given: folder of a tokenizer.json, or of a SentencePiece *.model "
        "with its vocab.txt, as ERNIE Tiny's.",
    )
    max_pieces: int = Field(
        30_000,
        gt=10,
        description="Most pieces that are trained; single characters of the teacher's come on top.",
    )
    max_texts: int = Field(
        20_000, gt=0, description="Most texts that pieces are trained on, drawn at random."
    )
    lowercase: bool = Field(True, description="Trained pieces fold case.")

    @model_validator(mode="after")
    def _folder_fits(self) -> VocabularySection:
        if (self.kind == "given") != bool(self.folder):
            raise ValueError("folder and kind=given belong together; give both or neither")
        return self


class StatesSection(Section):
    """What of a teacher's inside the student imitates, in spans of text that both cuts share."""

    relation_weight: float = Field(
        1.0, ge=0, description="Of the relations among queries, keys and values (MiniLMv2)."
    )
    relation_heads: int = Field(
        16, gt=0, description="Heads for relations; must divide the width of both networks."
    )
    relation_layer: int = Field(
        0,
        ge=0,
        description="Teacher layer, counted from 1, whose relations the student's last layer "
        "imitates; 0: the last.",
    )
    hidden_weight: float = Field(
        1.0, ge=0, description="Of the relative squared error of each layer's projected states."
    )

    @property
    def uses_states(self) -> bool:
        """The teacher's inside is needed, not only its answers."""
        return self.relation_weight > 0 or self.hidden_weight > 0


class TransferSection(DistillationSection, StatesSection):
    """How the student learns the task: from logits, labels and states."""

    relation_weight: float = Field(0.0, ge=0, description="Of the relations, as in `general`.")
    teacher_outputs: Literal["worker", "cached"] = Field(
        "worker",
        description="worker: each training worker asks a teacher of its own; cached: `label` asks "
        "it once for logits, and states cannot be imitated.",
    )
    uses_unlabelled: bool = Field(True, description="Learn from the unlabelled rows, too.")

    @model_validator(mode="after")
    def _cache_holds_logits_only(self) -> TransferSection:
        if self.teacher_outputs == "cached" and self.uses_states:
            raise ValueError(
                "teacher_outputs=cached keeps logits only; set relation_weight=0 and "
                "hidden_weight=0, or teacher_outputs=worker"
            )
        return self


class TinyRecipe(Section):
    """One complete chain; its student is trained with the teacher, and once more without."""

    data: TinyDataSection
    teacher: TinyTeacherSection
    student: TinyStudentSection = TinyStudentSection()
    vocabulary: VocabularySection = VocabularySection()
    general: StatesSection = StatesSection()
    general_training: TrainingSection | None = Field(
        None,
        description="Training on the training and unlabelled texts without their labels; none: the "
        "student learns the task at once.",
    )
    label: LabelSection = LabelSection()
    distillation: TransferSection = TransferSection()
    training: TrainingSection = TrainingSection()
    plain_training: TrainingSection | None = Field(
        None, description="Training of the student without a teacher; none: as with one."
    )
    scaling: ScalingSection = ScalingSection()
    report: ReportSection = ReportSection()

    @model_validator(mode="after")
    def _is_possible(self) -> TinyRecipe:
        for training in (self.general_training, self.training, self.plain_training):
            if training is not None:
                check_workers(training, self.scaling)
        if self.general_training is not None and self.general_training.patience_evaluations:
            raise ValueError(
                "general_training.patience_evaluations: nothing is measured while the student "
                "learns from text alone; set it to 0"
            )
        if self.general_training is not None and (
            self.general_training.metric or self.general_training.changes_class_loss
        ):
            raise ValueError(
                "general_training.metric, label_smoothing and class_weights: the student learns "
                "from text alone there, without labels; remove them"
            )
        self.distillation.refuse_only_hard_epochs(self.training)
        for name, states in (("general", self.general), ("distillation", self.distillation)):
            if states.relation_weight and self.student.hidden_size % states.relation_heads:
                raise ValueError(
                    f"{name}.relation_heads={states.relation_heads} does not divide "
                    f"student.hidden_size={self.student.hidden_size}"
                )
        if self.general_training is not None and not self.general.uses_states:
            raise ValueError("general imitates nothing; give it a weight, or no general_training")
        return self
