import pytest

from ernie_ray.config import DistillRecipe, SlimRecipe, builtin_recipes, load_recipe, load_recipe_of
from ernie_ray.errors import ConfigError

DATA = ["data.train=a.jsonl", "data.dev=b.jsonl", "data.test=c.jsonl"]


@pytest.mark.parametrize("name", builtin_recipes("distill"))
def test_every_built_in_student_needs_only_its_rows(name):
    recipe = load_recipe_of(DistillRecipe, name, DATA, folder_name="distill")
    assert recipe.data.teacher_logits_column == "teacher_logits"


@pytest.mark.parametrize("name", sorted(builtin_recipes("slim").keys() - {"tour"}))
def test_every_built_in_chain_trains_the_student_of_the_same_name(name):
    chain = load_recipe_of(SlimRecipe, name, [*DATA, "teacher.model=t"], folder_name="slim")
    student = load_recipe_of(DistillRecipe, name, DATA, folder_name="distill")
    assert chain.student == student.student
    assert chain.training == student.training
    assert chain.distillation == student.distillation
    chances = chain.augment
    assert (chances.noise_probability, chances.replace_probability) == (0.1, 0.1)
    assert (chances.num_copies, chances.fragment_probability) == (10, 1.0)


@pytest.mark.parametrize("name", ["bow", "cnn", "lstm"])
def test_a_student_without_a_teacher_gets_more_passes_over_its_few_rows(name):
    chain = load_recipe_of(SlimRecipe, name, [*DATA, "teacher.model=t"], folder_name="slim")
    assert chain.plain_training.num_epochs > chain.training.num_epochs
    assert chain.student_without_teacher.max_tokens == chain.student.max_tokens


def test_settings_of_the_student_without_a_teacher_are_those_of_a_student():
    chain = load_recipe_of(SlimRecipe, "bow", [*DATA, "teacher.model=t"], folder_name="slim")
    assert chain.student.hidden_sizes
    assert chain.student_without_teacher.hidden_sizes == ()
    changes = [*DATA, "teacher.model=t", "plain_student.colour=1"]
    with pytest.raises(ConfigError, match=r"plain_student\.colour"):
        load_recipe_of(SlimRecipe, "bow", changes, folder_name="slim")


def test_the_tours_chain_needs_nothing_from_its_user():
    chain = load_recipe_of(SlimRecipe, "tour", folder_name="slim")
    teacher = load_recipe("tour")
    assert (chain.data.train, chain.data.dev) == (teacher.data.train, teacher.data.dev)
    assert chain.data.unlabelled


def test_the_kits_bag_of_words_is_the_kits():
    recipe = load_recipe_of(DistillRecipe, "bow-kit", DATA, folder_name="distill")
    student, training = recipe.student, recipe.training
    assert (student.max_pieces, student.embedding_size, student.squash) == (35_000, 128, "softsign")
    assert (training.global_batch_size, training.learning_rate) == (100, 1e-4)
    assert recipe.distillation.temperature == 1.0


def test_hard_epochs_must_leave_some_for_the_teacher():
    with pytest.raises(ConfigError, match="hard_epochs=6"):
        load_recipe_of(
            DistillRecipe, "bow", [*DATA, "distillation.hard_epochs=6"], folder_name="distill"
        )


@pytest.mark.parametrize("limit", ["max_steps=9", "patience_evaluations=1"])
def test_what_could_end_training_before_its_hard_epochs_is_refused(limit):
    changes = [*DATA, "distillation.hard_epochs=1", f"training.{limit}"]
    with pytest.raises(ConfigError, match=r"may end before"):
        load_recipe_of(DistillRecipe, "bow-kit", changes, folder_name="distill")


def test_a_student_answers_with_classes_alone():
    with pytest.raises(ConfigError, match=r"task\.family=pair: students answer with classes"):
        load_recipe_of(DistillRecipe, "bow", [*DATA, "task.family=pair"], folder_name="distill")


def test_a_student_whose_training_may_end_early_needs_dev_rows():
    with pytest.raises(ConfigError, match=r"patience_evaluations=3 needs dev rows"):
        load_recipe_of(DistillRecipe, "bow", ["data.train=a.jsonl"], folder_name="distill")


def test_a_chain_takes_its_task_from_the_teacher():
    changes = [*DATA, "teacher.model=t", "task.labels=[a, b]"]
    with pytest.raises(ConfigError, match="task"):
        load_recipe_of(SlimRecipe, "bow", changes, folder_name="slim")


@pytest.mark.parametrize(
    "setting", ["ngram_orders=[]", "ngram_orders=[2, 0]", "widths=[]", "widths=[0]",
                "hidden_sizes=[0]", "hidden_sizes=[64, -1]"]
)  # fmt: skip
def test_sizes_that_make_no_network_are_refused_by_name(setting):
    wanted = rf"student\.{setting.partition('=')[0]}.*(at least 1 item|greater than 0)"
    with pytest.raises(ConfigError, match=rf": {wanted}"):
        load_recipe_of(DistillRecipe, "bow", [*DATA, f"student.{setting}"], folder_name="distill")
    changes = [*DATA, "teacher.model=t", f"plain_student.{setting}"]
    with pytest.raises(ConfigError, match=rf": plain_{wanted}"):
        load_recipe_of(SlimRecipe, "bow", changes, folder_name="slim")


def test_an_unknown_key_is_named():
    with pytest.raises(ConfigError, match=r"student\.colour"):
        load_recipe_of(DistillRecipe, "bow", [*DATA, "student.colour=1"], folder_name="distill")
