"""The registry on a disk and behind a URI, with real model directories."""

import json
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner

from ernie_ray.cli.evaluate import command as evaluate_command
from ernie_ray.cli.models import command as models
from ernie_ray.cli.promote import command as promote_command
from ernie_ray.cli.rollback import command as rollback_command
from ernie_ray.errors import ConfigError, ModelDirError
from ernie_ray.inference.predictor import Predictor
from ernie_ray.jobs.registry import Bounds, find_model, list_models, promote, rollback
from ernie_ray.jobs.storage import Storage
from ernie_ray.modeldir import TokenLabelsSpec, open_model_dir
from ernie_ray.modeldir.folder import MANIFEST, read_manifest
from tests.tiny_models import export_tiny_classifier, tiny_rows

NONE = Bounds(engine="onnxruntime", precision="fp32")


@pytest.fixture(params=["disk", "uri"])
def storage(request, tmp_path) -> Storage:
    root = tmp_path / "store"
    root.mkdir()
    downloads = tmp_path / "downloads"
    return Storage(
        str(root) if request.param == "disk" else f"file://{root}", download_dir=downloads
    )


def bounds(**changes) -> Bounds:
    return Bounds(engine="onnxruntime", precision="fp32", **changes)


def files(storage: Storage) -> list[str]:
    root = Path(str(storage.resolve("models")).removeprefix("file://"))
    return sorted(p.relative_to(root).as_posix() for p in root.rglob("*"))


def test_a_promoted_candidate_is_copied_in_and_found_by_its_alias(storage, tiny_model_dir):
    alias = promote(str(tiny_model_dir), "reviews", "production", bounds=NONE, storage=storage)
    assert (alias.version, alias.previous) == ("1", ())
    place = find_model("reviews@production", storage)
    assert str(place).endswith("models/reviews/1")
    found = read_manifest(storage.fetch(place)).fingerprint
    assert found == alias.fingerprint == read_manifest(tiny_model_dir).fingerprint
    assert not [name for name in files(storage) if "partial" in name]


def test_what_an_interrupted_promotion_left_is_no_version_and_is_replaced(tmp_path, tiny_model_dir):
    storage = Storage(f"file://{tmp_path}/store", download_dir=tmp_path / "downloads")
    left = tmp_path / "store" / "models" / "reviews" / "1"
    shutil.copytree(tiny_model_dir, left)
    (left / MANIFEST).unlink()
    assert [one.versions for one in list_models(storage)] == [()]
    alias = promote(str(tiny_model_dir), "reviews", "live", bounds=NONE, storage=storage)
    assert alias.version == "1"
    assert read_manifest(left).fingerprint == alias.fingerprint


def test_promotions_are_rolled_back_one_after_the_other(storage, tiny_model_dir):
    for _ in range(3):
        promote(str(tiny_model_dir), "reviews", "production", bounds=NONE, storage=storage)
    promote("1", "reviews", "staging", bounds=NONE, storage=storage)
    (model,) = list_models(storage)
    assert model.versions == ("1", "2", "3")
    assert model.aliases["production"].previous == ("2", "1")
    assert model.aliases["staging"].version == "1"
    back = [rollback("reviews", "production", storage=storage).version for _ in range(2)]
    assert back == ["2", "1"]
    with pytest.raises(ConfigError, match="never meant another"):
        rollback("reviews", "production", storage=storage)
    assert list_models(storage)[0].versions == ("1", "2", "3")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"min_metrics": {"dev.accuracy": 0.6}}, r"dev.accuracy is 0.5000, at least 0.6000"),
        ({"max_drop": {"dev.accuracy": -0.1}}, r"dev.accuracy is 0.5000, at least 0.6000"),
        ({"min_cosine": 1.1}, r"parity of onnxruntime fp32 is a cosine of [01]\.\d+, at least 1.1"),
    ],
)
def test_a_candidate_that_falls_short_is_refused_and_nothing_changes(
    storage, tiny_model_dir, changes, message
):
    promote(str(tiny_model_dir), "reviews", "production", bounds=NONE, storage=storage)
    before = files(storage)
    with pytest.raises(ModelDirError, match=message):
        promote(
            str(tiny_model_dir), "reviews", "production", bounds=bounds(**changes), storage=storage
        )
    assert files(storage) == before
    assert find_model("reviews@production", storage) == storage.resolve("models/reviews/1")


def test_a_candidate_at_its_bounds_is_promoted(storage, tiny_model_dir):
    promote(str(tiny_model_dir), "reviews", "production", bounds=NONE, storage=storage)
    at = bounds(
        min_metrics={"dev.accuracy": 0.5}, max_drop={"dev.accuracy": 0.0}, min_cosine=0.9999
    )
    alias = promote(str(tiny_model_dir), "reviews", "production", bounds=at, storage=storage)
    assert alias.version == "2"


