import os

import pytest

from ernie_ray.errors import ConfigError, DataError
from ernie_ray.jobs.parts import parts_folder
from ernie_ray.jobs.storage import Storage, is_submitted_job, staging_path
from tests.remote_files import OPTIONS, serve_folder, upload_interrupted_after


@pytest.fixture
def remote(tmp_path):
    """A storage at a URI; a folder of this machine stands for the bucket."""
    bucket = tmp_path / "bucket"
    bucket.mkdir()
    return Storage(f"file://{bucket}", download_dir=tmp_path / "downloads"), bucket


def folder_with(path, **files):
    path.mkdir(parents=True)
    for name, content in files.items():
        (path / name).write_text(content)
    return path


def test_without_a_root_relative_names_start_in_the_current_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert Storage().resolve("runs/a") == tmp_path / "runs/a"


def test_with_a_root_relative_names_start_there(tmp_path):
    assert Storage(str(tmp_path)).resolve("runs/a") == tmp_path / "runs/a"
    assert Storage("s3://bucket/x/").resolve("runs/a") == "s3://bucket/x/runs/a"
    assert Storage("s3://b?region=eu").resolve("runs/a") == "s3://b/runs/a?region=eu"


@pytest.mark.parametrize("storage", [Storage(), Storage("/root"), Storage("s3://b", in_job=True)])
def test_absolute_names_and_uris_stay_as_they_are(storage, tmp_path):
    assert storage.resolve(str(tmp_path)) == tmp_path
    assert storage.resolve("gs://bucket/x") == "gs://bucket/x"


def test_a_root_with_host_and_options_holds_all_files_of_a_run(tmp_path, monkeypatch):
    (tmp_path / "bucket").mkdir()
    far = serve_folder(tmp_path / "bucket", monkeypatch)
    storage = Storage(f"{far}/runs?{OPTIONS}", download_dir=tmp_path / "downloads")
    folder_with(tmp_path / "staged", one="1")
    # Jobs add names to what they are given, which may be the whole URI of a run.
    run = f"{far}/runs/a?{OPTIONS}"
    location = storage.publish(tmp_path / "staged", f"{run}/model")
    assert location == f"{far}/runs/a/model?{OPTIONS}"
    assert (tmp_path / "bucket" / "runs" / "a" / "model" / "one").read_text() == "1"
    assert storage.exists("a/model/one")
    assert storage.names_in(f"{run}/model") == ["one"]
    assert (storage.fetch("a/model") / "one").read_text() == "1"
    assert staging_path(location).name == "model"
    storage.remove(f"{run}/model")
    assert not storage.exists("a/model")


def test_parts_of_an_output_with_options_lie_beside_it():
    assert parts_folder("s3://b/x/out.jsonl?a=b", "0" * 64) == (
        "s3://b/x/.out.jsonl.parts-000000000000?a=b"
    )
    assert parts_folder("x/out.jsonl", "0" * 64) == "x/.out.jsonl.parts-000000000000"


def test_a_home_folder_is_expanded():
    assert Storage("/root").resolve("~/x").is_absolute()


def test_in_a_job_a_relative_name_needs_a_storage(tmp_path):
    with pytest.raises(ConfigError, match=r"'runs/a' is a relative path inside a submitted job"):
        Storage(in_job=True).resolve("runs/a")
    with pytest.raises(ConfigError, match="ERNIE_RAY_STORAGE"):
        Storage(in_job=True).fetch("runs/a")
    assert Storage(str(tmp_path), in_job=True).resolve("runs/a") == tmp_path / "runs/a"


def test_a_relative_root_is_refused():
    with pytest.raises(ConfigError, match="'runs' is a relative path"):
        Storage("runs")


def test_only_the_command_of_a_submitted_job_counts_as_one():
    assert is_submitted_job({"RAY_JOB_CONFIG_JSON_ENV_VAR": "{}"})
    assert not is_submitted_job({"RAY_ADDRESS": "127.0.0.1:6379", "RAY_JOB_ID": "01000000"})


def test_fetching_a_local_file_gives_its_path(tmp_path):
    (tmp_path / "a").write_text("x")
    assert Storage(str(tmp_path)).fetch("a") == tmp_path / "a"


def test_fetching_what_is_not_there_names_it(tmp_path, remote):
    with pytest.raises(DataError, match=f"^{tmp_path}/a: no such file"):
        Storage(str(tmp_path)).fetch("a")
    storage, bucket = remote
    with pytest.raises(DataError, match=f"^file://{bucket}/a: no such file"):
        storage.fetch("a")
    with pytest.raises(DataError, match=r"^what://x/a: no file system"):
        storage.fetch("what://x/a")


def test_a_remote_folder_is_downloaded_once_until_it_changes(remote):
    storage, bucket = remote
    folder_with(bucket / "model", one="1", two="2")
    first = storage.fetch("model")
    assert (first.name, sorted(p.name for p in first.iterdir())) == ("model", ["one", "two"])
    assert bucket not in first.parents
    assert storage.fetch("model") == first
    (bucket / "model" / "two").write_text("changed")
    second = storage.fetch("model")
    assert second != first
    assert (second / "two").read_text() == "changed"
    assert not list(second.parent.parent.rglob("*.partial"))


