"""Recipes: what one run reads, trains and writes, validated before anything starts."""

from ernie_ray.config.load import builtin_recipes, load_recipe
from ernie_ray.config.recipe import (
    DataSection,
    ModelSection,
    Recipe,
    ScalingSection,
    TaskSection,
    TrainingSection,
)

__all__ = [
    "DataSection",
    "ModelSection",
    "Recipe",
    "ScalingSection",
    "TaskSection",
    "TrainingSection",
    "builtin_recipes",
    "load_recipe",
]
