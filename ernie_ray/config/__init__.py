"""Recipes: what one run reads, trains and writes, validated before anything starts."""

from ernie_ray.config.lesson import Lesson, LessonModelSection, LessonRecipe
from ernie_ray.config.load import builtin_recipes, explain, load_recipe, load_recipe_of
from ernie_ray.config.recipe import (
    DataSection,
    ModelSection,
    Recipe,
    ScalingSection,
    TaskSection,
    TrainingSection,
    check_class_losses,
)
from ernie_ray.config.search import Range, SearchRecipe, TuneSection
from ernie_ray.config.slim import (
    AugmentSection,
    LabelSection,
    ReportSection,
    SlimDataSection,
    SlimRecipe,
    TeacherSection,
)
from ernie_ray.config.student import (
    DistillationSection,
    DistillDataSection,
    DistillRecipe,
    StudentSection,
)
from ernie_ray.config.tiny import (
    StatesSection,
    TinyDataSection,
    TinyRecipe,
    TinyStudentSection,
    TinyTeacherSection,
    TransferSection,
    VocabularySection,
)
from ernie_ray.config.write import as_toml

__all__ = [
    "AugmentSection",
    "DataSection",
    "DistillDataSection",
    "DistillRecipe",
    "DistillationSection",
    "LabelSection",
    "Lesson",
    "LessonModelSection",
    "LessonRecipe",
    "ModelSection",
    "Range",
    "Recipe",
    "ReportSection",
    "ScalingSection",
    "SearchRecipe",
    "SlimDataSection",
    "SlimRecipe",
    "StatesSection",
    "StudentSection",
    "TaskSection",
    "TeacherSection",
    "TinyDataSection",
    "TinyRecipe",
    "TinyStudentSection",
    "TinyTeacherSection",
    "TrainingSection",
    "TransferSection",
    "TuneSection",
    "VocabularySection",
    "as_toml",
    "builtin_recipes",
    "check_class_losses",
    "explain",
    "load_recipe",
    "load_recipe_of",
]
