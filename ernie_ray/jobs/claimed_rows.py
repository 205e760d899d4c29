"""Which rows a run was begun with: a run goes on with the same, or begins anew.

Checkpoints, labels and a trimmed vocabulary come from the rows that were there at the start, while
a file may change behind its name.
"""

from __future__ import annotations

import json

from ernie_ray.config import DistillRecipe, LessonRecipe, Recipe
from ernie_ray.errors import ConfigError
from ernie_ray.jobs import runs
from ernie_ray.jobs.file_digests import digests_of_files
from ernie_ray.jobs.storage import Storage
from ernie_ray.jobs.worker_inputs import row_schema
from ernie_ray.text.rows import files_of

RowDigests = dict[str, list[str]]
"""Format and digest of each file, by split."""


def digest_rows(recipe: Recipe | DistillRecipe | LessonRecipe, storage: Storage) -> RowDigests:
    """Digest a recipe's training and dev rows.

    Raises:
        DataError: There are no such files, or they cannot be read.
    """
    schema = row_schema(recipe)
    return {
        split: digests_of_files(files_of(storage.resolve(name), schema))
        for split, name in (("train", recipe.data.train), ("dev", recipe.data.dev))
        if name
    }


def claim_rows(
    rows: RowDigests, run: str, storage: Storage, *, stages: runs.Stages = runs.STAGES
) -> None:
    """Note the rows of a new run, or check that the folder's run was begun with the same.

    Where nothing was trained yet, as after a bad row that was mended since, other rows take the
    place of the old ones, and what was made of those goes.

    Args:
        rows: From ``digest_rows``.
        run: The run folder.
        storage: Resolves it.
        stages: What else is in the folder.

    Raises:
        ConfigError: The folder holds a run that was trained on other rows.
    """
    name = f"{run}/{runs.ROWS}"
    if storage.exists(name):
        found = json.loads(storage.fetch(name).read_text(encoding="utf-8"))
        if found == rows:
            return
        if not runs.forget_prepared(run, storage, stages):
            changed = [f"data.{split}" for split in rows if rows[split] != found.get(split)]
            raise ConfigError(
                f"{storage.resolve(run)} holds a run on other rows: the files of "
                f"{' and '.join(changed)} have changed since; choose another --output, or put the "
                "old files back to go on with that run"
            )
    runs.write_json(rows, name, storage)
