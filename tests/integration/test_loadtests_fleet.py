"""Real generator processes with Locust against a real server that misbehaves on purpose."""

import os
import time
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest

from ernie_ray.serving.proto import text_service_pb2 as pb
from ernie_ray.serving.proto import text_service_pb2_grpc as pb_grpc
from loadtests.fleet import Address, Fleet
from loadtests.processes import behind_port
from loadtests.scenario import Lane, Phase, Scenario
from tests.fake_embedding_server import fake_server

pytestmark = pytest.mark.timeout(120)


@pytest.fixture
def server():
    with fake_server() as server:
        yield server


def scenario(*phases, texts_per_request=1, timeout_s=10.0):
    lanes = (
        Lane(name="open", timeout_s=timeout_s, texts_per_request=texts_per_request),
        Lane(name="even", arrivals="constant"),
        Lane(name="closed", arrivals="closed", timeout_s=timeout_s),
    )
    return Scenario(name="test", description="-", lanes=lanes, phases=phases, texts="both")


def run(server, phase, *, processes=1, stall_s=0.0, **options):
    """Run one phase; the server stalls one second after the start."""
    one = scenario(phase, **options)
    address = Address(f"http://127.0.0.1:{server.server_port}", "plain")
    with Fleet(address, one, processes=processes) as fleet:
        if stall_s:
            server.stall_for(stall_s, after=1.7)  # phases start 0.7 s after the call
        (step,) = one.steps()
        return fleet.run(step, pids=lambda: behind_port(server.server_port), seed="test")


def test_a_stall_of_the_server_is_seen_whole_in_open_loop_latencies(server):
    stall_s = 1.5
    result = run(server, Phase(levels={"open": 40}, seconds=4), stall_s=stall_s)
    (lane,) = result.lanes
    # Those to be sent during the stall wait for what is left of it: 1.5 s at most.
    assert 0.85 * stall_s < lane.p99_ms / 1e3 <= lane.max_ms / 1e3 < stall_s + 1.5
    # 1.5 s of 4 s: a quarter of all requests waited for longer than 0.4 s.
    assert lane.p95_ms > 800
    assert lane.errors == {}


def test_a_closed_loop_would_have_hidden_the_stall(server):
    """Why latency is reported from open loops: waiting clients send nothing during the stall."""
    result = run(server, Phase(levels={"closed": 1}, seconds=4), stall_s=1.5)
    (lane,) = result.lanes
    assert lane.max_ms > 1200
    assert lane.p95_ms < 400


def test_closed_loop_clients_have_at_most_one_request_each_in_flight(server):
    result = run(server, Phase(levels={"closed": 3}, seconds=1.5), processes=2)
    (lane,) = result.lanes
    assert lane.qps > 20
    # Little's law: waiting clients = rate x time.
    assert lane.qps * lane.p50_ms / 1e3 < 3.5


def test_processes_share_the_rate_and_every_request_is_counted_once(server):
    result = run(server, Phase(levels={"even": 30}, seconds=2), processes=3)
    (lane,) = result.lanes
    assert lane.sent == 60
    assert sum(server.seen) == 60


def test_requests_carry_as_many_texts_as_the_lane_says(server):
    result = run(server, Phase(levels={"open": 10}, seconds=2), texts_per_request=7)
    (lane,) = result.lanes
    assert set(server.seen) == {7}
    assert lane.texts_per_s == pytest.approx(7 * lane.qps)


def test_refusals_are_errors_by_kind_and_no_latencies(server):
    server.status = 429
    (lane,) = run(server, Phase(levels={"open": 20}, seconds=2)).lanes
    assert lane.errors == {"status 429": lane.sent}
    assert (lane.qps, lane.p99_ms, lane.error_fraction) == (0, None, 1.0)


def test_timeouts_count_as_errors_and_with_the_time_waited(server):
    phase = Phase(levels={"open": 20}, seconds=3)
    (lane,) = run(server, phase, stall_s=2.5, timeout_s=0.5).lanes
    assert set(lane.errors) == {"timeout"}
    assert lane.p99_ms > 450


