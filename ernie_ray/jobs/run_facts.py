"""What a run was made of: versions, weights, and what became of the rows. ``run.json`` holds it.

Written before training begins, so that a run which never ends can be explained, too.
"""

from __future__ import annotations

import platform

from pydantic import BaseModel, ConfigDict, Field

from ernie_ray.config import DistillRecipe, LessonRecipe, Recipe
from ernie_ray.jobs import runs
from ernie_ray.jobs.export import installed_versions
from ernie_ray.jobs.file_digests import digest_of, digests_of_files
from ernie_ray.jobs.row_blocks import checked_schema
from ernie_ray.jobs.storage import Location, Storage
from ernie_ray.jobs.warm_start import WarmStartReport
from ernie_ray.jobs.worker_inputs import Prepared, row_schema
from ernie_ray.modeldir import TaskSpec
from ernie_ray.models.start import read_spec
from ernie_ray.text.cache import SUMMARY_FILE, CacheSummary
from ernie_ray.text.rows import read_rows

_MAX_LISTED = 50

AnyRecipe = Recipe | DistillRecipe | LessonRecipe


class _Facts(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class SplitFacts(_Facts):
    """What became of the rows of one file, folder or glob."""

    location: str = Field(description="As the recipe names it.")
    digest: str = Field(description="Of the rows' content and of all that decides how it is read.")
    num_rows: int = Field(ge=0, description="Rows that are used.")
    num_truncated: int | None = Field(
        None, description="Of these, how many were cut to model.max_tokens; null: not known yet."
    )
    num_skipped: int = Field(0, ge=0, description="Bad rows left out.")
    skipped: tuple[str, ...] = Field((), description="The first of them: file, line, problem.")
    notes: dict[str, int] = Field(
        default_factory=dict, description="Rows with a peculiarity, counted by what it is."
    )


class RunFacts(_Facts):
    """Contents of ``run.json``."""

    versions: dict[str, str] = Field(description="Of Python and of the libraries that decide.")
    pretrained: str = Field(description="Where the encoder's weights come from; empty: from none.")
    rows: dict[str, SplitFacts] = Field(description="By train, dev and test.")
    warm_start: WarmStartReport | None = Field(None, description="What was taken of another run.")
    seconds: dict[str, float] = Field(
        default_factory=dict, description="By stage, over all attempts of the run."
    )

    def with_truncated(self, split: str, num_truncated: int) -> RunFacts:
        """Say how many rows of a split were cut, once they were tokenized."""
        rows = self.rows[split].model_copy(update={"num_truncated": num_truncated})
        return self.model_copy(update={"rows": {**self.rows, split: rows}})


def gather_facts(recipe: AnyRecipe, prepared: Prepared, storage: Storage) -> RunFacts:
    """Gather what is known of a run when its inputs are made; the test rows are not looked at.

    Args:
        recipe: The resolved recipe.
        prepared: What the workers read.
        storage: Reads it.
    """
    caches = {"train": prepared.train, "dev": prepared.dev}
    return RunFacts(
        versions={"python": platform.python_version(), **installed_versions()},
        pretrained=read_spec(storage.fetch(prepared.start)).pretrained,
        rows={
            split: _of_cache(getattr(recipe.data, split), cache, storage)
            for split, cache in caches.items()
            if cache is not None
        },
        warm_start=_warm_start(prepared, storage),
    )


def check_test_rows(recipe: AnyRecipe, start: Location, storage: Storage) -> SplitFacts:
    """Read the test rows once, so that a bad one is an error before training and not after it.

    Args:
        recipe: Names the rows, and says whether bad ones may be skipped.
        start: The run's start folder; it says which labels there are.
        storage: Resolves the rows.

    Raises:
        DataError: A file or row cannot be used.
    """
    task: TaskSpec = read_spec(storage.fetch(start)).task
    schema = checked_schema(row_schema(recipe), task)
    reader = read_rows(storage.resolve(recipe.data.test), schema, on_bad=recipe.data.bad_rows)
    num_rows = sum(1 for _ in reader)
    return SplitFacts(
        location=recipe.data.test,
        digest=digest_of(digests_of_files(reader.files), repr(schema), recipe.data.bad_rows),
        num_rows=num_rows,
        num_skipped=reader.num_skipped,
        skipped=tuple(map(str, reader.skipped[:_MAX_LISTED])),
    )


def _of_cache(name: str, cache: Location, storage: Storage) -> SplitFacts:
    # The summary alone: the whole cache of a remote run need not come to this machine.
    text = storage.fetch(f"{cache}/{SUMMARY_FILE}").read_bytes()
    summary = CacheSummary.model_validate_json(text)
    return SplitFacts(
        location=name,
        digest=summary.digest,
        num_rows=sum(summary.num_rows_per_file.values()),
        num_truncated=summary.num_truncated,
        num_skipped=summary.num_skipped,
        skipped=summary.skipped[:_MAX_LISTED],
        notes=summary.notes,
    )


def _warm_start(prepared: Prepared, storage: Storage) -> WarmStartReport | None:
    name = f"{prepared.start}/{runs.WARM_START}"
    if not storage.exists(name):
        return None
    return WarmStartReport.model_validate_json(storage.fetch(name).read_bytes())
