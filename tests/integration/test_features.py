import json

import numpy as np
import pytest
import tokenizers

from ernie_ray.config import load_recipe
from ernie_ray.errors import ConfigError, DataError, SourceError
from ernie_ray.jobs import worker_inputs
from ernie_ray.jobs.features import FeatureRequest, build_feature_cache, collect_labels
from ernie_ray.jobs.prepare import prepare
from ernie_ray.jobs.storage import Storage
from ernie_ray.modeldir import ClassificationSpec, EmbeddingSpec
from ernie_ray.text.cache import FeatureCache
from ernie_ray.text.cache_writer import CacheWriter
from ernie_ray.text.row_schema import RowSchema
from ernie_ray.text.tokenizer import TextTokenizer
from tests.full_disk import files_up_to
from tests.remote_files import upload_interrupted_after

pytestmark = [
    pytest.mark.usefixtures("local_ray"),
    # Ray Data sets its own deprecated options when it is first used.
    pytest.mark.filterwarnings("ignore::DeprecationWarning:ray.data.context"),
]

SCHEMA = RowSchema(label="label")
TASK = ClassificationSpec(labels=("0", "1"))


@pytest.fixture(scope="module")
def tokenizer_json(tmp_path_factory):
    path = tmp_path_factory.mktemp("tokenizer") / "tokenizer.json"
    vocabulary = {word: i for i, word in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", *"abcdef"])}
    tokenizers.BertWordPieceTokenizer(vocabulary).save(str(path))
    return path


def write_rows(path, num_rows, start=0, **extra):
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(start)
    with path.open("w") as stream:
        for i in range(start, start + num_rows):
            text = " ".join(rng.choice(list("abcdef"), rng.integers(1, 30)))
            stream.write(json.dumps({"text": text, "label": i % 2, **extra}) + "\n")
    return path


def request_for(location, tokenizer_json, **changes):
    settings = {"schema": SCHEMA, "task": TASK, "max_tokens": 16} | changes
    return FeatureRequest(location=location, tokenizer=tokenizer_json, **settings)


def test_the_cache_holds_what_tokenizing_in_order_gives(tmp_path, tokenizer_json):
    for i in range(5):
        write_rows(tmp_path / "rows" / f"{i}.jsonl", 3000, start=3000 * i)
    cache = build_feature_cache(
        request_for(tmp_path / "rows", tokenizer_json), cache_dir=tmp_path / "caches"
    )
    lines = [
        json.loads(line)
        for i in range(5)
        for line in (tmp_path / "rows" / f"{i}.jsonl").read_text().splitlines()
    ]
    expected = TextTokenizer.from_file(tokenizer_json, max_tokens=16).encode(
        [line["text"] for line in lines]
    )
    assert cache.rows(range(len(cache))) == expected
    labels = cache.labels(range(len(cache)))
    assert labels.ravel().tolist() == [line["label"] for line in lines]
    assert list(cache.summary.num_rows_per_file.values()) == [3000] * 5
    assert cache.summary.num_truncated == sum(row.is_truncated for row in expected) > 0


def test_a_disk_that_fills_up_is_named_and_the_same_call_goes_on(
    tmp_path, tokenizer_json, monkeypatch
):
    request = request_for(write_rows(tmp_path / "a.jsonl", 3000), tokenizer_json)
    caches = tmp_path / "caches"
    write = CacheWriter.write

    def write_without_room(writer, rows):
        with files_up_to(2_000):  # around the cache alone: Ray's logs have grown longer
            write(writer, rows)

    with monkeypatch.context() as patch:
        patch.setattr(CacheWriter, "write", write_without_room)
        with pytest.raises(DataError) as end:
            build_feature_cache(request, cache_dir=caches)
    assert f"{caches}/" in str(end.value)
    assert ": cannot be written: " in str(end.value)
    assert not list(caches.iterdir())
    assert len(build_feature_cache(request, cache_dir=caches)) == 3000


def test_the_same_content_is_tokenized_once(tmp_path, tokenizer_json):
    path = write_rows(tmp_path / "a.jsonl", 10)
    request = request_for(path, tokenizer_json)
    first = build_feature_cache(request, cache_dir=tmp_path / "caches")
    stamp = first.path.stat().st_mtime_ns
    copy = tmp_path / "copy.jsonl"
    copy.write_bytes(path.read_bytes())
    again = build_feature_cache(request_for(copy, tokenizer_json), cache_dir=tmp_path / "caches")
    assert (again.path, again.path.stat().st_mtime_ns) == (first.path, stamp)


def test_anything_else_gives_another_cache(tmp_path, tokenizer_json):
    path = write_rows(tmp_path / "a.jsonl", 10)
    caches = tmp_path / "caches"
    requests = [
        request_for(path, tokenizer_json),
        request_for(path, tokenizer_json, max_tokens=15),
        request_for(path, tokenizer_json, text_prefix="a "),
        request_for(path, tokenizer_json, task=ClassificationSpec(labels=("1", "0"))),
        request_for(write_rows(tmp_path / "b.jsonl", 11), tokenizer_json),
    ]
    digests = [build_feature_cache(request, cache_dir=caches).digest for request in requests]
    assert len(set(digests)) == len(requests)


def test_one_small_file_is_not_cut_into_tiny_blocks(tmp_path, tokenizer_json):
    path = write_rows(tmp_path / "a.jsonl", 2000)
    cache = build_feature_cache(request_for(path, tokenizer_json), cache_dir=tmp_path / "caches")
    assert len(cache._parts) == 1


def test_rows_without_labels_make_a_cache_without_labels(tmp_path, tokenizer_json):
    path = write_rows(tmp_path / "a.jsonl", 10)
    request = request_for(path, tokenizer_json, schema=RowSchema(), task=EmbeddingSpec())
    cache = build_feature_cache(request, cache_dir=tmp_path / "caches")
    assert cache.labels([0]).shape == (1, 0)
    assert cache.summary.labels == ()


def test_the_number_of_a_copy_is_kept_without_a_teachers_logits(tmp_path, tokenizer_json):
    path = write_rows(tmp_path / "a.jsonl", 2, copy=3)
    schema = RowSchema(label="label", copy="copy")
    request = request_for(path, tokenizer_json, schema=schema, has_texts=True)
    assert build_feature_cache(request, cache_dir=tmp_path / "caches").copies.tolist() == [3, 3]


def test_multi_labels_become_flags(tmp_path, tokenizer_json):
    path = tmp_path / "a.jsonl"
    rows = [{"text": "a", "label": ["x", "z"]}, {"text": "b", "label": []}]
    path.write_text("\n".join(map(json.dumps, rows)))
    task = ClassificationSpec(labels=("x", "y", "z"), multi_label=True)
    cache = build_feature_cache(
        request_for(path, tokenizer_json, task=task), cache_dir=tmp_path / "caches"
    )
    assert cache.labels([0, 1]).tolist() == [[1, 0, 1], [0, 0, 0]]


def test_the_first_bad_row_of_the_input_is_the_error_and_no_cache_appears(tmp_path, tokenizer_json):
    rows = tmp_path / "rows"
    write_rows(rows / "0.jsonl", 3000)
    with (rows / "0.jsonl").open("a") as stream:
        stream.write('{"text": "", "label": 1}\n')
    # A file of one bad row is read long before the first one is through.
    (rows / "1.jsonl").write_text('{"text": "a", "label": 7}\n')
    with pytest.raises(DataError) as caught:
        build_feature_cache(request_for(rows, tokenizer_json), cache_dir=tmp_path / "caches")
    assert str(caught.value) == f"{rows}/0.jsonl:3001: 'text' is empty; fill it or remove the row"
    assert list((tmp_path / "caches").iterdir()) == []


def test_skipped_rows_are_listed_in_the_summary_and_the_others_kept(tmp_path, tokenizer_json):
    path = tmp_path / "a.jsonl"
    path.write_text(
        '{"text": "a", "label": 1}\n{"text": "b", "label": 7}\n{"text": "c", "label": 0}\n'
    )
    cache = build_feature_cache(
        request_for(path, tokenizer_json, on_bad="skip"), cache_dir=tmp_path / "caches"
    )
    assert cache.labels([0, 1]).ravel().tolist() == [1, 0]
    assert cache.summary.num_skipped == 1
    assert cache.summary.skipped[0].startswith(f"{path}:2: label 'label' is '7'")
    again = build_feature_cache(
        request_for(path, tokenizer_json, on_bad="skip"), cache_dir=tmp_path / "caches"
    )
    assert again.summary == cache.summary


def test_a_broken_file_is_an_error_even_when_skipping(tmp_path, tokenizer_json):
    write_rows(tmp_path / "rows" / "a.jsonl", 5)
    (tmp_path / "rows" / "b.jsonl").write_bytes(b"")
    with pytest.raises(DataError, match=r"b.jsonl: has no rows"):
        build_feature_cache(
            request_for(tmp_path / "rows", tokenizer_json, on_bad="skip"),
            cache_dir=tmp_path / "caches",
        )


def test_a_broken_tokenizer_is_named(tmp_path):
    path = write_rows(tmp_path / "a.jsonl", 5)
    with pytest.raises(SourceError, match="the tokenizer cannot be read"):
        build_feature_cache(
            request_for(path, tmp_path / "tokenizer.json"), cache_dir=tmp_path / "caches"
        )
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(SourceError, match=r"not a tokenizer.json"):
        build_feature_cache(
            request_for(path, tmp_path / "tokenizer.json"), cache_dir=tmp_path / "caches"
        )


def test_labels_are_collected_over_all_files_and_sorted_by_value(tmp_path):
    for i, labels in enumerate([(10, "b"), (9, -1), ("a", 10)]):
        rows = [json.dumps({"text": "x", "label": label}) for label in labels]
        (tmp_path / f"{i}.jsonl").write_text("\n".join(rows))
    assert collect_labels(tmp_path, SCHEMA) == ("-1", "9", "10", "a", "b")


def test_collected_multi_labels_are_single_labels(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": "x", "label": "b|a"}\n{"text": "y", "label": ["c"]}\n')
    schema = RowSchema(label="label", is_multi_label=True)
    assert collect_labels(path, schema) == ("a", "b", "c")


def test_labels_of_bad_rows_and_of_no_column_are_errors(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": "x", "label": "a"}\n{"text": "y"}\n')
    with pytest.raises(DataError, match=rf"{path}:2: column 'label' is missing"):
        collect_labels(path, SCHEMA)
    assert collect_labels(path, SCHEMA, on_bad="skip") == ("a",)
    with pytest.raises(ConfigError, match="without a label column"):
        collect_labels(path, RowSchema())


@pytest.mark.parametrize("num_files", [1, 2])
def test_a_cache_whose_upload_was_interrupted_is_uploaded_whole_by_the_same_call(
    tmp_path, tiny_embedding_dir, monkeypatch, num_files
):
    write_rows(tmp_path / "rows.jsonl", 40)
    storage = Storage(f"file://{tmp_path}/bucket", download_dir=tmp_path / "downloads")
    settings = [f"data.train={tmp_path}/rows.jsonl", f"model.pretrained={tiny_embedding_dir}"]
    recipe = load_recipe("classify", [*settings, "model.max_tokens=16"])
    whole = prepare(recipe, "run", storage, show_progress=False)
    storage.remove("run/features")
    with upload_interrupted_after(num_files, monkeypatch):  # the first fetches the start folder
        (tmp_path / "downloads").rename(tmp_path / "forgotten")
        prepare(recipe, "run", storage, show_progress=False)
    assert not storage.exists(f"{whole.train}/summary.json")
    assert prepare(recipe, "run", storage, show_progress=False) == whole
    monkeypatch.setattr(worker_inputs, "build_feature_cache", pytest.fail)
    assert prepare(recipe, "run", storage, show_progress=False) == whole
    assert len(FeatureCache.open(storage.fetch(whole.train))) == 40
