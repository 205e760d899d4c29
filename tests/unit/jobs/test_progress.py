import json
import math

import pytest

from ernie_ray.jobs.progress import MetricsFile, read_metrics
from ernie_ray.jobs.storage import Storage


def line(step, **more):
    return {"step": step, "loss": 0.5} | more


@pytest.fixture
def path(tmp_path):
    return tmp_path / "metrics.jsonl"


def write(path, *lines):
    with MetricsFile(str(path), Storage()) as file:
        for one in lines:
            file.write(one)


def test_lines_are_read_back_and_no_number_stays_none(path):
    write(path, line(1), line(2, loss=math.nan), {"step": 2, "accuracy": 0.5})
    first, second, evaluation = read_metrics(path)
    assert (first, evaluation) == (line(1), {"step": 2, "accuracy": 0.5})
    assert math.isnan(second["loss"])


def test_a_resumed_run_replaces_the_lines_of_steps_that_it_repeats(path):
    write(path, line(1), line(2), {"step": 2, "accuracy": 0.5}, line(3))
    write(path, line(2, loss=0.4), line(3, loss=0.3))
    assert read_metrics(path) == [line(1), line(2, loss=0.4), line(3, loss=0.3)]


@pytest.mark.parametrize("cut", ['{"step": 3, "lo', '{"step": 3, "loss": 0.5}', "\0\0\0"])
def test_a_line_that_was_cut_off_does_not_spoil_those_after_it(path, cut):
    write(path, line(1), line(2))
    with path.open("a", encoding="utf-8") as stream:
        stream.write(cut)
    assert read_metrics(path) == [line(1), line(2)]
    write(path, line(3, loss=0.1), line(4))
    assert read_metrics(path) == [line(1), line(2), line(3, loss=0.1), line(4)]
    assert len(path.read_text(encoding="utf-8").splitlines()) == 4


def test_a_file_that_holds_glued_lines_already_is_read_without_them(path):
    path.write_text(f'{json.dumps(line(1))}\n{{"step": 2, "l{json.dumps(line(2))}\n', "utf-8")
    assert read_metrics(path) == [line(1)]
    write(path, line(2))
    assert read_metrics(path) == [line(1), line(2)]


def test_the_file_of_a_remote_run_is_there_from_the_first_evaluation(tmp_path, path):
    storage = Storage(download_dir=tmp_path / "downloads")
    with MetricsFile(f"file://{path}", storage) as file:
        file.write(line(1))
        assert not path.exists()
        file.write({"step": 1, "accuracy": 0.5})
        assert len(read_metrics(path)) == 2  # as a driver leaves it that is killed now
        file.write(line(2))
    assert len(read_metrics(path)) == 3
    with MetricsFile(f"file://{path}", storage) as file:
        file.write(line(3))
    assert [found["step"] for found in read_metrics(path)] == [1, 1, 2, 3]
