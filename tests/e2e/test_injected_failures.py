"""Failures of RPCs that Ray retries, injected into every process of a cluster: nothing shows.

Each RPC below loses one request in ten before it is sent and one reply in ten after it was handled,
at most ``_MOST`` times in each process. Why Ray repeats each of them, and may:

- RequestWorkerLease, ReturnWorkerLease: raylets keep leases by id, so a second asking gets the same
  worker and a second return finds nothing to do.
- PinObjectIDs: pinning what is pinned changes nothing.
- PrepareBundleResources, CommitBundleResources, CreatePlacementGroup: raylet and GCS keep bundles
  and groups by id, and answer for one that they have as before.
- RegisterActor, CreateActor, GetActorInfo: the GCS keeps actors by id and answers a repetition with
  what it knows.
- InternalKVPut, InternalKVGet: writes the same value, or only reads.

PushTask is left out: a repetition is a second execution of the task, for the task's own retries.
"""

import json
import re
from collections.abc import Iterator

import numpy as np
import pyarrow.parquet
import pytest

from cluster.local_cluster import Shape, local_cluster
from ernie_ray.jobs import runs
from ernie_ray.jobs.labelled_rows import ROWS
from ernie_ray.training.checkpoint import read_checkpoint
from tests.e2e.conftest import Cluster
from tests.tiny_models import tiny_rows

pytestmark = [pytest.mark.soak, pytest.mark.timeout(900)]

_MOST = 5
_ACTORS = "ray::rpc::ActorInfoGcsService.grpc_client"
_KEYS = "ray::rpc::InternalKVGcsService.grpc_client"
_GROUPS = "ray::rpc::PlacementGroupInfoGcsService.grpc_client"
RPCS = (
    "NodeManagerService.grpc_client.RequestWorkerLease",
    "NodeManagerService.grpc_client.ReturnWorkerLease",
    "NodeManagerService.grpc_client.PinObjectIDs",
    "NodeManagerService.grpc_client.PrepareBundleResources",
    "NodeManagerService.grpc_client.CommitBundleResources",
    f"{_GROUPS}.CreatePlacementGroup",
    f"{_ACTORS}.RegisterActor",
    f"{_ACTORS}.CreateActor",
    f"{_ACTORS}.GetActorInfo",
    f"{_KEYS}.InternalKVPut",
    f"{_KEYS}.InternalKVGet",
)
FAILURES = {
    rpc: {"num_failures": _MOST, "req_failure_prob": 10, "resp_failure_prob": 10} for rpc in RPCS
}

RECIPE = """
[data]
train = "rows/train.jsonl"
dev = "rows/train.jsonl"

[model]
pretrained = "encoders/tiny"
max_tokens = 32

[training]
max_steps = 20
eval_every_steps = 5
global_batch_size = 16

[scaling]
num_workers = 2
"""


@pytest.fixture(scope="module")
def failing() -> Iterator[Cluster]:
    environment = {"RAY_testing_rpc_failure": json.dumps(FAILURES)}
    with local_cluster(Shape(num_nodes=2, cpus_per_node=2, environment=environment)) as local:
        yield Cluster(local)


def test_a_fine_tuning_and_a_labelling_end_as_without_failures(
    failing, tmp_path, tiny_embedding_dir, tiny_model_dir
):
    store = tmp_path / "store"
    (store / "rows").mkdir(parents=True)
    (store / "encoders").mkdir()
    (store / "encoders" / "tiny").symlink_to(tiny_embedding_dir)
    (store / "model").symlink_to(tiny_model_dir)
    rows = [
        json.dumps({"text": text, "label": label}, ensure_ascii=False)
        for text, label in tiny_rows(3_000)
    ]
    (store / "rows" / "train.jsonl").write_text("\n".join(rows[:160]), encoding="utf-8")
    (store / "rows" / "many.jsonl").write_text("\n".join(rows), encoding="utf-8")
    uploaded = tmp_path / "uploaded"
    uploaded.mkdir()
    (uploaded / "mine.toml").write_text(RECIPE)

    def submit(*words: str) -> None:
        command = ("python", "-m", "ernie_ray", *words, "--storage", str(store))
        done = failing.submit(uploaded, *command)
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]

    for name in ("first", "second"):
        submit("finetune", "mine.toml", "--output", f"runs/{name}")
    first, second = (
        read_checkpoint(runs.find_checkpoints(store / "runs" / name)[-1].path).weights
        for name in ("first", "second")
    )
    for name, expected in first.items():
        np.testing.assert_array_equal(second[name], expected, err_msg=name)
    for name, actors in (("alone", "0"), ("actors", "2")):
        words = ("--num-actors", actors, "--output", name)
        submit("label", "model", "rows/many.jsonl", *words)
    alone, actors = (
        pyarrow.parquet.read_table(store / name / ROWS) for name in ("alone", "actors")
    )
    assert actors["id"].to_pylist() == list(range(3_000))
    assert actors["text"].equals(alone["text"])
    logits = [np.stack(one["teacher_logits"].to_numpy()) for one in (actors, alone)]
    np.testing.assert_allclose(*logits, atol=0.02)  # of engines with other numbers of threads
    logs = (path for path in failing.local.folder.glob("*/session_*/logs/*") if path.is_file())
    lost = re.compile(r"Inject RPC \w+ failure for (?:ray::rpc::)?(\w+)\.")
    services = {name for path in logs for name in lost.findall(path.read_text(errors="replace"))}
    assert "InternalKVGcsService" in services  # asked often enough to be certain; others by chance
