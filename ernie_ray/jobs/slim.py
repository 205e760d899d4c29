"""The Slim chain: augment, label, distil, export, measure; finished stages are found by digest.

Every stage writes under a name that carries the digest of all that decides it, whole or not at
all. So the same command again goes on where it stopped, and a changed setting repeats exactly the
stages that depend on it.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from ernie_ray.config import (
    DistillationSection,
    DistillDataSection,
    DistillRecipe,
    SlimRecipe,
    TaskSection,
)
from ernie_ray.distillation.teacher import TeacherSettings
from ernie_ray.errors import ConfigError
from ernie_ray.jobs import runs
from ernie_ray.jobs.augment import AugmentRequest, augment
from ernie_ray.jobs.chunk_run import Pool
from ernie_ray.jobs.comparison import (
    BASE,
    CONSTANT,
    DISTILLED,
    PLAIN,
    TEACHER,
    Comparison,
    Contest,
    publish,
)
from ernie_ray.jobs.distill import distill
from ernie_ray.jobs.file_digests import digest_of, digests_of_files
from ernie_ray.jobs.label import label
from ernie_ray.jobs.label_request import LabelRequest, Selection
from ernie_ray.jobs.slim_report import SlimReport
from ernie_ray.jobs.stopwatch import timed
from ernie_ray.jobs.storage import Location, Storage
from ernie_ray.modeldir import ClassificationSpec, Manifest
from ernie_ray.modeldir.folder import read_manifest
from ernie_ray.text.augment import AugmentSettings
from ernie_ray.text.row_files import DataFile, find_files
from ernie_ray.text.rows import RowSchema

__all__ = ["BASE", "CONSTANT", "DISTILLED", "PLAIN", "TEACHER", "SlimResult", "slim"]


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
    contest = Contest(recipe.data, chain.schema, chain.task, recipe.teacher, recipe.report)
    with timed(seconds, "measure"):
        report = Comparison(contest, storage, show_progress=show_progress).measure(models)
    table, plots = publish(report, run, storage)
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
        self.task: ClassificationSpec = self._teacher.task
        data = recipe.data
        self.schema = RowSchema(
            data.text_column,
            data.text_pair_column or None,
            data.label_column,
            is_multi_label=self.task.multi_label,
        )

    def augment(self) -> str:
        """Give the training rows with their copies, or the rows alone if none are wanted."""
        recipe = self._recipe
        if not recipe.augment.num_copies:
            return recipe.data.train
        files = self._files(recipe.data.train)
        digest = digest_of(digests_of_files(files), recipe.augment, recipe.data)
        name = f"{self._run}/augmented-{digest}.parquet"
        if not self._storage.exists(name):
            request = AugmentRequest(
                files,
                _optional_labels(self.schema),
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
            schema=_optional_labels(self.schema),
            settings=TeacherSettings(
                recipe.teacher.engine, recipe.teacher.precision, settings.batch_tokens
            ),
            selection=Selection(settings.min_confidence, settings.balance, recipe.augment.seed),
            on_bad=recipe.data.bad_rows,
        )
        digest = digest_of(
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
            task=TaskSection(labels=self.task.labels, multi_label=self.task.multi_label),
            student=recipe.student,
            # Without a teacher its settings decide nothing, and must not repeat the training.
            distillation=recipe.distillation if has_teacher else DistillationSection(),
            training=recipe.training if has_teacher else recipe.plain_training or recipe.training,
            scaling=recipe.scaling,
        )
        contents = [digests_of_files(self._files(place)) for place in (rows, recipe.data.dev)]
        key = distill_recipe.model_dump(mode="json", exclude={"scaling"})
        run = f"{self._run}/{name}-{digest_of(contents, key)}"
        if not self._storage.exists(f"{run}/{runs.RESULT}"):
            distill(distill_recipe, run, storage=self._storage, show_progress=self._show_progress)
        return f"{run}/{runs.MODEL}"

    def _files(self, name: str) -> tuple[DataFile, ...]:
        return find_files(self._storage.resolve(name))


def _optional_labels(schema: RowSchema) -> RowSchema:
    return replace(schema, is_label_optional=True, copy="copy")
