"""``ernie-ray distill``: one recipe, from labelled rows to a measured student."""

from __future__ import annotations

import click

from ernie_ray.cli.recipe_run import RecipeRun, runs_recipe
from ernie_ray.cli.run_result import show_run
from ernie_ray.config import DistillRecipe


@click.command(name="distill")
@runs_recipe(DistillRecipe, "distill")
def command(run: RecipeRun[DistillRecipe]) -> None:
    r"""Train a student by RECIPE, a built-in name or a TOML file.

    The student (bag of words, CNN or LSTM) learns from the teacher's logits that `ernie-ray label`
    wrote beside the rows, from their labels, or from both. It is exported as a model directory
    that predict, evaluate and serve take, and measured on the test rows.

    \b
    Examples:
      ernie-ray distill --list
      ernie-ray distill bow --set data.train=labelled --set data.dev=dev.jsonl
      ernie-ray distill bow --set data.train=train.jsonl --set data.teacher_logits_column= \
        --set data.dev=dev.jsonl --output runs/plain
    """
    with run.ray(run.recipe.scaling):
        from ernie_ray.jobs.distill import distill

        result = distill(
            run.recipe, run.folder, storage=run.storage, show_progress=run.shows_progress
        )
    show_run(result)