@pytest.mark.parametrize("kind", ["local", "remote"])
def test_a_place_where_no_folder_can_be_put_is_refused_beforehand(tmp_path, remote, kind):
    storage, bucket = (Storage(str(tmp_path)), tmp_path) if kind == "local" else remote
    storage.refuse_taken("absent", {"a", "b"}, last="b")
    folder_with(bucket / "empty")
    storage.refuse_taken("empty", {"a", "b"}, last="b")
    folder_with(bucket / "full", one="1")
    for name in ("full", "full/one"):
        with pytest.raises(ConfigError, match=f"{name} exists already; choose another name"):
            storage.refuse_taken(name, {"a", "b"}, last="b")


@pytest.mark.parametrize("kind", ["local", "remote"])
def test_publishing_moves_a_folder_to_its_place(tmp_path, remote, kind):
    storage = remote[0] if kind == "remote" else Storage(str(tmp_path / "bucket"))
    local = folder_with(tmp_path / "staged", manifest="m", weights="w")
    (local / "sub").mkdir()
    (local / "sub" / "deep").write_text("d")
    location = storage.publish(local, "models/a", last="manifest")
    assert location == storage.resolve("models/a")
    there = tmp_path / "bucket" / "models" / "a"
    assert (there / "manifest").read_text() == "m"
    assert (there / "sub" / "deep").read_text() == "d"
    assert not local.exists()


@pytest.mark.parametrize("kind", ["local", "remote"])
def test_publishing_replaces_a_file_and_refuses_a_full_folder(tmp_path, remote, kind):
    storage = remote[0] if kind == "remote" else Storage(str(tmp_path / "bucket"))
    for content in ("old", "new"):
        (tmp_path / "staged").write_text(content)
        storage.publish(tmp_path / "staged", "out.jsonl")
    assert (tmp_path / "bucket" / "out.jsonl").read_text() == "new"
    folder_with(tmp_path / "bucket" / "model", old="1")
    with pytest.raises(ConfigError, match="model exists already"):
        storage.publish(folder_with(tmp_path / "again", new="2"), "model")
    assert [p.name for p in (tmp_path / "bucket" / "model").iterdir()] == ["old"]


MODEL = {"graph": "g", "manifest": "m", "weights": "w"}


@pytest.mark.parametrize("num_files", range(3))
def test_the_same_call_makes_a_folder_whole_whose_upload_was_interrupted(
    remote, tmp_path, monkeypatch, num_files
):
    storage, bucket = remote
    with upload_interrupted_after(num_files, monkeypatch):
        storage.publish(folder_with(tmp_path / "first", **MODEL), "model", last="manifest")
    assert not storage.exists("model/manifest")
    storage.publish(folder_with(tmp_path / "again", **MODEL), "model", last="manifest")
    assert {p.name: p.read_text() for p in (bucket / "model").iterdir()} == MODEL
    with pytest.raises(ConfigError, match="model exists already"):
        storage.publish(folder_with(tmp_path / "third", **MODEL), "model", last="manifest")


def test_a_folder_with_files_of_others_is_no_interrupted_upload(remote, tmp_path):
    storage, bucket = remote
    folder_with(bucket / "model", weights="mine", notes="mine")
    with pytest.raises(ConfigError, match="model exists already"):
        storage.publish(folder_with(tmp_path / "model", **MODEL), "model", last="manifest")
    assert {p.name: p.read_text() for p in (bucket / "model").iterdir()} == {
        "weights": "mine",
        "notes": "mine",
    }


def test_a_file_whose_upload_was_interrupted_is_not_there(remote, tmp_path, monkeypatch):
    storage, bucket = remote
    (tmp_path / "staged").write_text("whole")
    with upload_interrupted_after(0, monkeypatch):
        storage.publish(tmp_path / "staged", "rows.parquet")
    assert not storage.exists("rows.parquet")
    storage.publish(tmp_path / "staged", "rows.parquet")
    assert [(p.name, p.read_text()) for p in bucket.iterdir()] == [("rows.parquet", "whole")]


def test_a_download_that_fails_names_its_source(remote, tmp_path):
    storage, bucket = remote
    folder_with(bucket / "model", one="1")
    (tmp_path / "downloads").write_text("in the way")
    with pytest.raises(DataError, match=f"^file://{bucket}/model: cannot be downloaded"):
        storage.fetch("model")


@pytest.mark.parametrize("kind", ["local", "remote"])
def test_exists_sees_files_and_folders(tmp_path, remote, kind):
    storage = remote[0] if kind == "remote" else Storage(str(tmp_path / "bucket"))
    folder_with(tmp_path / "bucket" / "model", one="1")
    assert [storage.exists(n) for n in ("model", "model/one", "other")] == [True, True, False]


def test_a_place_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("in the way")
    (tmp_path / "staged").write_text("x")
    with pytest.raises(DataError, match=f"^{tmp_path}/file/out: cannot be written"):
        Storage(str(tmp_path)).publish(tmp_path / "staged", "file/out")


def test_staging_is_beside_a_local_target_so_that_one_rename_ends_it(tmp_path):
    staging = staging_path(tmp_path / "runs" / "out.jsonl")
    assert staging.parent == tmp_path / "runs"
    assert staging.name.startswith(".")
    assert not staging.exists()
    assert staging_path(tmp_path / "runs" / "out.jsonl") != staging


def test_staging_for_a_uri_keeps_the_name():
    staging = staging_path("s3://bucket/out.parquet")
    assert staging.name == "out.parquet"
    os.rmdir(staging.parent)  # noqa: PTH106 - fails if staging_path wrote anything
