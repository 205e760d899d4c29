import pytest

from ernie_ray.jobs.storage import Storage
from ernie_ray.jobs.worker_inputs import start_folder
from tests.remote_files import upload_interrupted_after

FILES = ["start.json", "tokenizer.json", "weights.safetensors"]


def write(folder):
    for name in FILES:
        (folder / name).write_text(name)


@pytest.mark.parametrize("num_files", range(3))
def test_a_start_folder_whose_upload_was_interrupted_is_written_whole_by_the_same_call(
    tmp_path, monkeypatch, num_files
):
    storage = Storage(f"file://{tmp_path}/bucket", download_dir=tmp_path / "downloads")
    with upload_interrupted_after(num_files, monkeypatch):
        start_folder("run", storage, write)
    assert start_folder("run", storage, write) == f"file://{tmp_path}/bucket/run/start"
    start = tmp_path / "bucket" / "run" / "start"
    assert sorted(path.name for path in start.iterdir()) == FILES
    assert all(path.read_text() == path.name for path in start.iterdir())


@pytest.mark.parametrize("root", ["file://{}/bucket", "{}/bucket"])
def test_a_whole_start_folder_is_not_written_again(tmp_path, root):
    storage = Storage(root.format(tmp_path), download_dir=tmp_path / "downloads")
    start_folder("run", storage, write)
    start_folder("run", storage, lambda _: pytest.fail("it was written again"))