def test_a_metric_that_was_not_measured_is_an_error_that_lists_the_others(storage, tiny_model_dir):
    with pytest.raises(ConfigError, match=r"no metric 'test\.f1'.*dev\.accuracy"):
        promote(
            str(tiny_model_dir), "reviews", "production",
            bounds=bounds(min_metrics={"test.f1": 0.1}), storage=storage,
        )  # fmt: skip
    assert list_models(storage) == []


def test_a_damaged_candidate_is_refused(storage, tiny_model_dir, tmp_path):
    damaged = tmp_path / "damaged"
    shutil.copytree(tiny_model_dir, damaged)
    with (damaged / "graph.onnx").open("r+b") as stream:
        stream.seek(100)
        stream.write(b"\0\1\2")
    with pytest.raises(ModelDirError, match=r"graph\.onnx was changed"):
        promote(str(damaged), "reviews", "production", bounds=NONE, storage=storage)
    assert list_models(storage) == []


def test_a_version_that_was_swapped_under_its_alias_is_noticed(
    storage, tiny_model_dir, tiny_embedding_dir
):
    promote(str(tiny_model_dir), "reviews", "production", bounds=NONE, storage=storage)
    version = Path(str(storage.resolve("models/reviews/1")).removeprefix("file://"))
    shutil.rmtree(version)
    shutil.copytree(tiny_embedding_dir, version)
    with pytest.raises(ModelDirError, match="not the model that was promoted"):
        find_model("reviews@production", storage)
    # The error says how to mend it.
    promote("1", "reviews", "production", bounds=NONE, storage=storage)
    assert str(find_model("reviews@production", storage)).endswith("models/reviews/1")


def test_an_alias_is_not_rolled_back_to_what_it_never_meant(
    storage, tiny_model_dir, tiny_embedding_dir
):
    for _ in range(2):
        promote(str(tiny_model_dir), "reviews", "production", bounds=NONE, storage=storage)
    version = Path(str(storage.resolve("models/reviews/1")).removeprefix("file://"))
    version.rename(version.parent / "kept")
    shutil.copytree(tiny_embedding_dir, version)
    with pytest.raises(ModelDirError, match="not the model that reviews@production meant"):
        rollback("reviews", "production", storage=storage)
    assert str(find_model("reviews@production", storage)).endswith("models/reviews/2")
    shutil.rmtree(version)
    (version.parent / "kept").rename(version)
    assert rollback("reviews", "production", storage=storage).version == "1"


def test_a_model_that_cuts_long_texts_into_windows_is_promoted(tmp_path):
    task = TokenLabelsSpec(labels=("O", "B-A", "I-A"))
    tagger = export_tiny_classifier(tmp_path / "tagger", task=task)
    predictor = Predictor.from_dir(tagger, engine="onnxruntime", precision="fp32")
    golden = [entry.text for entry in open_model_dir(tagger).golden_texts()]
    assert len(predictor.tokenize(golden)) > len(golden)
    least = bounds(min_cosine=0.9999)
    store = Storage(str(tmp_path))
    alias = promote(str(tagger), "people", "production", bounds=least, storage=store)
    assert alias.version == "1"


@pytest.mark.parametrize("name", ["../up", "a/b", "", ".hidden"])
def test_names_cannot_leave_the_registry(storage, tiny_model_dir, name):
    with pytest.raises(ConfigError, match="cannot name"):
        promote(str(tiny_model_dir), "reviews", name or "/", bounds=NONE, storage=storage)
    with pytest.raises(ConfigError, match="no alias file"):
        find_model("reviews@nothing", storage)


def test_paths_stay_paths(storage):
    assert find_model("/models/a@b/c", storage) == Path("/models/a@b/c")


def test_the_commands_promote_list_and_roll_back(tmp_path, tiny_model_dir):
    place = ["--storage", str(tmp_path)]
    engine = ["--engine", "onnxruntime", "--precision", "fp32"]
    run = CliRunner().invoke
    for _ in range(2):
        least = ["--min", "dev.accuracy=0.5"]
        done = run(promote_command, [str(tiny_model_dir), "reviews", *least, *engine, *place])
        assert done.exit_code == 0, done.output
    assert done.output == "reviews@production: version 2\n"
    assert run(rollback_command, ["reviews", *place]).output == "reviews@production: version 1\n"
    listed = run(models, place).output
    assert listed == "reviews: versions 1, 2\n  reviews@production -> 1\n"
    alias = json.loads((tmp_path / "models/reviews/production.alias.json").read_text())
    assert alias["version"] == "1"
    rows = [json.dumps({"text": text, "label": label}) for text, label in tiny_rows(8, 1)]
    (tmp_path / "rows.jsonl").write_text("\n".join(rows))
    asked = ["reviews@production", "rows.jsonl", "--quiet", "--output", "measured.json"]
    assert run(evaluate_command, [*asked, *engine, *place]).exit_code == 0
    measured = json.loads((tmp_path / "measured.json").read_text())
    assert measured["model"] == str(tmp_path / "models/reviews/1")
    refused = run(promote_command, ["1", "reviews", "--min", "accuracy=0.5", *place])
    assert "SPLIT.METRIC=VALUE" in str(refused.exception)
