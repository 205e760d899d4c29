"""The Tiny chain: start, distil on any text, distil on the task, export, measure."""

from __future__ import annotations

from dataclasses import dataclass, replace

from ernie_ray.config import (
    DataSection,
    DistillDataSection,
    Lesson,
    LessonModelSection,
    LessonRecipe,
    ModelSection,
    Recipe,
    StatesSection,
    TinyRecipe,
)
from ernie_ray.distillation.tiny_start import layer_map
from ernie_ray.errors import ConfigError
from ernie_ray.jobs import runs
from ernie_ray.jobs.chain import Chain, ChainResult, task_section
from ernie_ray.jobs.comparison import DISTILLED, PLAIN, TEACHER
from ernie_ray.jobs.export_start import export_start, given_tokenizer
from ernie_ray.jobs.file_digests import digest_of
from ernie_ray.jobs.finetune import finetune, run_recipe
from ernie_ray.jobs.joined_rows import all_texts, unlabelled_schema, write_task_rows, write_texts
from ernie_ray.jobs.prepare_lesson import prepare_lesson
from ernie_ray.jobs.row_blocks import checked_schema
from ernie_ray.jobs.storage import Storage
from ernie_ray.modeldir import EncoderConfig, Manifest
from ernie_ray.modeldir.folder import MANIFEST, TOKENIZER
from ernie_ray.tasks import family_of
from ernie_ray.tasks.from_recipe import loose_schema
from ernie_ray.text.row_schema import RowSchema
from ernie_ray.text.rows import read_rows
from ernie_ray.text.subword_tokenizer import Lengths, measure_lengths
from ernie_ray.text.tokenizer import load_tokenizer

# Counts up when the same settings would give another student.
_FORMAT = 2


@dataclass(frozen=True)
class TinyResult(ChainResult):
    """What the chain came to.

    Attributes:
        lengths: How long the test texts are for the student.
    """

    lengths: Lengths


def tiny(
    recipe: TinyRecipe, run: str, *, storage: Storage, show_progress: bool = True
) -> TinyResult:
    """Run the chain. Ray must be initialised.

    Args:
        recipe: The resolved recipe.
        run: Folder of the chain: a name for ``storage``, an absolute path or a URI.
        storage: Resolves the recipe's files and the folder.
        show_progress: Draw progress bars on stderr.

    Raises:
        ConfigError: The recipe does not fit the teacher or the rows.
        DataError: A file or row cannot be used.
        ModelDirError: A teacher's model directory is broken.
    """
    chain = _TinyChain(recipe, run, storage, show_progress=show_progress)
    with chain.timed("start"):
        start = chain.start()
        lengths = chain.measure_lengths(start)
    with chain.timed("general"):
        general = chain.distil_on_text(start)
    models = {TEACHER: recipe.teacher.model}
    with chain.timed(PLAIN):
        models[PLAIN] = chain.finetune(start)
    with chain.timed(DISTILLED):
        models[DISTILLED] = chain.distil_on_task(general)
    stages = {"start": start, "general": general}
    result = chain.end(models, stages=stages, remark=f"\n{lengths}")
    return TinyResult(**vars(result), lengths=lengths)


