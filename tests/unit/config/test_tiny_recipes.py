import pytest

from ernie_ray.config import TinyRecipe, builtin_recipes, load_recipe_of
from ernie_ray.errors import ConfigError

GIVEN = ("teacher.model=t", "data.train=a", "data.dev=b", "data.test=c")


def load(name="3x384", *changes):
    return load_recipe_of(TinyRecipe, name, (*GIVEN, *changes), folder_name="tiny")


@pytest.mark.parametrize("name", builtin_recipes("tiny"))
def test_every_built_in_recipe_is_valid_and_named_by_its_shape(name):
    student = load(name).student
    assert name == f"{student.num_layers}x{student.hidden_size}"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("student.hidden_size=400", "not divisible by num_heads=12"),
        ("student.teacher_layers=[4, 12]", "name one for each"),
        ("vocabulary.kind=given", "folder and kind=given belong together"),
        ("general.relation_heads=36", "does not divide"),
        ("distillation.teacher_outputs=cached", "keeps logits only"),
        ("distillation.hard_epochs=3", "leaves none"),
        ("general_training.patience_evaluations=2", "nothing is measured"),
        ("general_training.metric=accuracy", "without labels"),
        ("general_training.class_weights=balanced", "without labels"),
        ("scaling.num_workers=64", "every worker needs a row"),
        ("student.layers=3", "unknown key student.layers"),
    ],
)
def test_a_recipe_that_cannot_work_is_refused(change, message):
    with pytest.raises(ConfigError, match=message):
        load("3x384", change)


def test_general_distillation_of_nothing_is_refused():
    with pytest.raises(ConfigError, match="imitates nothing"):
        load("3x384", "general.relation_weight=0", "general.hidden_weight=0")