def test_a_server_that_is_not_there_gives_errors_that_say_so(server):
    one = scenario(Phase(levels={"open": 10, "closed": 1}, seconds=1))
    with Fleet(Address("http://127.0.0.1:9", "plain"), one, processes=1) as fleet:
        result = fleet.run(one.steps()[0], pids=set, seed="test")
    assert [set(lane.errors) for lane in result.lanes] == [{"connection refused"}] * 2
    assert result.server_cpu_s is None


def test_cpu_seconds_of_server_and_generator_stand_beside_the_rate(server):
    result = run(server, Phase(levels={"even": 60}, seconds=2))
    assert os.getpid() in behind_port(server.server_port)
    assert 0 < result.server_cpu_s < 2 * 2 * os.cpu_count()
    assert 0 < result.generator_cpu_s < 4
    assert result.cpu_s_per_1000_texts == pytest.approx(result.server_cpu_s / 0.12, rel=0.2)


def test_a_saturated_generator_is_reported(server):
    # No Python process sends 30,000 requests a second.
    result = run(server, Phase(levels={"open": 30_000}, seconds=0.3), timeout_s=2.0)
    assert any("generator" in text and "late" in text for text in result.warnings)


def test_a_generator_with_little_to_do_is_not_reported(server):
    result = run(server, Phase(levels={"closed": 1}, seconds=1.5))
    assert result.warnings == []


@pytest.fixture
def grpc_url():
    """A gRPC server that stalls for requests of 3 texts, and refuses those of 5."""
    with ThreadPoolExecutor(32) as pool:
        server = grpc.server(pool)
        pb_grpc.add_TextServiceServicer_to_server(FakeTextService(), server)
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        yield f"grpc://127.0.0.1:{port}"
        server.stop(None).wait()


class FakeTextService(pb_grpc.TextServiceServicer):
    """Answers each text with its length; STALL_S of nothing start 0.5 s after a stall's first."""

    STALL_S = 1.5

    def __init__(self):
        self.stalled = None

    def Infer(self, request, context):
        if len(request.texts) == 3:
            now_s = time.monotonic()
            start_s, end_s = self.stalled = self.stalled or (
                now_s + 0.5,
                now_s + 0.5 + self.STALL_S,
            )
            time.sleep(end_s - now_s if start_s < now_s < end_s else 0)
        if len(request.texts) == 5:
            context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "full")
        lengths = [pb.Vector(values=[len(one.text), 1.0]) for one in request.texts]
        return pb.InferReply(answers=[pb.Answer(vector=vector) for vector in lengths])


def test_grpc_calls_are_measured_as_requests_over_http_are(grpc_url):
    lanes = (
        Lane(name="open"),
        Lane(name="closed", arrivals="closed"),
        Lane(name="stalled", texts_per_request=3),
        Lane(name="late", texts_per_request=3, timeout_s=0.4),
        Lane(name="refused", texts_per_request=5),
    )
    levels = {"open": 20, "closed": 2, "stalled": 15, "late": 15, "refused": 10}
    one = Scenario(
        name="test", description="-", lanes=lanes, phases=(Phase(levels=levels, seconds=3),)
    )
    with Fleet(Address(grpc_url, "grpc"), one, processes=1) as fleet:
        found = fleet.run(one.steps()[0], pids=set, seed="test").lanes
    opened, closed, stalled, late, refused = found
    assert opened.errors == closed.errors == stalled.errors == {}
    assert opened.answered_fraction > 0.9
    assert closed.qps * closed.p50_ms / 1e3 < 2.5
    assert 0.85 * FakeTextService.STALL_S < stalled.p99_ms / 1e3 < FakeTextService.STALL_S + 1.5
    assert set(late.errors) == {"timeout"}
    assert late.p99_ms > 350
    assert refused.errors == {"status RESOURCE_EXHAUSTED": refused.sent}
