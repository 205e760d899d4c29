"""What the chains of Slim and Tiny share: stages found by digest, a labelling teacher, the end.

Every stage writes under a name that carries the digest of all that decides it, whole or not at
all. So the same command again goes on where it stopped, and a changed setting repeats exactly the
stages that depend on it.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

from ernie_ray.config import SlimRecipe, TaskSection, TinyRecipe, check_class_losses
from ernie_ray.distillation.teacher import TeacherSettings
from ernie_ray.errors import ConfigError, DataError, ModelDirError
from ernie_ray.jobs.chunk_run import Pool
from ernie_ray.jobs.comparison import DISTILLED, Comparison, Contest, publish
from ernie_ray.jobs.file_digests import digest_of, digests_of_files
from ernie_ray.jobs.label import label, request_digest
from ernie_ray.jobs.label_request import LabelRequest, Selection, refuse_unfit
from ernie_ray.jobs.row_blocks import checked_schema, schema_of_model
from ernie_ray.jobs.row_check import check_every_row
from ernie_ray.jobs.slim_report import SlimReport
from ernie_ray.jobs.stopwatch import timed
from ernie_ray.jobs.storage import Location, Storage
from ernie_ray.modeldir import ClassificationSpec, Manifest, PairSpec, TaskSpec
from ernie_ray.modeldir.folder import read_manifest
from ernie_ray.tasks import family_of
from ernie_ray.tasks.metric_choice import choose_metric
from ernie_ray.text.row_files import DataFile
from ernie_ray.text.row_schema import COPY_COLUMN, RowSchema
from ernie_ray.text.rows import files_of

R = TypeVar("R", SlimRecipe, TinyRecipe)


@dataclass(frozen=True)
class ChainResult:
    """What a chain came to.

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
    stages: dict[str, Location]
    seconds: dict[str, float]

    @property
    def summary(self) -> str:
        """The table, and below it where everything is."""
        places = [f"{name}: {place}" for name, place in self.stages.items()]
        return "\n".join([self.table, *places, f"plot: {self.plots[0]}"])


