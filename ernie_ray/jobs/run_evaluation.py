"""Measure what a run exported, and keep that in the run folder."""

from __future__ import annotations

from ernie_ray.jobs import runs
from ernie_ray.jobs.evaluate import Evaluation, measure
from ernie_ray.jobs.predict import RunOptions
from ernie_ray.jobs.run_facts import AnyRecipe
from ernie_ray.jobs.storage import Storage
from ernie_ray.jobs.worker_inputs import row_schema


def evaluate_run(
    recipe: AnyRecipe, run: str, storage: Storage, *, show_progress: bool
) -> Evaluation | None:
    """Measure the exported model on the test rows, or, without any, on the dev rows.

    Args:
        recipe: Names the rows.
        run: The run folder; it holds the model.
        storage: Resolves both.
        show_progress: Draw a bar on stderr.

    Returns:
        What was measured, which is in ``evaluation.json`` now; None where there is nothing to
        measure or to measure by.

    Raises:
        DataError: A file or row cannot be used.
        ModelDirError: The model directory is broken.
    """
    split = "test" if recipe.data.test else "dev"
    rows = getattr(recipe.data, split)
    if not rows or recipe.task is None:
        return None
    evaluation = measure(
        storage.fetch(f"{run}/{runs.MODEL}"),
        storage.resolve(rows),
        row_schema(recipe),
        options=RunOptions(on_bad=recipe.data.bad_rows),
        show_progress=show_progress,
    )
    record = {"split": split, **evaluation.as_json()}
    runs.write_json(record, f"{run}/{runs.EVALUATION}", storage)
    return evaluation
