"""The Slim chain: augment, label, distil, export, measure."""

from __future__ import annotations

from ernie_ray.config import (
    DistillationSection,
    DistillDataSection,
    DistillRecipe,
    SlimRecipe,
)
from ernie_ray.errors import ConfigError
from ernie_ray.jobs import runs
from ernie_ray.jobs.augment import AugmentRequest, augment
from ernie_ray.jobs.chain import Chain, ChainResult, task_section
from ernie_ray.jobs.comparison import DISTILLED, PLAIN, TEACHER
from ernie_ray.jobs.distill import distill
from ernie_ray.jobs.file_digests import digest_of
from ernie_ray.jobs.prepare_student import student_network
from ernie_ray.jobs.storage import Storage
from ernie_ray.modeldir import ClassificationSpec
from ernie_ray.text.augment import AugmentSettings
from ernie_ray.text.row_schema import RowSchema

_ANY_SIZE = 3
"""Of a vocabulary that is not built yet."""


def slim(
    recipe: SlimRecipe, run: str, *, storage: Storage, show_progress: bool = True
) -> ChainResult:
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
    chain = _SlimChain(recipe, run, storage, show_progress=show_progress)
    with chain.timed("augment"):
        augmented = chain.augment()
    with chain.timed("label"):
        labelled = chain.label(
            (augmented, *recipe.data.unlabelled), chain.training_schema, seed=recipe.augment.seed
        )
    models = {TEACHER: recipe.teacher.model}
    with chain.timed(PLAIN):
        models[PLAIN] = chain.train("plain", recipe.data.train, has_teacher=False)
    with chain.timed(DISTILLED):
        models[DISTILLED] = chain.train("distilled", labelled, has_teacher=True)
    return chain.end(models, stages={"labelled": labelled})


class _SlimChain(Chain[SlimRecipe]):
    """The stages of one recipe; each gives the name of its output."""

    def __init__(
        self, recipe: SlimRecipe, run: str, storage: Storage, *, show_progress: bool
    ) -> None:
        super().__init__(recipe, run, storage, show_progress=show_progress)
        task = self.teacher.task
        if not isinstance(task, ClassificationSpec):
            raise ConfigError(
                f"teacher.model={recipe.teacher.model}: its task is {task.family}; students are "
                "distilled from classifiers (`ernie-ray finetune classify` or `pair`); for "
                "regression and ranking there is `ernie-ray tiny`"
            )
        self.task: ClassificationSpec = task
        data = recipe.data
        self.schema = RowSchema(
            data.text_column,
            data.text_pair_column or None,
            data.label_column,
            is_multi_label=task.multi_label,
            header=data.columns,
        )
        self.check()
        for section, has_teacher in (("student", True), ("plain_student", False)):
            student = self._student_recipe(data.train, has_teacher=has_teacher)
            student_network(student, _ANY_SIZE, section)

    def augment(self) -> str:
        """Give the training rows with their copies, or the rows alone if none are wanted."""
        recipe = self.recipe
        if not recipe.augment.num_copies:
            return recipe.data.train
        digest = digest_of(self.digests(recipe.data.train), recipe.augment, recipe.data.reading)
        name = f"{self.run}/augmented-{digest}.parquet"
        if not self.storage.exists(name):
            request = AugmentRequest(
                self.files(recipe.data.train),
                self.training_schema,
                AugmentSettings(**recipe.augment.model_dump()),
                on_bad=recipe.data.bad_rows,
            )
            augment(
                request,
                name,
                storage=self.storage,
                kind="parquet",
                show_progress=self.show_progress,
            )
        return name

    def train(self, name: str, rows: str, *, has_teacher: bool) -> str:
        """Train a student on rows; gives its model directory."""
        recipe = self._student_recipe(rows, has_teacher=has_teacher)
        contents = self.digests(rows, recipe.data.dev)
        key = recipe.model_dump(mode="json", exclude={"scaling"})
        run = f"{self.run}/{name}-{digest_of(contents, key)}"
        if not self.storage.exists(f"{run}/{runs.RESULT}"):
            distill(recipe, run, storage=self.storage, show_progress=self.show_progress)
        return f"{run}/{runs.MODEL}"

    def _student_recipe(self, rows: str, *, has_teacher: bool) -> DistillRecipe:
        recipe = self.recipe
        data = recipe.data.model_dump(exclude={"unlabelled", "train", "test"})
        return DistillRecipe(
            data=DistillDataSection(
                **data,
                train=rows,
                teacher_logits_column="teacher_logits" if has_teacher else "",
            ),
            task=task_section(self.task),
            student=recipe.student if has_teacher else recipe.student_without_teacher,
            # Without a teacher its settings decide nothing, and must not repeat the training.
            distillation=recipe.distillation if has_teacher else DistillationSection(),
            training=recipe.training if has_teacher else recipe.plain_training or recipe.training,
            scaling=recipe.scaling,
        )
