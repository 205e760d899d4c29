"""What chains say before their first stage, not after hours."""

import pytest

from ernie_ray.config import SlimRecipe, TinyRecipe, load_recipe_of
from ernie_ray.errors import ConfigError, DataError, ModelDirError
from ernie_ray.jobs.slim import slim
from ernie_ray.jobs.storage import Storage
from ernie_ray.jobs.tiny import tiny
from ernie_ray.modeldir import ClassificationSpec
from tests.chain_rows import chain_settings, write_chain_rows
from tests.tiny_models import export_tiny_classifier

CHAINS = {"slim": (SlimRecipe, "bow", slim), "tiny": (TinyRecipe, "3x384", tiny)}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_chain_rows(tmp_path_factory.mktemp("data"), unlabelled_column="review")


def start(kind, teacher, data, *changes):
    schema, name, run = CHAINS[kind]
    settings = [*chain_settings(teacher), *changes]
    recipe = load_recipe_of(schema, name, settings, folder_name=kind)
    run(recipe, str(data / "run"), storage=Storage(str(data)), show_progress=False)


@pytest.mark.parametrize("kind", CHAINS)
@pytest.mark.parametrize("place", ["train", "dev", "test", "unlabelled"])
def test_a_mistyped_file_is_named_before_the_first_stage(kind, place, tiny_model_dir, data):
    name = '["no.jsonl"]' if place == "unlabelled" else "no.jsonl"
    with pytest.raises(DataError, match=rf"data\.{place}: .*no\.jsonl"):
        start(kind, tiny_model_dir, data, f"data.{place}={name}")
    assert not (data / "run").exists()


@pytest.mark.parametrize("kind", CHAINS)
@pytest.mark.parametrize("place", ["train", "dev", "test"])
@pytest.mark.parametrize(
    ("row", "problem"),
    [('{"review": "好"}', "kind"), ('{"review": "好", "kind": "neutral"}', "neutral"), ("", "")],
)
def test_a_row_that_a_later_stage_cannot_use_is_named_before_the_first_one(
    kind, place, row, problem, tiny_model_dir, data
):
    (data / "bad.jsonl").write_text(row and row + "\n", encoding="utf-8")
    with pytest.raises(DataError, match=rf"data\.{place}: .*bad\.jsonl.*{problem}"):
        start(kind, tiny_model_dir, data, f"data.{place}=bad.jsonl")
    assert not (data / "run").exists()


@pytest.mark.parametrize("kind", CHAINS)
def test_a_teacher_that_is_no_model_directory_is_named_with_the_one_inside(
    kind, tiny_model_dir, data, tmp_path
):
    with pytest.raises(DataError, match=r"^teacher\.model: .*no such .* finetune"):
        start(kind, data / "nowhere", data)
    (tmp_path / "model").symlink_to(tiny_model_dir)
    with pytest.raises(ModelDirError, match=r"^teacher\.model: .*; a run folder: .* model is one$"):
        start(kind, tmp_path, data)


@pytest.mark.parametrize("kind", CHAINS)
@pytest.mark.parametrize("section", ["training", "plain_training"])
def test_a_metric_that_the_task_has_not_is_named_before_the_first_stage(
    kind, section, tiny_model_dir, data
):
    with pytest.raises(ConfigError, match=rf"{section}\.metric=bleu"):
        start(kind, tiny_model_dir, data, f"{section}.metric=bleu")
    assert not (data / "run").exists()


@pytest.mark.parametrize("kind", CHAINS)
def test_losses_of_exclusive_classes_are_refused_for_a_teacher_of_independent_labels(
    kind, tmp_path, data
):
    labels = ClassificationSpec(labels=("negative", "positive"), multi_label=True)
    teacher = export_tiny_classifier(tmp_path / "teacher", task=labels)
    with pytest.raises(ConfigError, match=r"plain_training\.class_weights need"):
        start(kind, teacher, data, "plain_training.class_weights=balanced")


@pytest.mark.parametrize("section", ["student", "plain_student"])
def test_a_student_that_cannot_be_built_is_refused_before_the_first_stage(
    section, tiny_model_dir, data
):
    with pytest.raises(ConfigError, match=rf"^{section}\.pooling: Input should be [^\[]*$"):
        start("slim", tiny_model_dir, data, f"{section}.pooling=median")
    assert not (data / "run").exists()


@pytest.mark.parametrize("kind", CHAINS)
def test_rows_that_the_teacher_cannot_choose_among_are_refused_before_the_first_stage(
    kind, tmp_path, data
):
    labels = ClassificationSpec(labels=("negative", "positive"), multi_label=True)
    teacher = export_tiny_classifier(tmp_path / "teacher", task=labels)
    with pytest.raises(ConfigError, match="leave balance out"):
        start(kind, teacher, data, "label.balance=true")
    assert not (data / "run").exists()
