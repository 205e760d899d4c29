import pytest

from ernie_ray.config import builtin_recipes, load_recipe
from ernie_ray.errors import ConfigError

GIVEN = ["data.train=/data/train.jsonl"]


@pytest.mark.parametrize("name", builtin_recipes())
def test_every_builtin_recipe_loads_once_its_data_is_given(name):
    assert load_recipe(name, GIVEN).data.train == "/data/train.jsonl"


def test_set_takes_numbers_lists_and_bare_words():
    recipe = load_recipe(
        "classify",
        [*GIVEN, "training.seed=7", 'task.labels=["no", "yes"]', "model.pretrained=./ernie"],
    )
    assert recipe.training.seed == 7
    assert recipe.task.labels == ("no", "yes")
    assert recipe.model.pretrained == "./ernie"


@pytest.mark.parametrize(
    ("assignments", "named"),
    [
        (["training.learnign_rate=1"], "unknown key training.learnign_rate"),
        (["training.learning_rate=-1"], "training.learning_rate"),
        (["training.num_epochs=many"], "training.num_epochs"),
        (["seed=7"], "section.key=value"),
        (["training"], "section.key=value"),
        (["training.global_batch_size=2", "scaling.num_workers=4"], "scaling.num_workers=4"),
        (["training.global_batch_size=2", "scaling.num_workers=[1, 4]"], "scaling.num_workers=4"),
        (["scaling.num_workers=0"], "scaling.num_workers: .* at least 1"),
        (["scaling.num_workers=[4, 2]"], r"scaling.num_workers: .* range \[fewest, most\]"),
        (["training.precision=fp16"], "training.precision=fp16 needs GPUs"),
        (["training.precision=bf16"], "scaling.use_gpu=true"),
        (["training.precision=bf16"], "classify: training.precision"),
        (["task.labels=no, 好"], r"""--set 'task.labels=\["no", "好"\]'"""),
        (["task.labels=2020-01-01"], r"""--set 'task.labels=\["2020-01-01"\]'"""),
        (["scaling.num_workers=two"], r"scaling\.num_workers\.\S+: Input should be"),
        (["task.labels=no,yes"], r"""--set 'task.labels=\["no", "yes"\]'"""),
        (["task.labels=7"], r"--set 'task.labels=\[7\]'"),
    ],
)
def test_a_wrong_setting_is_an_error_that_names_it(assignments, named):
    with pytest.raises(ConfigError, match=named):
        load_recipe("classify", [*GIVEN, *assignments])


def test_a_missing_section_is_told_apart_from_a_missing_key(tmp_path):
    recipe = tmp_path / "mine.toml"
    recipe.write_text("[training]\nseed = 7\n")
    with pytest.raises(ConfigError, match=r"section \[data\] is missing; .*--set data\.KEY="):
        load_recipe(str(recipe))
    with pytest.raises(ConfigError, match=r"data\.train is missing; .*--set data\.train="):
        load_recipe("classify")


@pytest.mark.parametrize(
    "change", ["training.label_smoothing=0.1", "training.class_weights=balanced"]
)
@pytest.mark.parametrize("name", ["mrc", "regression", "classify"])
def test_losses_of_exclusive_classes_are_refused_for_other_tasks(name, change):
    changes = [*GIVEN, change]
    if name == "classify":
        changes += ["task.multi_label=true"]
    with pytest.raises(ConfigError, match=r"training\.label_smoothing and training\.class_weights"):
        load_recipe(name, changes)


@pytest.mark.parametrize("name", ["classify", "ner"])
def test_exclusive_classes_may_be_smoothed_and_weighed(name):
    changes = [*GIVEN, "training.label_smoothing=0.1"]
    assert load_recipe(name, [*changes, "training.class_weights=balanced"])
    recipe = load_recipe(name, [*changes, "training.class_weights={good=2.0, bad=0.5}"])
    assert recipe.training.class_weights == {"good": 2.0, "bad": 0.5}
    with pytest.raises(ConfigError, match=r"class_weights.*bad=-1.0 must be a number"):
        load_recipe(name, [*changes, "training.class_weights={bad=-1.0}"])


def test_patience_needs_dev_rows():
    changes = [*GIVEN, "training.patience_evaluations=3"]
    with pytest.raises(ConfigError, match=r"training\.patience_evaluations=3 needs dev rows"):
        load_recipe("classify", changes)
    assert load_recipe("classify", [*changes, "data.dev=/data/dev.jsonl"])


def test_a_window_of_a_reader_has_room_for_a_context():
    with pytest.raises(ConfigError, match=r"model\.max_tokens=15 .* set at least 16"):
        load_recipe("mrc", [*GIVEN, "model.max_tokens=15"])
    assert load_recipe("mrc", [*GIVEN, "model.max_tokens=16"]).model.max_tokens == 16
    assert load_recipe("ner", [*GIVEN, "model.max_tokens=4"]).model.max_tokens == 4


@pytest.mark.parametrize("split", ["dev", "test"])
def test_a_ranking_that_is_measured_needs_a_column_of_queries(split):
    changes = [*GIVEN, "data.query_column="]
    with pytest.raises(ConfigError, match=r"data\.query_column"):
        load_recipe("ranking", [*changes, f"data.{split}=/data/rows.jsonl"])
    assert load_recipe("ranking", changes).data.query_column == ""  # learning needs none


def test_a_missing_key_is_an_error_that_says_how_to_give_it():
    with pytest.raises(ConfigError, match=r"--set data\.train="):
        load_recipe("classify")


def test_an_unknown_recipe_is_an_error_that_lists_the_known_ones():
    with pytest.raises(ConfigError, match="classify"):
        load_recipe("clazzify")


def test_a_file_that_is_not_toml_is_an_error_that_names_it(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text("[data\n")
    with pytest.raises(ConfigError, match=r"mine\.toml: not TOML"):
        load_recipe(str(path))


def test_the_number_of_workers_is_fixed_or_a_range():
    fixed, elastic = (
        load_recipe("classify", [*GIVEN, f"scaling.num_workers={value}"]).scaling
        for value in ("3", "[1, 4]")
    )
    assert (fixed.num_workers, fixed.min_workers, fixed.max_workers) == (3, 3, 3)
    assert (elastic.num_workers, elastic.min_workers, elastic.max_workers) == ((1, 4), 1, 4)


def test_a_metric_needs_rows_to_be_measured_on():
    settings = ["data.train=a", "data.dev=", "training.metric=macro_f1"]
    with pytest.raises(ConfigError, match=r"name them in data\.dev"):
        load_recipe("classify", settings)
    assert load_recipe("classify", [*settings, "data.dev=b"]).training.metric == "macro_f1"
