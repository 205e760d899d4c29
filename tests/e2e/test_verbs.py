"""Every verb as a submitted job: its exit status, its log, and what it leaves in storage."""

import json
import time
from pathlib import Path

import pyarrow.parquet
import pytest

from ernie_ray.config import load_recipe
from ernie_ray.inference.predictor import Predictor
from ernie_ray.jobs import runs
from ernie_ray.jobs.labelled_rows import ROWS
from tests.tiny_models import tiny_rows

pytestmark = [pytest.mark.soak, pytest.mark.timeout(600)]

RECIPE = """
[data]
train = "rows/train.jsonl"
dev = "rows/dev.jsonl"
test = "rows/dev.jsonl"

[model]
pretrained = "encoders/tiny"
max_tokens = 32

[training]
num_epochs = 4
eval_every_steps = 5
global_batch_size = 8
learning_rate = 3e-3

[scaling]
num_workers = 2
"""


@pytest.fixture(scope="module")
def storage(tmp_path_factory, tiny_embedding_dir, tiny_model_dir):
    store = tmp_path_factory.mktemp("store")
    (store / "rows").mkdir()
    (store / "encoders").mkdir()
    (store / "encoders" / "tiny").symlink_to(tiny_embedding_dir)
    (store / "model").symlink_to(tiny_model_dir)
    for seed, (name, size) in enumerate(
        {"train": 160, "dev": 48, "more": 600, "many": 40_000}.items()
    ):
        lines = (
            json.dumps({"text": text, "label": label}, ensure_ascii=False)
            for text, label in tiny_rows(size, seed)
        )
        (store / "rows" / f"{name}.jsonl").write_text("\n".join(lines), encoding="utf-8")
    return store


@pytest.fixture(scope="module")
def working_dir(tmp_path_factory):
    folder = tmp_path_factory.mktemp("uploaded")
    (folder / "mine.toml").write_text(RECIPE)
    return folder


@pytest.fixture
def job(cluster, working_dir, storage):
    """Submit a verb under an id of its own; gives its exit status and its log as Ray keeps it."""

    def run(name: str, *words: str) -> tuple[int, str]:
        submission = ("--submission-id", name)
        done = cluster.submit(working_dir, "python", "-m", "ernie_ray", *words, options=submission)
        return done.returncode, cluster.job("logs", name).stdout

    run.storage = ("--storage", str(storage))
    return run


def test_evaluate_prints_its_metrics(job):
    status, log = job("evaluate", "evaluate", "model", "rows/dev.jsonl", *job.storage)
    assert status == 0, log
    assert "accuracy" in log


def test_predict_by_actors_and_without_leave_the_same_file(job, storage):
    for name, actors in (("alone", "0"), ("actors", "2")):
        words = ("--num-actors", actors, "--output", f"out/{name}.jsonl")
        status, log = job(name, "predict", "model", "rows/more.jsonl", *words, *job.storage)
        assert status == 0, log
    alone, actors = (
        list(map(json.loads, (storage / "out" / f"{name}.jsonl").read_text("utf-8").splitlines()))
        for name in ("alone", "actors")
    )
    assert [row["id"] for row in actors] == list(range(600))
    assert [row["label"] for row in actors] == [row["label"] for row in alone]


def test_tune_leaves_a_table_and_a_recipe_that_loads(job, storage, working_dir):
    search = '\n[search]\n"training.learning_rate" = [1e-3, 3e-3]\n[tune]\nmax_concurrent = 2\n'
    (working_dir / "search.toml").write_text(RECIPE + search)
    words = ("tune", "search.toml", "--set", "training.max_steps=10", "--output", "runs/search")
    status, log = job("tune", *words, *job.storage)
    assert status == 0, log
    table = (storage / "runs" / "search" / "trials.txt").read_text()
    assert len(table.splitlines()) == 3
    assert table in log
    best = load_recipe(str(storage / "runs" / "search" / "best.toml"))
    assert best.training.learning_rate in (1e-3, 3e-3)


def test_augmented_and_labelled_rows_teach_a_student(job, storage):
    words = ("augment", "rows/train.jsonl", "--copies", "2", "--output", "out/noisy.jsonl")
    status, log = job("augment", *words, *job.storage)
    assert status == 0, log
    words = ("label", "model", "rows/train.jsonl", "out/noisy.jsonl", "--output", "out/labelled")
    status, log = job("label", *words, "--num-actors", "2", *job.storage)
    assert status == 0, log
    assert "rows by teacher tiny" in log
    labelled = pyarrow.parquet.read_table(storage / "out" / "labelled" / ROWS)
    assert labelled["text"].to_pylist()[:160] == [text for text, _ in tiny_rows(160, 0)]
    settings = [
        f"--set={setting}"
        for setting in (
            *("data.train=out/labelled", "data.dev=rows/dev.jsonl", "data.test=rows/dev.jsonl"),
            *("student.bucket_bits=10", "student.embedding_size=8", "training.num_epochs=2"),
        )
    ]
    words = ("distill", "bow", *settings, "--output", "runs/student")
    status, log = job("distill", *words, *job.storage)
    assert status == 0, log
    answer = Predictor.from_dir(storage / "runs" / "student" / runs.MODEL).predict(["好书"])[0]
    assert answer.result["label"] in ("negative", "positive")


