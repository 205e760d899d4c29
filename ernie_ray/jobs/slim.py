"""The Slim chain: augment, label, distil, export, measure; finished stages are found by digest.

Every stage writes under a name that carries the digest of all that decides it, whole or not at
all. So the same command again goes on where it stopped, and a changed setting repeats exactly the
stages that depend on it.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ernie_ray.config import (
    DistillationSection,
    DistillDataSection,
    DistillRecipe,
    SlimRecipe,
    TaskSection,
)
from ernie_ray.distillation.teacher import TeacherSettings
from ernie_ray.errors import ConfigError
from ernie_ray.inference.predictor import Predictor
from ernie_ray.jobs import runs
from ernie_ray.jobs.augment import AugmentRequest, augment
from ernie_ray.jobs.chunk_run import Pool
from ernie_ray.jobs.distill import distill
from ernie_ray.jobs.evaluate import measure
from ernie_ray.jobs.file_digests import digests_of_files
from ernie_ray.jobs.label import label
from ernie_ray.jobs.label_request import LabelRequest, Selection
from ernie_ray.jobs.predict import RunOptions
from ernie_ray.jobs.slim_report import (
    PLOT_SUFFIXES,
    ReportRow,
    SlimReport,
    constant_accuracy,
    draw_plot,
    render_table,
)
from ernie_ray.jobs.speed import time_base_encoder, time_predictor
from ernie_ray.jobs.stopwatch import timed
from ernie_ray.jobs.storage import Location, Storage, staging_path
from ernie_ray.modeldir import ClassificationSpec, Manifest
from ernie_ray.modeldir.folder import WEIGHTS, read_manifest
from ernie_ray.tasks import family_of
from ernie_ray.text.augment import AugmentSettings
from ernie_ray.text.row_files import DataFile, find_files
from ernie_ray.text.rows import RowSchema, read_rows
from ernie_ray.text.tokenizer import Text

REPORT, TABLE, PLOT = "report.json", "table.txt", "quality"
TEACHER, PLAIN, DISTILLED = "teacher", "student plain", "student distilled"
CONSTANT, BASE = "constant", "12 x 768 eager"


@dataclass(frozen=True)
class SlimResult:
    """What the chain came to.

    Attributes:
        report: The measured table.
        table: The same as text.
        plots: Where the plot is.
        student: Model directory of the distilled student.
        stages: Where each stage's output is, by name.
        seconds: Time taken by each stage, also of finding it finished.
    """

    report: SlimReport
    table: str
    plots: tuple[Location, ...]
    student: Location
    stages: dict[str, Location] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)


def slim(
    recipe: SlimRecipe, run: str, *, storage: Storage, show_progress: bool = True
) -> SlimResult:
    """Run the chain. Ray must be initialised.

    Args:
        recipe: The resolved recipe.
        run: Folder of the chain: a name for ``storage``, an absolute path or a URI.
        storage: Resolves the recipe's files and the folder.
        show_progress: Draw progress bars on stderr.

    Raises:
        ConfigError: The teacher is no classifier, or the recipe does not fit the rows.
        DataError: A file or row cannot be used.
        ModelDirError: The teacher's model directory is broken.
    """
    chain = _Chain(recipe, run, storage, show_progress=show_progress)
    seconds: dict[str, float] = {}
    with timed(seconds, "augment"):
        augmented = chain.augment()
    with timed(seconds, "label"):
        labelled = chain.label(augmented)
    models = {TEACHER: recipe.teacher.model}
    with timed(seconds, PLAIN):
        models[PLAIN] = chain.train("plain", recipe.data.train, has_teacher=False)
    with timed(seconds, DISTILLED):
        models[DISTILLED] = chain.train("distilled", labelled, has_teacher=True)
    with timed(seconds, "measure"):
        report = chain.measure(models)
    table, plots = _publish(report, run, storage)
    places = {name: storage.resolve(place) for name, place in models.items()}
    places["labelled"] = storage.resolve(labelled)
    return SlimResult(report, table, plots, places[DISTILLED], places, seconds)


class _Chain:
    """The stages of one recipe; each gives the name of its output."""

    def __init__(
        self, recipe: SlimRecipe, run: str, storage: Storage, *, show_progress: bool
    ) -> None:
        self._recipe = recipe
        self._run = run.rstrip("/")
        self._storage = storage
        self._show_progress = show_progress
        self._teacher: Manifest = read_manifest(storage.fetch(recipe.teacher.model))
        if not isinstance(self._teacher.task, ClassificationSpec):
            raise ConfigError(
                f"teacher.model={recipe.teacher.model}: a {self._teacher.task.family} model; "
                "students are distilled from classifiers"
            )
        data = recipe.data
        self._schema = RowSchema(
            data.text_column,
            data.text_pair_column or None,
            data.label_column,
            is_multi_label=self._teacher.task.multi_label,
        )

    def augment(self) -> str:
        """Give the training rows with their copies, or the rows alone if none are wanted."""
        recipe = self._recipe
        if not recipe.augment.num_copies:
            return recipe.data.train
        files = self._files(recipe.data.train)
        digest = _digest(digests_of_files(files), recipe.augment, recipe.data)
        name = f"{self._run}/augmented-{digest}.parquet"
        if not self._storage.exists(name):
            request = AugmentRequest(
                files,
                _optional_labels(self._schema),
                AugmentSettings(**recipe.augment.model_dump()),
                on_bad=recipe.data.bad_rows,
            )
            augment(
                request,
                name,
                storage=self._storage,
                kind="parquet",
                show_progress=self._show_progress,
            )
        return name

    def label(self, augmented: str) -> str:
        """Give the folder of rows with the teacher's logits."""
        recipe = self._recipe
        settings = recipe.label
        names = (augmented, *recipe.data.unlabelled)
        files = tuple(file for name in names for file in self._files(name))
        request = LabelRequest(
            teacher=self._storage.resolve(recipe.teacher.model),
            files=files,
            schema=_optional_labels(self._schema),
            settings=TeacherSettings(
                recipe.teacher.engine, recipe.teacher.precision, settings.batch_tokens
            ),
            selection=Selection(settings.min_confidence, settings.balance, recipe.augment.seed),
            on_bad=recipe.data.bad_rows,
        )
        digest = _digest(
            digests_of_files(files),
            self._teacher.fingerprint,
            recipe.teacher.model_dump(exclude={"model"}),
            settings.model_dump(include={"batch_tokens", "min_confidence", "balance"}),
            recipe.augment.seed,
            recipe.data,
        )
        name = f"{self._run}/labelled-{digest}"
        pool = Pool(settings.num_actors, settings.cpus_per_actor, settings.gpus_per_actor)
        label(request, name, storage=self._storage, pool=pool, show_progress=self._show_progress)
        return name

    def train(self, name: str, rows: str, *, has_teacher: bool) -> str:
        """Train a student on rows; gives its model directory."""
        recipe = self._recipe
        data = recipe.data.model_dump(exclude={"unlabelled", "train"})
        distill_recipe = DistillRecipe(
            data=DistillDataSection(
                **data,
                train=rows,
                teacher_logits_column="teacher_logits" if has_teacher else "",
            ),
            task=TaskSection(labels=self._labels, multi_label=self._schema.is_multi_label),
            student=recipe.student,
            # Without a teacher its settings decide nothing, and must not repeat the training.
            distillation=recipe.distillation if has_teacher else DistillationSection(),
            training=recipe.training if has_teacher else recipe.plain_training or recipe.training,
            scaling=recipe.scaling,
        )
        contents = [digests_of_files(self._files(place)) for place in (rows, recipe.data.dev)]
        key = distill_recipe.model_dump(mode="json", exclude={"scaling"})
        run = f"{self._run}/{name}-{_digest(contents, key)}"
        if not self._storage.exists(f"{run}/{runs.RESULT}"):
            distill(distill_recipe, run, storage=self._storage, show_progress=self._show_progress)
        return f"{run}/{runs.MODEL}"

    def measure(self, models: dict[str, str]) -> SlimReport:
        """Measure and time every model."""
        settings = self._recipe.report
        metric = family_of(self._teacher.task).primary_metric
        labels = {split: self._labels_of(name) for split, name in self._splits.items()}
        texts = self._test_texts(settings.num_timed_texts)
        rows = []
        if not self._schema.is_multi_label:
            train = self._labels_of(self._recipe.data.train)
            dev, test = (constant_accuracy(train, labels[split]) for split in ("dev", "test"))
            rows.append(ReportRow(name=CONSTANT, dev=dev, test=test))
        rows += [self._row(name, place, metric, texts) for name, place in models.items()]
        if settings.base_encoder:
            base = time_base_encoder(texts[: settings.num_timed_base_texts])
            speed = {
                "p50_ms": base.p50_ms, "p99_ms": base.p99_ms, "texts_per_s": base.texts_per_s,
            }  # fmt: skip
            rows.append(ReportRow(name=BASE, **speed))
        return SlimReport(
            metric=metric,
            rows=tuple(rows),
            teacher=TEACHER,
            base=BASE if settings.base_encoder else None,
        )

    @property
    def _labels(self) -> tuple[str, ...]:
        task = self._teacher.task
        return task.labels if isinstance(task, ClassificationSpec) else ()

    @property
    def _splits(self) -> dict[str, str]:
        return {"dev": self._recipe.data.dev, "test": self._recipe.data.test}

    def _row(self, name: str, place: str, metric: str, texts: list[Text]) -> ReportRow:
        folder = self._storage.fetch(place)
        options = RunOptions(on_bad=self._recipe.data.bad_rows)
        if name == TEACHER:
            teacher = self._recipe.teacher
            options = RunOptions(teacher.engine, teacher.precision, self._recipe.data.bad_rows)
        values = {
            split: measure(
                folder,
                self._storage.resolve(rows),
                self._schema,
                options=options,
                show_progress=self._show_progress,
            ).metrics[metric]
            for split, rows in self._splits.items()
        }
        predictor = Predictor.from_dir(folder, engine=options.engine, precision=options.precision)
        speed = time_predictor(predictor, texts)
        return ReportRow(
            name=name,
            dev=values["dev"],
            test=values["test"],
            size_mb=predictor.manifest.files[WEIGHTS].num_bytes / 1e6,
            texts_per_s=speed.texts_per_s,
            p50_ms=speed.p50_ms,
            p99_ms=speed.p99_ms,
        )

    def _files(self, name: str) -> tuple[DataFile, ...]:
        return find_files(self._storage.resolve(name))

    def _labels_of(self, name: str) -> list[str]:
        on_bad = self._recipe.data.bad_rows
        reader = read_rows(self._storage.resolve(name), self._schema, on_bad=on_bad)
        return [row.label or "" for row in reader]

    def _test_texts(self, num_texts: int) -> list[Text]:
        on_bad = self._recipe.data.bad_rows
        reader = read_rows(
            self._storage.resolve(self._recipe.data.test), self._schema, on_bad=on_bad
        )
        rows = [row.text if row.text_pair is None else (row.text, row.text_pair) for row in reader]
        # Evenly spread, so that a sorted file gives its lengths in proportion.
        step = max(len(rows) / num_texts, 1.0)
        return [rows[int(i * step)] for i in range(min(num_texts, len(rows)))]


def _optional_labels(schema: RowSchema) -> RowSchema:
    return replace(schema, is_label_optional=True, copy="copy")


def _digest(*parts: Any) -> str:
    """Twelve hexadecimal digits over everything that decides a stage."""

    def plain(part: Any) -> Any:
        return part.model_dump(mode="json") if hasattr(part, "model_dump") else part

    text = json.dumps([plain(part) for part in parts], sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _publish(report: SlimReport, run: str, storage: Storage) -> tuple[str, tuple[Location, ...]]:
    """Put the report's files in place; gives the table and where the plots are."""
    table = render_table(report)
    folder = staging_path(storage.resolve(f"{run}/{PLOT}"))
    folder.mkdir()
    try:
        (folder / REPORT).write_text(report.model_dump_json(indent=2) + "\n", "utf-8")
        (folder / TABLE).write_text(table + "\n", "utf-8")
        draw_plot(report, folder / PLOT)
        names = [REPORT, TABLE, *(PLOT + suffix for suffix in PLOT_SUFFIXES)]
        places = [storage.publish(Path(folder) / name, f"{run}/{name}") for name in names]
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return table, tuple(places[2:])
