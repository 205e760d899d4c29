"""Measure a teacher, its students and a constant answer on the same rows, as chains end.

Knows model directories and rows; not how the models were made.
"""

from __future__ import annotations

import json
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ernie_ray.config import ReportSection, SlimDataSection, TeacherSection
from ernie_ray.inference.predictor import Predictor
from ernie_ray.jobs import runs
from ernie_ray.jobs.constant_answers import constant_accuracy, constant_micro_f1
from ernie_ray.jobs.evaluate import measure
from ernie_ray.jobs.file_digests import digest_of, digests_of_files
from ernie_ray.jobs.predict import RunOptions
from ernie_ray.jobs.row_blocks import checked_schema
from ernie_ray.jobs.slim_report import (
    PLOT_SUFFIXES,
    ReportRow,
    SlimReport,
    draw_plot,
    render_table,
)
from ernie_ray.jobs.speed import time_base_encoder, time_predictor
from ernie_ray.jobs.storage import Location, Storage, staging_path, writing_to
from ernie_ray.modeldir import ClassificationSpec, TaskSpec
from ernie_ray.modeldir.folder import WEIGHTS, read_manifest
from ernie_ray.tasks import family_of
from ernie_ray.tasks.example import text_of
from ernie_ray.text.features import TokenIds
from ernie_ray.text.row_schema import RowSchema
from ernie_ray.text.rows import RowReader, files_of, read_rows
from ernie_ray.text.tokenizer import Text

REPORT, TABLE, PLOT = "report.json", "table.txt", "quality"
MEASURED = "measured"
TEACHER, PLAIN, DISTILLED = "teacher", "student plain", "student distilled"
CONSTANT, BASE = "constant", "12 x 768 eager"
_NO_TOKENS = TokenIds([], [])


@dataclass(frozen=True)
class Contest:
    """On what models are compared.

    Attributes:
        data: Where the rows are.
        schema: Their columns.
        task: What all models answer.
        teacher: How the teacher is run.
        report: What is timed.
    """

    data: SlimDataSection
    schema: RowSchema
    task: TaskSpec
    teacher: TeacherSection
    report: ReportSection