def test_slim_leaves_a_table_and_a_student(job, storage):
    settings = [
        f"--set={setting}"
        for setting in (
            *("teacher.model=model", "data.train=rows/train.jsonl", "data.dev=rows/dev.jsonl"),
            *("data.test=rows/dev.jsonl", "augment.num_copies=1", "label.num_actors=2"),
            *("student.bucket_bits=10", "student.embedding_size=8", "training.num_epochs=1"),
            *("report.base_encoder=false", "report.num_timed_texts=20"),
        )
    ]
    status, log = job("slim", "slim", "bow", *settings, "--output", "runs/slim", *job.storage)
    assert status == 0, log
    assert "student distilled" in log
    assert "student distilled" in (storage / "runs" / "slim" / "table.txt").read_text("utf-8")


def test_an_alias_is_promoted_and_goes_back(job, storage):
    for version in ("1", "2"):
        status, log = job(f"promote-{version}", "promote", "model", "reviews", *job.storage)
        assert status == 0, log
        assert f"reviews@production: version {version}" in log
    status, log = job(
        "refused", "promote", "model", "reviews", "--min=dev.accuracy=0.9", *job.storage
    )
    assert status == 1, log
    status, log = job("rollback", "rollback", "reviews", *job.storage)
    assert status == 0, log
    status, log = job("models", "models", *job.storage)
    assert status == 0, log
    assert "production" in log
    answer = Predictor.from_dir(storage / "models" / "reviews" / "1").predict(["好书"])[0]
    assert answer.result["label"] in ("negative", "positive")


def test_export_leaves_a_model_directory(job, storage):
    words = ("export", "--pretrained", "encoders/tiny", "models/exported")
    status, log = job("export", *words, *job.storage)
    assert status == 0, log
    assert (
        len(Predictor.from_dir(storage / "models" / "exported").predict(["好书"])[0].vector) == 32
    )


def test_env_prints_the_table(job):
    status, log = job("env", "env")
    assert status == 0
    assert "export RAY_AUTH_MODE=token" in log


def test_a_failed_job_has_a_failed_status_and_one_line_of_reason(job, cluster):
    status, log = job("fails", "predict", "nothing", "rows/dev.jsonl", *job.storage)
    assert status == 1
    assert "nothing: no such file or folder" in log
    assert "FAILED" in cluster.job("status", "fails").stdout.upper()


def test_a_stopped_labelling_goes_on_where_it_stopped(job, cluster, working_dir, storage):
    words = ("label", "model", "rows/many.jsonl", "--output", "out/stopped", *job.storage)
    options = ("--submission-id", "stopped-label", "--no-wait")
    started = cluster.submit(working_dir, "python", "-m", "ernie_ray", *words, options=options)
    assert started.returncode == 0, started.stderr

    def parts() -> dict[Path, int]:
        found = (storage / "out").glob(".stopped.parts-*/part-*.parquet")
        return {path: path.stat().st_mtime_ns for path in found}

    while not parts():
        time.sleep(0.05)
    assert cluster.job("stop", "stopped-label").returncode == 0
    assert "STOPPED" in cluster.job("status", "stopped-label").stdout.upper()
    left = parts()
    assert not (storage / "out" / "stopped").exists()
    status, log = job("label-goes-on", *words)
    assert status == 0, log
    labelled = pyarrow.parquet.read_table(storage / "out" / "stopped" / ROWS)
    assert labelled["id"].to_pylist() == list(range(40_000))
    assert left


def test_a_stopped_finetune_goes_on_where_it_stopped(job, cluster, working_dir, storage):
    words = ("finetune", "mine.toml", "--output", "runs/stopped", *job.storage)
    options = ("--submission-id", "stopped", "--no-wait")
    started = cluster.submit(working_dir, "python", "-m", "ernie_ray", *words, options=options)
    assert started.returncode == 0, started.stderr
    run = storage / "runs" / "stopped"
    while not runs.find_checkpoints(run):
        time.sleep(0.05)
    assert cluster.job("stop", "stopped").returncode == 0
    assert "STOPPED" in cluster.job("status", "stopped").stdout.upper()
    assert not (run / runs.RESULT).exists()
    reached = runs.find_checkpoints(run)[-1].step
    status, log = job("goes-on", *words)
    assert status == 0, log
    assert json.loads((run / runs.RESULT).read_text())["metrics"]["test"]
    steps = [
        line["step"]
        for line in map(json.loads, (run / runs.METRICS).read_text().splitlines())
        if "loss" in line
    ]
    assert runs.find_checkpoints(run)[-1].step == 80
    assert len(steps) == len(set(steps))
    assert reached > 0
