"""Cross-origin requests: which web pages may ask. None, unless the service names them."""

from __future__ import annotations

from collections.abc import Iterable

from ernie_ray.serving.reply import Header, Reply

_MAX_AGE_S = 600


class Cors:
    """The web origins whose pages may read replies."""

    def __init__(self, origins: Iterable[str]) -> None:
        """Allow some origins, such as ``https://example.org``; ``*`` allows every one."""
        self._origins = frozenset(origin.encode() for origin in origins)

    def __bool__(self) -> bool:
        return bool(self._origins)

    def headers(self, origin: bytes | None) -> list[Header]:
        """Headers that let the page of this origin read the reply."""
        if not self._origins or origin is None:
            return []
        if origin not in self._origins and b"*" not in self._origins:
            return []
        return [
            (b"access-control-allow-origin", origin),
            (b"access-control-expose-headers", b"retry-after, x-request-id"),
            (b"vary", b"origin"),
        ]

    def preflight(self, origin: bytes | None, method: str) -> Reply:
        """Answer a browser's question before it sends a request."""
        if not self.headers(origin):
            return Reply(403, b"", (), "origin_refused")
        return Reply(
            204,
            b"",
            (
                (b"access-control-allow-methods", method.encode()),
                (
                    b"access-control-allow-headers",
                    b"authorization, content-type, x-api-key, x-lane, x-request-id, "
                    b"x-request-timeout-ms",
                ),
                (b"access-control-max-age", b"%d" % _MAX_AGE_S),
            ),
        )
