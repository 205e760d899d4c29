"""One teacher and many students for the Slim benchmarks: every run found again where it is done.

Knows jobs and recipes; not which tables are made of the runs.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet

from benchmarks.slim_data import TaskRows, place, read_texts
from ernie_ray.config import DistillRecipe, Recipe, load_recipe, load_recipe_of
from ernie_ray.jobs import runs
from ernie_ray.jobs.augment import AugmentRequest, augment
from ernie_ray.jobs.chunk_run import Pool
from ernie_ray.jobs.constant_answers import constant_accuracy
from ernie_ray.jobs.distill import distill
from ernie_ray.jobs.evaluate import measure
from ernie_ray.jobs.finetune import finetune
from ernie_ray.jobs.label import label
from ernie_ray.jobs.label_request import LabelRequest
from ernie_ray.jobs.labelled_rows import ROWS
from ernie_ray.jobs.storage import Storage
from ernie_ray.modeldir import ClassificationSpec
from ernie_ray.modeldir.folder import read_manifest
from ernie_ray.text.augment import AugmentSettings
from ernie_ray.text.row_files import find_files
from ernie_ray.text.row_schema import COPY_COLUMN, RowSchema

_HARD_LOGIT = 20.0
"""Softmax of 20 against 0 is one-hot to eight digits; the kit wrote 9999."""


@dataclass(frozen=True)
class Score:
    """What one run came to."""

    dev: float
    test: float


class Workshop:
    """Runs of one data set in one folder."""

    def __init__(
        self,
        rows: TaskRows,
        folder: Path,
        num_threads: int,
        metric: str = "accuracy",
        settings: tuple[str, ...] = (),
    ) -> None:
        """Prepare the folder.

        Args:
            rows: The data set.
            folder: Holds its runs.
            num_threads: Of each training.
            metric: What the tables show.
            settings: Of every training, the teacher's and the students'.
        """
        self.rows = rows
        self._settings = settings
        self._num_threads = num_threads
        self.folder = folder.absolute()
        self.folder.mkdir(parents=True, exist_ok=True)
        self.metric = metric
        self._storage = Storage(str(self.folder))
        self._schema = RowSchema(rows.text, rows.text_pair or None, "label")

    @property
    def teacher(self) -> Path:
        """The teacher's model directory."""
        return self.folder / "teacher" / runs.MODEL

    def train_teacher(
        self, overrides: tuple[str, ...] = (), *, recipe_name: str = "classify"
    ) -> Score:
        """Fine-tune multilingual-e5-small; gives its score."""
        recipe = load_recipe(
            recipe_name,
            (
                *self.data_settings(self.rows.train),
                "training.learning_rate=1e-4",
                "training.head_learning_rate=5e-3",
                "training.num_epochs=2",
                "model.max_tokens=128",
                *self._settings,
                *overrides,
            ),
        )
        if not self._is_done("teacher", recipe):
            finetune(recipe, "teacher", storage=self._storage)
        return self._score("teacher")

    def constant_accuracies(self) -> tuple[float, float]:
        """Accuracy on dev and test rows of the most frequent training label."""
        train = self._labels(self.rows.train)
        dev, test = (constant_accuracy(train, self._labels(x)) for x in self._measured)
        return dev, test

    def constant_positive_f1(self) -> tuple[float, float]:
        """F1 on dev and test rows of answering 1 always, which no other constant exceeds."""
        shares = [np.mean([x == "1" for x in self._labels(name)]) for name in self._measured]
        dev, test = (float(2 * share / (1 + share)) for share in shares)
        return dev, test

    @property
    def _measured(self) -> tuple[str, str]:
        return self.rows.dev, self.rows.test

    def _labels(self, name: str) -> list[str]:
        return [str(label) for label in read_texts(name, "label")]

    def augment(self, name: str, settings: AugmentSettings) -> Path:
        """Copies of the training rows, with the rows themselves."""
        path = self.folder / f"{name}.parquet"
        if not path.exists():
            schema = RowSchema(
                self._schema.text, self._schema.text_pair, "label", is_label_optional=True
            )
            request = AugmentRequest(find_files(place(self.rows.train)), schema, settings)
            augment(request, path.name, storage=self._storage, kind="parquet", show_progress=True)
        return path

    def label(self, source: Path, name: str) -> Path:
        """Rows with the teacher's logits, in a folder that carries the teacher's fingerprint.

        What is made of them takes its name from that folder, so that runs over rows of another
        teacher are never found again.
        """
        schema = RowSchema(
            self._schema.text,
            self._schema.text_pair,
            "label",
            is_label_optional=True,
            copy=COPY_COLUMN,
        )
        name = f"{name}-{read_manifest(self.teacher).fingerprint[:8]}"
        request = LabelRequest(self.teacher, find_files(source), schema)
        pool = Pool(1, cpus_per_actor=self._num_threads)
        label(request, name, storage=self._storage, pool=pool, show_progress=True)
        return self.folder / name

    def student(
        self, name: str, recipe: str, rows: str, overrides: tuple[str, ...], *, has_teacher: bool
    ) -> Score:
        """Train a student; gives its score."""
        run = f"students/{name}"
        task = read_manifest(self.teacher).task
        assert isinstance(task, ClassificationSpec)
        settings = (
            *self.data_settings(rows),
            f"task.labels={json.dumps(task.labels, ensure_ascii=False)}",
            f"data.teacher_logits_column={'teacher_logits' if has_teacher else ''}",
            *self._settings,
            *overrides,
        )
        loaded = load_recipe_of(DistillRecipe, recipe, settings, folder_name="distill")
        if not self._is_done(run, loaded):
            distill(loaded, run, storage=self._storage)
        return self._score(run)

    def _is_done(self, run: str, recipe: Recipe | DistillRecipe) -> bool:
        """Tell whether this recipe's finished run is there, on however many threads it ran."""
        folder = self.folder / run
        if not (folder / runs.RESULT).exists():
            return False
        # Through the schema, so that settings which came later have their defaults.
        kept = type(recipe).model_validate_json((folder / runs.RECIPE).read_text("utf-8"))
        if _deciding(kept) != _deciding(recipe):
            sys.exit(f"{folder}: trained by other settings; remove it, or give another --folder")
        return True

    def _score(self, run: str) -> Score:
        saved = self.folder / run / "score.json"
        if not saved.exists():
            model = self.folder / run / runs.MODEL
            values = {
                split: measure(model, Path(place(name)), self._schema).metrics[self.metric]
                for split, name in (("dev", self.rows.dev), ("test", self.rows.test))
            }
            saved.write_text(json.dumps(values), encoding="utf-8")
        return Score(**json.loads(saved.read_text(encoding="utf-8")))

    def data_settings(self, rows: str) -> tuple[str, ...]:
        """Settings of a recipe's data, but for its test rows, and of its worker."""
        settings = (
            f"data.train={json.dumps(place(rows) if not Path(rows).is_absolute() else rows)}",
            f"data.dev={json.dumps(place(self.rows.dev))}",
            f"data.text_column={self.rows.text}",
            f"scaling.cpus_per_worker={self._num_threads}",
        )
        pair = (f"data.text_pair_column={self.rows.text_pair}",) if self.rows.text_pair else ()
        return settings + pair


