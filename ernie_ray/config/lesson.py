"""What one training within a Tiny chain gets: made by the chain, never written by a user."""

from __future__ import annotations

from pydantic import Field

from ernie_ray.config.recipe import ScalingSection, Section, TaskSection, TrainingSection
from ernie_ray.config.student import DistillationSection, DistillDataSection
from ernie_ray.config.tiny import StatesSection


class Lesson(Section):
    """What a training worker must know to imitate a teacher."""

    teacher: str = Field(description="Model directory: absolute path or URI; empty: not asked.")
    engine: str = Field(
        "auto", description="What runs the teacher on CPUs; on a GPU its network does, in fp32."
    )
    precision: str = Field("auto", description="Number format of the teacher on CPUs.")
    teacher_layers: tuple[int, ...] = Field(description="For each layer the teacher's, from 1.")
    states: StatesSection
    logits: DistillationSection | None = Field(description="None: states alone are learnt from.")


class LessonModelSection(Section):
    """The encoder that learns."""

    start: str = Field(min_length=1, description="Model directory that it starts from.")
    name: str = Field("", description="Name in the manifest; empty: the run's name.")


class LessonRecipe(Section):
    """One training within the chain."""

    data: DistillDataSection
    task: TaskSection | None = Field(description="None: no task, vectors only.")
    model: LessonModelSection
    lesson: Lesson
    training: TrainingSection = TrainingSection()
    scaling: ScalingSection = ScalingSection()

    @property
    def model_name(self) -> str:
        """Name in the manifest; empty: the run's name."""
        return self.model.name
