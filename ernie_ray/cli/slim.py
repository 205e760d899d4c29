"""``ernie-ray slim``: the whole chain from a teacher to a fast student, and a table."""

from __future__ import annotations

import click

from ernie_ray.cli.recipe_run import RecipeRun, runs_recipe
from ernie_ray.config import SlimRecipe


@click.command(name="slim")
@runs_recipe(SlimRecipe, "slim")
def command(run: RecipeRun[SlimRecipe]) -> None:
    r"""Distil a teacher into a fast student by RECIPE, a built-in name or a TOML file.

    Copies the training rows with noise, lets the teacher label them and any unlabelled rows,
    trains the student with and without the teacher, and measures teacher and students: quality,
    size, texts/s, latency; with a plot. Finished stages are found again by what decides them.

    \b
    Examples:
      ernie-ray slim bow --set teacher.model=runs/teacher/model --set data.train=train.jsonl \
        --set data.dev=dev.jsonl --set data.test=test.jsonl \
        --set 'data.unlabelled=["more.jsonl"]' --set augment.num_copies=0
      ernie-ray slim mine.toml --set data.text_pair_column=text_b --output runs/slim
    """
    with run.ray(run.recipe.scaling):
        from ernie_ray.jobs.slim import slim

        result = slim(run.recipe, run.folder, storage=run.storage, show_progress=run.shows_progress)
    click.echo(result.summary)
