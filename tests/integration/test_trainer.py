"""``PaddleTrainer`` on real workers, with functions that do not train."""

from pathlib import Path

import pytest
from ray.train import FailureConfig, RunConfig, TrainingFailedError

from ernie_ray.backend import PaddleTrainer, own_error
from ernie_ray.errors import CheckpointError, ConfigError

pytestmark = pytest.mark.usefixtures("local_ray")


def fail(config):
    with Path(config["log"]).open("a", encoding="utf-8") as stream:
        stream.write("attempt\n")
    raise config["error"]


@pytest.mark.parametrize(
    ("error", "num_attempts"), [(ConfigError("wrong"), 1), (CheckpointError("disk full"), 2)]
)
def test_only_failures_that_may_not_come_again_are_tried_again(tmp_path, error, num_attempts):
    log = tmp_path / "log"
    trainer = PaddleTrainer(
        fail,
        train_loop_config={"log": str(log), "error": error},
        run_config=RunConfig(
            name="run", storage_path=str(tmp_path), failure_config=FailureConfig(max_failures=1)
        ),
    )
    with pytest.raises(TrainingFailedError) as raised:
        trainer.fit()
    assert log.read_text(encoding="utf-8") == "attempt\n" * num_attempts
    found = own_error(raised.value)
    assert type(found) is type(error)
    assert str(found) == str(error)
