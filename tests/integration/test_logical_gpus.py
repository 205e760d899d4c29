"""Where workers are put by logical GPUs, and what each is told: no card is needed for that."""

import os
from contextlib import nullcontext

import pytest
import ray
import ray.train
from ray.train import RunConfig, ScalingConfig

from ernie_ray.backend import PaddleConfig, PaddleTrainer

pytestmark = pytest.mark.usefixtures("local_ray")


class WithoutDevice(PaddleConfig):
    """Sets every variable, but does not open the card that is not there."""

    @property
    def train_func_context(self):
        return nullcontext


def write_environment(config):
    names = ("PADDLE_", "FLAGS_", "NCCL_", "CUDA_VISIBLE")
    found = {name: value for name, value in os.environ.items() if name.startswith(names)}
    ray.get(ray.get_actor(config["notes"]).add.remote({**found, "gpus": ray.get_gpu_ids()}))


@ray.remote(num_cpus=0)
class Notes:
    def __init__(self):
        self.lines = []

    def add(self, line):
        self.lines.append(line)

    def all(self):
        return self.lines


def test_each_worker_has_a_card_of_its_own_sees_all_and_speaks_nccl(tmp_path):
    notes = Notes.options(name="notes-of-logical-gpus").remote()
    PaddleTrainer(
        write_environment,
        train_loop_config={"notes": "notes-of-logical-gpus"},
        paddle_config=WithoutDevice(socket_interface="lo"),
        scaling_config=ScalingConfig(num_workers=2, use_gpu=True),
        run_config=RunConfig(name="logical", storage_path=str(tmp_path)),
    ).fit()
    first, second = sorted(ray.get(notes.all.remote()), key=lambda line: line["PADDLE_TRAINER_ID"])
    assert [first["PADDLE_TRAINER_ID"], second["PADDLE_TRAINER_ID"]] == ["0", "1"]
    assert first["gpus"] != second["gpus"]
    for line in (first, second):
        visible = line["CUDA_VISIBLE_DEVICES"].split(",")
        assert sorted(visible) == ["0", "1"]
        assert visible[int(line["FLAGS_selected_gpus"])] == str(line["gpus"][0])
        assert line["PADDLE_DISTRI_BACKEND"] == "nccl"
        assert line["NCCL_SOCKET_IFNAME"] == "lo"
        assert line["PADDLE_TRAINERS_NUM"] == "2"
    assert first["PADDLE_TRAINER_ENDPOINTS"] == second["PADDLE_TRAINER_ENDPOINTS"]
    assert first["PADDLE_CURRENT_ENDPOINT"] != second["PADDLE_CURRENT_ENDPOINT"]
    assert first["PADDLE_MASTER"] == second["PADDLE_MASTER"]
