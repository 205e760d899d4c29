"""Train a student on Ray Train: from labelled rows, a teacher's logits, or both.

The run folder, the restarts and the export are those of fine-tuning; only what the workers begin
from and what they minimise differs.
"""

from __future__ import annotations

from ernie_ray.config import DistillRecipe
from ernie_ray.jobs.finetune import FinetuneResult, run_recipe
from ernie_ray.jobs.prepare_student import prepare_student
from ernie_ray.jobs.storage import Storage


def distill(
    recipe: DistillRecipe, run: str, *, storage: Storage, show_progress: bool = True
) -> FinetuneResult:
    """Train a student by a recipe. Ray must be initialised.

    Args:
        recipe: The resolved recipe.
        run: The run folder: a name for ``storage``, an absolute path or a URI.
        storage: Resolves the recipe's files and the run folder.
        show_progress: Draw progress bars on stderr.

    Returns:
        Where everything is, and how good the student is.

    Raises:
        ConfigError: The recipe does not fit the data or an earlier run in the folder.
        DataError: A file or row cannot be used.
        ErnieRayError: Training failed more often than ``scaling.max_failures``.
    """
    return run_recipe(
        recipe,
        run,
        prepare_student,
        distillation=recipe.distillation,
        storage=storage,
        show_progress=show_progress,
    )
