"""``ernie-ray tiny``: the whole chain from a teacher to a shallow, wide encoder, and a table."""

from __future__ import annotations

import click

from ernie_ray.cli.recipe_run import RecipeRun, runs_recipe
from ernie_ray.config import TinyRecipe


@click.command(name="tiny")
@runs_recipe(TinyRecipe, "tiny")
def command(run: RecipeRun[TinyRecipe]) -> None:
    r"""Distil a teacher into a small encoder by RECIPE, a built-in name or a TOML file.

    The student has few layers and a vocabulary of its own, trained on your texts, that cuts them
    short. It starts from the teacher's layers and embeddings, imitates its states on any text, then
    its answers on the task. The start is fine-tuned without a teacher, too, and all are measured:
    quality, size, texts/s, latency, length saved. Finished stages are found again.

    \b
    Examples:
      ernie-ray tiny 3x384 --set teacher.model=runs/teacher/model --set data.train=train.jsonl \
        --set data.dev=dev.jsonl --set data.test=test.jsonl
      ernie-ray tiny mine.toml --set 'data.unlabelled=["more.jsonl"]' --output runs/tiny
      ernie-ray finetune ner --set model.pretrained=runs/tiny/general-.../model ...
    """
    with run.ray(run.recipe.scaling):
        from ernie_ray.jobs.tiny import tiny

        result = tiny(run.recipe, run.folder, storage=run.storage, show_progress=run.shows_progress)
    click.echo(result.summary)