def _deciding(recipe: Recipe | DistillRecipe) -> dict[str, object]:
    return recipe.model_dump(mode="json", exclude={"scaling"})


def with_first_copies(labelled: Path, num_copies: int, target: Path | None = None) -> Path:
    """Keep the rows as they were given and their first copies, in a file beside the folder.

    A copy depends on its number alone, so these are what fewer copies would have given.
    """
    target = target or labelled.with_name(f"{labelled.name}-first-{num_copies}.parquet")
    table = pyarrow.parquet.read_table(labelled / ROWS)
    return _written(table.filter(pc.less_equal(table["copy"], num_copies)), target)


def mixed_rows(
    labelled: Path, num_copies: int, unlabelled: Path, max_unlabelled: int | None = None
) -> Path:
    """Put rows with their first copies and those of another folder into one folder beside both.

    Of more unlabelled rows than ``max_unlabelled`` those are taken that lie evenly spread.
    """
    limit = "" if max_unlabelled is None else f"-{max_unlabelled}"
    target = labelled.with_name(f"first-{num_copies}-{labelled.name}-{unlabelled.name}{limit}")
    target.mkdir(exist_ok=True)
    with_first_copies(labelled, num_copies, target / "copies.parquet")
    table = pyarrow.parquet.read_table(unlabelled / ROWS)
    if max_unlabelled is not None and max_unlabelled < table.num_rows:
        table = table.take(np.arange(max_unlabelled) * table.num_rows // max_unlabelled)
    _written(table, target / "unlabelled.parquet")
    return target


def with_hard_labels(labelled: Path) -> Path:
    """Put the teacher's first choice in the place of its logits, as the kit's offline flow does."""
    target = labelled.with_name(f"{labelled.name}-hard.parquet")
    table = pyarrow.parquet.read_table(labelled / ROWS)
    column = table["teacher_logits"].combine_chunks()
    logits = column.flatten().to_numpy().reshape(table.num_rows, -1)
    hard = (logits == logits.max(axis=1, keepdims=True)).astype("float32") * _HARD_LOGIT
    lists = pa.FixedSizeListArray.from_arrays(pa.array(hard.ravel()), hard.shape[1])
    index = table.column_names.index("teacher_logits")
    return _written(table.set_column(index, "teacher_logits", lists), target)


def _written(table: pa.Table, target: Path) -> Path:
    if not target.exists():
        partial = target.with_suffix(".partial")
        pyarrow.parquet.write_table(table, partial, compression="zstd")
        partial.rename(target)
    return target
