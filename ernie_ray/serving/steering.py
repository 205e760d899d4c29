"""Keep clients away from the headers by which Ray Serve itself is steered.

Serve reads some headers of a request before the application does: one ends the time limit, one the
watch for clients that leave, and values that are not UTF-8 make Serve fail with 500. Serve finds
``middlewares`` through ``RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH`` (`ernie-ray env`) in every
replica and proxy of the cluster, so that it must do nothing in those of other applications.
"""

from __future__ import annotations

from starlette.middleware import Middleware
from starlette.types import ASGIApp, Receive, Scope, Send

from ernie_ray.serving.request_headers import is_plain_id

_STEERING = frozenset(
    {
        b"x-request-timeout-seconds",
        b"x-request-disconnect-disabled",
        b"x-session-id",
        b"serve_multiplexed_model_id",
        b"serve-multiplexed-model-id",
    }
)
# The service watches for clients that leave itself, and only while a request takes long; Serve
# would spend two tasks on every request.
_NO_WATCH = (b"x-request-disconnect-disabled", b"?1")


class SteeringHeaders:
    """Drops them, and request ids that are not plain, before Serve sees a request.

    Attributes:
        is_on: Whether this process is a replica of ours.
    """

    is_on = False

    def __init__(self, app: ASGIApp) -> None:
        """Stand before Serve's own application."""
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hand one connection on."""
        if SteeringHeaders.is_on and scope["type"] == "http":
            kept = [
                (name, value)
                for name, value in scope["headers"]
                if name not in _STEERING and (name != b"x-request-id" or is_plain_id(value))
            ]
            scope["headers"] = [*kept, _NO_WATCH]
        await self._app(scope, receive, send)


def middlewares() -> list[Middleware]:
    """What Serve puts around its application."""
    return [Middleware(SteeringHeaders)]