class Chain(Generic[R]):
    """Where the stages of one recipe write, and what is done alike in every chain.

    Attributes:
        schema: Columns of the rows that the models are measured on; the chain's kind sets it.
        task: What all models answer; the chain's kind sets it.
    """

    schema: RowSchema
    task: TaskSpec

    def __init__(self, recipe: R, run: str, storage: Storage, *, show_progress: bool) -> None:
        """Begin a chain.

        Args:
            recipe: The resolved recipe.
            run: Folder of the chain: a name for ``storage``, an absolute path or a URI.
            storage: Resolves the recipe's files and the folder.
            show_progress: Draw progress bars on stderr.

        Raises:
            DataError: There is no teacher.
            ModelDirError: Its model directory is broken.
        """
        self.recipe: R = recipe
        self.run = run.rstrip("/")
        self.storage = storage
        self.teacher: Manifest = self.read_teacher(recipe.teacher.model, "teacher.model")
        self.show_progress = show_progress
        self.seconds: dict[str, float] = {}

    @property
    def training_schema(self) -> RowSchema:
        """Columns of rows that may be copies and may lack a label."""
        return replace(self.schema, is_label_optional=True, copy=COPY_COLUMN)

    @property
    def unlabelled_schema(self) -> RowSchema:
        """Columns of the unlabelled rows."""
        return checked_schema(self.training_schema, self.task)

    def read_teacher(self, name: str, key: str) -> Manifest:
        """Read a teacher's manifest.

        Args:
            name: Its model directory.
            key: The setting that names it.

        Raises:
            DataError: There is none.
            ModelDirError: It is broken.
        """
        advice = "; give a model directory, as `ernie-ray finetune` writes it to RUN/model"
        try:
            return read_manifest(self.storage.fetch(name))
        except DataError as error:
            raise DataError(f"{key}: {error}{advice}") from error
        except ModelDirError as error:
            raise ModelDirError(f"{key}: {error}") from error

    def check(self) -> None:
        """Say what the recipe lacks that a later stage, after hours of work, would say.

        Raises:
            DataError: There is no file of a known format at one of the places, or a row cannot be
                used.
            ConfigError: The task has not the metric or the losses that a training asks for, or the
                teacher cannot choose among rows as the recipe says.
        """
        recipe, data = self.recipe, self.recipe.data
        schema_of_model(self.schema, self.teacher)
        training = checked_schema(replace(self.schema, copy=COPY_COLUMN), self.task)
        measured = checked_schema(self.schema, self.task, measures=True)
        for name, places, schema in (
            ("train", (data.train,), training),
            ("dev", (data.dev,), measured),
            ("test", (data.test,), measured),
            ("unlabelled", data.unlabelled, self.unlabelled_schema),
        ):
            try:
                if places:
                    self._check_rows(self.files(*places), schema)
            except DataError as error:
                raise DataError(f"data.{name}: {error}") from error
        for name in ("training", "plain_training"):
            section = getattr(recipe, name)
            if section is None:
                continue
            choose_metric(family_of(self.task), section.metric, f"{name}.metric")
            try:
                check_class_losses(task_section(self.task), section, name)
            except ValueError as error:
                raise ConfigError(str(error)) from error
        refuse_unfit(self._selection(0), self.teacher, recipe.teacher.model)

    def _check_rows(self, files: tuple[DataFile, ...], schema: RowSchema) -> None:
        on_bad = self.recipe.data.bad_rows
        if not check_every_row(files, schema, on_bad, show_progress=self.show_progress):
            raise DataError(f"{files[0].name}: there is no row")

    def timed(self, stage: str) -> AbstractContextManager[None]:
        """Note how long a stage took."""
        return timed(self.seconds, stage)

    def files(self, *names: str) -> tuple[DataFile, ...]:
        """Find the files of several places, in their order."""
        return tuple(
            file for name in names for file in files_of(self.storage.resolve(name), self.schema)
        )

    def digests(self, *names: str) -> list[list[str]]:
        """Digest what is in the files of several places."""
        return [digests_of_files(self.files(name)) for name in names]

    def label(self, names: Iterable[str], schema: RowSchema, *, seed: int) -> str:
        """Let the teacher answer once for rows; gives the folder of rows with its logits.

        Args:
            names: Where the rows are.
            schema: Their columns.
            seed: Of which rows are left out for balance.
        """
        teacher, settings = self.recipe.teacher, self.recipe.label
        request = LabelRequest(
            teacher=self.storage.resolve(teacher.model),
            files=self.files(*names),
            schema=schema,
            settings=TeacherSettings(teacher.engine, teacher.precision, settings.batch_tokens),
            selection=self._selection(seed),
            on_bad=self.recipe.data.bad_rows,
        )
        inputs = digests_of_files(request.files)
        name = f"{self.run}/labelled-{digest_of(request_digest(request, self.teacher, inputs))}"
        pool = Pool(settings.num_actors, settings.cpus_per_actor, settings.gpus_per_actor)
        label(request, name, storage=self.storage, pool=pool, show_progress=self.show_progress)
        return name

    def _selection(self, seed: int) -> Selection:
        settings = self.recipe.label
        return Selection(settings.min_confidence, settings.balance, seed)

    def end(
        self, models: dict[str, str], *, stages: dict[str, str], remark: str = ""
    ) -> ChainResult:
        """Measure the models and write the report.

        Args:
            models: Model directories by their names in the report.
            stages: Other outputs by name.
            remark: Stands below the table.
        """
        recipe = self.recipe
        contest = Contest(recipe.data, self.schema, self.task, recipe.teacher, recipe.report)
        with self.timed("measure"):
            comparison = Comparison(
                contest, self.run, self.storage, show_progress=self.show_progress
            )
            report = comparison.measure(models)
        table, plots = publish(report, self.run, self.storage, remark)
        places = {name: self.storage.resolve(place) for name, place in (stages | models).items()}
        return ChainResult(report, table, plots, places[DISTILLED], places, self.seconds)


def task_section(task: TaskSpec) -> TaskSection:
    """Write a teacher's task as a recipe does.

    Raises:
        ConfigError: It has no answer per text.
    """
    if isinstance(task, ClassificationSpec):
        return TaskSection(labels=task.labels, multi_label=task.multi_label)
    if isinstance(task, PairSpec):
        return TaskSection(family="pair", objective=task.objective, low=task.low, high=task.high)
    raise ConfigError(
        f"the teacher's task is {task.family}; tiny distils classes and pairs. Take a teacher of "
        "one of these, and fine-tune the stage `general` for other tasks"
    )
