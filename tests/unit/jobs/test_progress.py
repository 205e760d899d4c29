import json
import math
import time

import pytest

from ernie_ray.errors import DataError, DivergenceError
from ernie_ray.jobs import progress
from ernie_ray.jobs.progress import MetricsFile, read_metrics, watch
from ernie_ray.jobs.storage import Storage
from tests.full_disk import files_up_to


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


def test_evaluations_that_a_killed_driver_did_not_write_are_regained_each_once(path):
    known = [{"step": step, "accuracy": step / 10} for step in (2, 4, 6)]
    write(path, line(1), line(2), known[0], line(3))
    for missing in ([known[1], known[2]], []):
        with MetricsFile(str(path), Storage()) as file:
            assert file.regain(known) == missing
    write(path, line(7))
    assert read_metrics(path) == [line(1), line(2), known[0], line(3), known[1], known[2], line(7)]


def test_what_a_remote_run_regained_is_there_before_anyone_is_told(tmp_path, path):
    storage = Storage(download_dir=tmp_path / "downloads")
    with MetricsFile(f"file://{path}", storage) as file:
        file.regain([{"step": 2, "accuracy": 0.5}])
        assert read_metrics(path) == [{"step": 2, "accuracy": 0.5}]


def test_a_step_that_is_measured_again_has_one_evaluation(path):
    first, again = {"step": 2, "accuracy": 0.5}, {"step": 2, "accuracy": 0.6}
    write(path, line(1), first)
    write(path, again, line(3))
    assert read_metrics(path) == [line(1), again, line(3)]
    write(path, line(4), {"step": 4, "accuracy": 0.7})
    write(path, {"step": 4, "accuracy": 0.8})
    assert read_metrics(path) == [line(1), again, line(3), line(4), {"step": 4, "accuracy": 0.8}]


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


class Log:
    """Stands for the buffer that workers fill."""

    def __init__(self):
        self._lines = []

    def take(self):
        lines, self._lines = self._lines, []
        return lines

    def __call__(self, *lines):
        """Log lines, and wait until they were taken and a second round went by."""
        self._lines = list(lines)
        deadline = time.monotonic() + 30
        while self._lines and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(0.1)


@pytest.fixture
def log(monkeypatch):
    monkeypatch.setattr(progress, "_POLL_INTERVAL_S", 0.01)
    return Log()


@pytest.fixture
def path_in_folder(tmp_path):
    (tmp_path / "run").mkdir()
    return tmp_path / "run" / "metrics.jsonl"


def logged(step):
    return line(step, num_steps=3, rows_per_s=1.0)


def test_a_line_that_found_no_room_is_written_once_there_is_some(path):
    with MetricsFile(str(path), Storage()) as file:
        file.write(line(1))
        with files_up_to(path.stat().st_size + 5), pytest.raises(OSError, match="too large"):
            file.write(line(2))
        assert read_metrics(path) == [line(1)]
        file.write(line(2))
        file.write(line(3))
    assert read_metrics(path) == [line(1), line(2), line(3)]
    assert [other.name for other in path.parent.iterdir()] == [path.name]


def test_a_moment_without_a_disk_costs_no_line_and_each_is_passed_on_once(path_in_folder, log):
    path = path_in_folder
    evaluation = {"step": 2, "accuracy": 0.5}
    passed = []
    with (
        MetricsFile(str(path), Storage()) as file,
        watch(log.take, file, show_progress=False, on_line=passed.append),
    ):
        log(logged(1))
        path.parent.rename(path.parent.with_name("away"))
        log(logged(2), evaluation)
        assert passed == [logged(1)]
        path.parent.with_name("away").rename(path.parent)
        log(logged(3))
    assert read_metrics(path) == [logged(1), logged(2), evaluation, logged(3)]
    assert passed == read_metrics(path)


def lose_lines(path, log, then=None):
    """Log lines whose file has lost its folder; then, perhaps, end as training does that fails."""
    file = MetricsFile(str(path), Storage())
    with watch(log.take, file, show_progress=False):
        path.parent.rmdir()
        log(logged(1), logged(2))
        if then is not None:
            raise then


def test_lines_that_are_not_written_at_the_end_are_an_error_that_counts_them(path_in_folder, log):
    with pytest.raises(DataError, match=r"jsonl: cannot be written: 2 lines .*No such file"):
        lose_lines(path_in_folder, log)


def test_what_ended_the_training_is_told_and_not_the_lines_that_it_left(path_in_folder, log):
    with pytest.raises(DivergenceError):
        lose_lines(path_in_folder, log, then=DivergenceError("the loss is no number"))
