"""A search over a tiny recipe: real trials on Ray Tune, each with a Ray Train run of its own."""

import json
import threading
import time

import pytest

from ernie_ray.config import SearchRecipe, load_recipe
from ernie_ray.errors import ConfigError
from ernie_ray.jobs import runs
from ernie_ray.jobs.progress import read_metrics
from ernie_ray.jobs.storage import Storage
from ernie_ray.jobs.trials import TRIALS
from ernie_ray.jobs.tune import tune
from tests.cluster_cpus import wait_for_all_cpus
from tests.descendants import kill_descendant
from tests.tiny_models import tiny_rows

pytestmark = pytest.mark.usefixtures("local_ray")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("search")
    for seed, (name, size) in enumerate({"train": 160, "dev": 60}.items()):
        lines = (
            json.dumps({"text": text, "label": label}) for text, label in tiny_rows(size, seed)
        )
        (folder / f"{name}.jsonl").write_text("\n".join(lines))
    return folder


@pytest.fixture
def search(folder, tiny_embedding_dir):
    """Run the tiny search with changes of its table [tune]."""

    def run(output: str, num_epochs: int = 2, **changes):
        recipe = SearchRecipe.model_validate(
            {
                "data": {"train": "train.jsonl", "dev": "dev.jsonl"},
                "model": {"pretrained": str(tiny_embedding_dir), "max_tokens": 32},
                "training": {
                    "global_batch_size": 16,
                    "num_epochs": num_epochs,
                    "dropout": 0.0,
                    "eval_every_steps": 10,
                },
                "search": {"training.learning_rate": [3e-3, 4e-3]},
                "scaling": {"cpus_per_worker": 1},
                "tune": {"grace_steps": 10, **changes},
            }
        )
        return tune(recipe, output, storage=Storage(str(folder)), show_progress=False)

    return run


def records(folder, output):
    return json.loads((folder / output / TRIALS).read_text())


def test_a_search_goes_on_stops_what_falls_behind_and_writes_the_best_recipe(search, folder):
    search("found", num_trials=1)
    (before,) = records(folder, "found")
    assert before["state"] == "finished"
    assert [e["step"] for e in before["evaluations"]] == [10, 20]
    assert len(list((folder / "found" / "features").iterdir())) == 2  # train and dev

    # As a search leaves it that was killed when its first trial had been measured once, and its
    # second measurement was known to its checkpoint only.
    broken = before | {"state": "running", "evaluations": [{"step": 10, "value": 0.99}]}
    (folder / "found" / TRIALS).write_text(json.dumps([broken]))
    log = folder / "found" / "trials" / "000" / runs.METRICS
    *lines, measured_last = log.read_text().splitlines(keepends=True)
    log.write_text("".join(lines))
    result = search("found", num_trials=2)
    first, second = records(folder, "found")
    assert first["state"] == "finished"
    assert first["evaluations"] == [*broken["evaluations"], before["evaluations"][1]]
    logged = read_metrics(log)
    assert logged[-1] == json.loads(measured_last)
    assert [line["step"] for line in logged if "loss" in line] == [10, 20]  # nothing twice
    assert second["state"] == "stopped"
    assert [e["step"] for e in second["evaluations"]] == [10]
    assert first["values"] != second["values"]
    assert len(list((folder / "found" / "features").iterdir())) == 2  # shared

    assert [line.split()[0] for line in result.table.splitlines()] == ["trial", "000", "001"]
    assert (folder / "found" / "trials.txt").read_text() == result.table + "\n"
    assert result.best.number == 0
    best = load_recipe(str(result.recipe))
    assert best.training.learning_rate == first["values"]["training.learning_rate"]
    claimed = json.loads((result.run / runs.RECIPE).read_text())
    assert best.model_dump(mode="json") == claimed  # so that `finetune` goes on in its folder
    for trial in (folder / "found" / "trials").iterdir():
        facts = json.loads((trial / runs.FACTS).read_text())
        assert facts["rows"]["train"]["num_rows"] == 160
        page = (trial / runs.REPORT).read_text(encoding="utf-8")
        assert facts["versions"]["ray"] in page
        assert "<svg" in page
    assert not list((folder / "found").glob(".tune-*"))
    wait_for_all_cpus()  # of the stopped trial's workers

    with pytest.raises(ConfigError, match=r"another tune\.seed"):
        search("found", num_trials=2, seed=1)


def test_a_trial_whose_process_is_killed_is_taken_up_and_leaves_nothing_behind(search, folder):
    board, killed = folder / "killed" / TRIALS, []

    def kill_once_it_trains():
        while not board.exists() or not records(folder, "killed")[0]["evaluations"]:
            time.sleep(0.02)
        killed.append(kill_descendant(b"ray::ImplicitFunc"))

    killer = threading.Thread(target=kill_once_it_trains, daemon=True)
    killer.start()
    search("killed", num_epochs=30, num_trials=1)
    killer.join(timeout=10)
    assert killed
    assert killed[0]
    (trial,) = records(folder, "killed")
    assert trial["state"] == "finished"
    assert [e["step"] for e in trial["evaluations"]] == list(range(10, 310, 10))
    wait_for_all_cpus()  # of the training that the killed process began


def test_a_setting_that_no_trial_began_with_can_be_mended_in_the_same_folder(search, folder):
    for wrong in ("accuracy_of_none", "no_metric"):
        with pytest.raises(ConfigError, match=wrong):
            search("mended", num_trials=1, metric=wrong)
    assert json.loads((folder / "mended" / runs.RECIPE).read_text())["tune"]["metric"] == wrong