class _TinyChain(Chain[TinyRecipe]):
    """The stages of one recipe; each gives the name of its output."""

    def __init__(
        self, recipe: TinyRecipe, run: str, storage: Storage, *, show_progress: bool
    ) -> None:
        super().__init__(recipe, run, storage, show_progress=show_progress)
        _refuse_student(self.teacher, recipe.teacher.model)
        self._general_name = recipe.teacher.general or recipe.teacher.model
        self._general_teacher = self.read_teacher(self._general_name, "teacher.general")
        _refuse_student(self._general_teacher, self._general_name)
        self.task = self.teacher.task
        self._task_section = task_section(self.task)
        data = recipe.data
        self.schema = loose_schema(
            self._task_section,
            RowSchema(
                data.text_column,
                data.text_pair_column or None,
                data.label_column,
                query=data.query_column or None,
                header=data.columns,
            ),
        )
        if family_of(self.task).takes_pairs and not data.text_pair_column:
            raise ConfigError("the teacher is asked pairs; name data.text_pair_column")
        # The report at the chain's end measures; what it lacks must be said before hours of work.
        checked_schema(self.schema, self.task, measures=True)
        self.check()

    @property
    def unlabelled_schema(self) -> RowSchema:
        """Columns of the unlabelled rows."""
        return unlabelled_schema(self.recipe.data, self.schema)

    def start(self) -> str:
        """Give the model directory of the student as it starts."""
        recipe, storage = self.recipe, self.storage
        known = given_tokenizer(recipe.vocabulary, storage)
        contents = [known.to_str()] if known else self.digests(*self._texts_files)
        key = digest_of(
            self._general_teacher.fingerprint,
            recipe.student,
            recipe.vocabulary,
            recipe.data.reading,
            contents,
        )
        name = f"{self.run}/start-{key}"
        if not self.storage.exists(f"{name}/{MANIFEST}"):
            texts = all_texts(recipe.data, self.schema, storage)
            export_start(recipe, self._general_name, texts, name, storage=storage)
        return name

    def measure_lengths(self, start: str) -> Lengths:
        """Count tokens of the test texts against characters."""
        tokenizer = load_tokenizer(self.storage.fetch(start) / TOKENIZER)
        data = self.recipe.data
        rows = read_rows(self.storage.resolve(data.test), self.schema, on_bad=data.bad_rows)
        texts = (text for row in rows for text in (row.text, row.text_pair) if text is not None)
        return measure_lengths(tokenizer, texts)

    def distil_on_text(self, start: str) -> str:
        """Give the student after it imitated its teacher's states on text of any kind."""
        recipe = self.recipe
        if recipe.general_training is None:
            return start
        data = recipe.data
        key = digest_of(self.digests(*self._texts_files), data.reading)
        name = f"{self.run}/texts-{key}.parquet"
        if not self.storage.exists(name):
            write_texts(data, self.schema, name, self.storage)
        lesson = self._lesson(self._general_name, recipe.general)
        training_data = DistillDataSection(
            train=name, text_column=data.text_column, teacher_logits_column=""
        )
        return self._train(
            "general",
            LessonRecipe(
                data=training_data,
                task=None,
                model=LessonModelSection(start=start, name=recipe.student.name),
                lesson=lesson,
                training=recipe.general_training,
                scaling=recipe.scaling,
            ),
            self._general_teacher,
        )

    def distil_on_task(self, start: str) -> str:
        """Give the student after it learnt the task from its teacher."""
        recipe = self.recipe
        data, settings = recipe.data, recipe.distillation
        is_cached = settings.teacher_outputs == "cached"
        has_unlabelled = settings.uses_unlabelled and data.unlabelled_fit_the_task
        files = (data.train, *(data.unlabelled if has_unlabelled else ()))
        key = digest_of(_FORMAT, self.digests(*files), data.reading)
        rows = f"{self.run}/rows-{key}.parquet"
        if not self.storage.exists(rows):
            write_task_rows(data, self.schema, rows, self.storage, has_unlabelled=has_unlabelled)
        if is_cached:
            schema = replace(self.training_schema, query=None)
            rows = self.label([rows], schema, seed=recipe.student.seed)
        kept = data.model_dump(exclude={"train", "test", "unlabelled", "unlabelled_text_column"})
        lesson = self._lesson("" if is_cached else recipe.teacher.model, settings)
        training_data = DistillDataSection(
            **kept, train=rows, teacher_logits_column="teacher_logits" if is_cached else ""
        )
        return self._train(
            "distilled",
            LessonRecipe(
                data=training_data,
                task=self._task_section,
                model=LessonModelSection(start=start, name=recipe.student.name),
                lesson=lesson.model_copy(update={"logits": settings}),
                training=recipe.training,
                scaling=recipe.scaling,
            ),
            self.teacher,
        )

    def finetune(self, start: str) -> str:
        """Give the same student after an ordinary fine-tuning, without a teacher."""
        recipe = self.recipe
        data = recipe.data.model_dump(exclude={"test", "unlabelled", "unlabelled_text_column"})
        plain = Recipe(
            data=DataSection(**data),
            task=self._task_section,
            model=ModelSection(
                pretrained=str(self.storage.resolve(start)),
                name=recipe.student.name,
                max_tokens=recipe.student.max_tokens,
            ),
            training=recipe.plain_training or recipe.training,
            scaling=recipe.scaling,
        )
        contents = self.digests(recipe.data.train, recipe.data.dev)
        run = f"{self.run}/plain-{digest_of(contents, _without_scaling(plain))}"
        if not self.storage.exists(f"{run}/{runs.RESULT}"):
            finetune(plain, run, storage=self.storage, show_progress=self.show_progress)
        return f"{run}/{runs.MODEL}"

    def _train(self, name: str, recipe: LessonRecipe, teacher: Manifest) -> str:
        places = (recipe.data.train, *filter(None, [recipe.data.dev]))
        key = (_FORMAT, self.digests(*places), teacher.fingerprint, _without_scaling(recipe))
        run = f"{self.run}/{name}-{digest_of(*key)}"
        if not self.storage.exists(f"{run}/{runs.RESULT}"):
            run_recipe(
                recipe,
                run,
                prepare_lesson,
                distillation=recipe.lesson,
                storage=self.storage,
                show_progress=self.show_progress,
            )
        return f"{run}/{runs.MODEL}"

    def _lesson(self, teacher: str, states: StatesSection) -> Lesson:
        manifest = self.teacher if teacher == self.recipe.teacher.model else self._general_teacher
        network = manifest.network
        assert isinstance(network, EncoderConfig)  # checked when it was read
        if states.relation_layer > network.num_layers:
            raise ConfigError(
                f"relation_layer={states.relation_layer}, but the teacher has {network.num_layers} "
                "layers; 0 takes its last"
            )
        return Lesson(
            teacher=str(self.storage.resolve(teacher)) if teacher else "",
            engine=self.recipe.teacher.engine,
            precision=self.recipe.teacher.precision,
            teacher_layers=layer_map(self.recipe.student, network.num_layers),
            states=states,
            logits=None,
        )

    @property
    def _texts_files(self) -> tuple[str, ...]:
        return (self.recipe.data.train, *self.recipe.data.unlabelled)


def _refuse_student(manifest: Manifest, name: str) -> None:
    if not isinstance(manifest.network, EncoderConfig):
        raise ConfigError(
            f"{name}: a {manifest.network.kind} student cannot teach an encoder; give an "
            "encoder's model directory"
        )


def _without_scaling(recipe: LessonRecipe | Recipe) -> dict[str, object]:
    """How many machines work on a run decides nothing of it."""
    return recipe.model_dump(mode="json", exclude={"scaling": True, "lesson": {"teacher"}})
