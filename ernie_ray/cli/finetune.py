"""``ernie-ray finetune``: one recipe, from rows to a measured model directory."""

from __future__ import annotations

import click

from ernie_ray.cli.recipe_run import RecipeRun, runs_recipe
from ernie_ray.cli.run_result import show_run
from ernie_ray.config import Recipe


@click.command(name="finetune")
@runs_recipe(Recipe)
def command(run: RecipeRun[Recipe]) -> None:
    r"""Fine-tune by RECIPE, a built-in name or a TOML file.

    Reads and tokenizes the rows, trains on Ray, keeps the best checkpoint, exports it as a model
    directory and measures that on the test rows. The same command again goes on where an
    interrupted run stopped.

    \b
    Examples:
      ernie-ray finetune --list
      ernie-ray finetune classify --set data.train=train.jsonl --set data.dev=dev.jsonl
      ernie-ray finetune mine.toml --set scaling.num_workers=4 --output runs/first
      ray job submit --working-dir . -- python -m ernie_ray finetune mine.toml --storage /mnt/share
    """
    with run.ray(run.recipe.scaling):
        from ernie_ray.jobs.finetune import finetune

        result = finetune(
            run.recipe, run.folder, storage=run.storage, show_progress=run.shows_progress
        )
    show_run(result)
