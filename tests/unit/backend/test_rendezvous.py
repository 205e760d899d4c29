import pytest

from ernie_ray.backend.rendezvous import PaddleConfig, _Rendezvous, rendezvous_environment

ENDPOINTS = ("10.0.0.1:7001", "10.0.0.1:7002", "10.0.0.2:7001")


def variables(config=None, *, uses_gpu=False, gpu_index=None):
    return rendezvous_environment(
        _Rendezvous(2, ENDPOINTS, "10.0.0.1:7003", uses_gpu),
        config or PaddleConfig(),
        local_rank=0,
        gpu_index=gpu_index,
    )


def test_a_worker_learns_its_rank_and_where_the_others_are():
    found = variables()
    assert found["PADDLE_TRAINER_ID"] == found["PADDLE_GLOBAL_RANK"] == "2"
    assert found["PADDLE_TRAINERS_NUM"] == "3"
    assert found["PADDLE_TRAINER_ENDPOINTS"] == ",".join(ENDPOINTS)
    assert found["PADDLE_CURRENT_ENDPOINT"] == ENDPOINTS[2]
    assert found["PADDLE_MASTER"] == "10.0.0.1:7003"
    assert found["PADDLE_LOCAL_RANK"] == "0"


def test_workers_with_gpus_speak_nccl_and_others_gloo():
    assert variables()["PADDLE_DISTRI_BACKEND"] == "gloo"
    assert "FLAGS_selected_gpus" not in variables()
    on_gpu = variables(uses_gpu=True, gpu_index=1)
    assert on_gpu["PADDLE_DISTRI_BACKEND"] == "nccl"
    assert on_gpu["FLAGS_selected_gpus"] == "1"


@pytest.mark.parametrize("name", ["GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME"])
def test_the_network_interface_of_the_recipe_holds_for_gloo_and_nccl(name):
    assert name not in variables()
    assert variables(PaddleConfig(socket_interface="eth1"))[name] == "eth1"