class Comparison:
    """Measures models on dev and test rows, once, and times them on test texts."""

    def __init__(
        self, contest: Contest, run: str, storage: Storage, *, show_progress: bool
    ) -> None:
        """Prepare.

        Args:
            contest: On what models are compared.
            run: Folder that keeps what was measured.
            storage: Resolves the folder and the rows.
            show_progress: Draw progress bars on stderr.
        """
        self._contest = contest
        self._run = run
        self._storage = storage
        self._show_progress = show_progress
        self._family = family_of(contest.task)

    def measure(self, models: dict[str, str]) -> SlimReport:
        """Measure and time every model, given by name and place."""
        settings = self._contest.report
        texts = self._test_texts(settings.num_timed_texts)
        rows = self._constant()
        rows += [self._row(name, place, texts) for name, place in models.items()]
        if settings.base_encoder:
            base = time_base_encoder(_spread(texts, settings.num_timed_base_texts))
            speed = {
                "p50_ms": base.p50_ms, "p99_ms": base.p99_ms, "texts_per_s": base.texts_per_s,
            }  # fmt: skip
            rows.append(ReportRow(name=BASE, **speed))
        return SlimReport(
            metric=self._family.primary_metric,
            rows=tuple(rows),
            teacher=TEACHER,
            base=BASE if settings.base_encoder else None,
        )

    @property
    def _splits(self) -> dict[str, str]:
        return {"dev": self._contest.data.dev, "test": self._contest.data.test}

    def _constant(self) -> list[ReportRow]:
        """What the best constant answer is worth."""
        task = self._contest.task
        if not isinstance(task, ClassificationSpec):
            # Ranks and correlations of equal numbers do not depend on the number.
            values = [self._worth_of_zeros(name) for name in self._splits.values()]
        else:
            worth = constant_micro_f1 if task.multi_label else constant_accuracy
            train = self._labels_of(self._contest.data.train)
            values = [worth(train, self._labels_of(name)) for name in self._splits.values()]
        return [ReportRow(name=CONSTANT, dev=values[0], test=values[1])]

    def _worth_of_zeros(self, name: str) -> float:
        encoded = [
            self._family.examples(row, [_NO_TOKENS], measures=True)[0]
            for row in self._rows_of(name)
        ]
        outputs = np.zeros((len(encoded), self._contest.task.num_outputs), np.float32)
        found = self._family.metrics(
            outputs, [example.label for example in encoded], [example.info for example in encoded]
        )
        return found[self._family.primary_metric]

    def _row(self, name: str, place: str, texts: list[Text]) -> ReportRow:
        folder = self._storage.fetch(place)
        on_bad = self._contest.data.bad_rows
        options = RunOptions(on_bad=on_bad)
        if name == TEACHER:
            teacher = self._contest.teacher
            options = RunOptions(teacher.engine, teacher.precision, on_bad)
        values = self._values(folder, options)
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

    def _values(self, folder: Path, options: RunOptions) -> dict[str, float]:
        """The main metric by split; of the same model and rows it is not measured twice."""
        contest, storage = self._contest, self._storage
        places = {split: storage.resolve(name) for split, name in self._splits.items()}
        rows = [digests_of_files(files_of(place, contest.schema)) for place in places.values()]
        key = digest_of(read_manifest(folder).fingerprint, rows, contest.schema, options)
        kept = f"{self._run}/{MEASURED}-{key}.json"
        if storage.exists(kept):
            found: dict[str, float] = json.loads(storage.fetch(kept).read_bytes())
            return found
        values = {
            split: measure(
                folder, place, contest.schema, options=options, show_progress=self._show_progress
            ).metrics[self._family.primary_metric]
            for split, place in places.items()
        }
        runs.write_json(values, kept, storage)
        return values

    def _rows_of(self, name: str) -> RowReader:
        schema = checked_schema(self._contest.schema, self._contest.task)
        return read_rows(self._storage.resolve(name), schema, on_bad=self._contest.data.bad_rows)

    def _labels_of(self, name: str) -> list[str]:
        # Shared, since few labels stand in many rows.
        return [sys.intern(row.label or "") for row in self._rows_of(name)]

    def _test_texts(self, num_texts: int) -> list[Text]:
        rows = [text_of(row) for row in self._rows_of(self._contest.data.test)]
        return _spread(rows, num_texts)


def _spread(texts: list[Text], num_texts: int) -> list[Text]:
    """Take some evenly, so that a sorted file gives its lengths in proportion."""
    step = max(len(texts) / num_texts, 1.0)
    return [texts[int(i * step)] for i in range(min(num_texts, len(texts)))]


def publish(
    report: SlimReport, run: str, storage: Storage, remark: str = ""
) -> tuple[str, tuple[Location, ...]]:
    """Put the report's files into a chain's folder.

    Args:
        report: What was measured.
        run: The chain's folder.
        storage: Resolves it.
        remark: Stands below the table.

    Returns:
        The table with its remark, and where the plots are.
    """
    table = "\n".join([render_table(report), *filter(None, [remark])])
    folder = staging_path(storage.resolve(f"{run}/{PLOT}"))
    folder.mkdir()
    try:
        with writing_to(storage.resolve(run)):
            (folder / REPORT).write_text(report.model_dump_json(indent=2) + "\n", "utf-8")
            (folder / TABLE).write_text(table + "\n", "utf-8")
            draw_plot(report, folder / PLOT)
        names = [REPORT, TABLE, *(PLOT + suffix for suffix in PLOT_SUFFIXES)]
        places = [storage.publish(Path(folder) / name, f"{run}/{name}") for name in names]
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return table, tuple(places[2:])
