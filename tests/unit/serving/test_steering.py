import asyncio

import pytest

from ernie_ray.serving.steering import SteeringHeaders, middlewares

SENT = [
    (b"host", b"a"),
    (b"x-request-timeout-seconds", b"-1"),
    (b"serve_multiplexed_model_id", b"\xff"),
    (b"x-session-id", b"\xff"),
    (b"x-request-id", b"\xff"),
    (b"x-lane", b"bulk"),
]


def seen_by_serve(scope):
    seen = []

    async def serve(scope, receive, send):
        seen.append(scope)

    (middleware,) = middlewares()
    asyncio.run(middleware.cls(serve)(scope, None, None))
    return seen[0].get("headers")


@pytest.fixture
def our_replica(monkeypatch):
    monkeypatch.setattr(SteeringHeaders, "is_on", True)


def test_serve_sees_no_header_that_steers_it(our_replica):
    seen = seen_by_serve({"type": "http", "headers": SENT})
    # The last one says that the application itself notices clients that leave.
    assert seen == [
        (b"host", b"a"),
        (b"x-lane", b"bulk"),
        (b"x-request-disconnect-disabled", b"?1"),
    ]


def test_a_plain_request_id_stays(our_replica):
    assert (b"x-request-id", b"r-1") in seen_by_serve(
        {"type": "http", "headers": [(b"x-request-id", b"r-1")]}
    )


def test_other_applications_of_the_cluster_keep_theirs():
    assert seen_by_serve({"type": "http", "headers": SENT}) == SENT
