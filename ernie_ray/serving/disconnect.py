"""Notice clients that leave while they wait, at no cost for answers that come soon.

A server tells of a client's end only to who asks; asking takes a task of its own. So nobody asks
until a request has taken a while. Knows ASGI and nothing of what is computed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from types import TracebackType
from typing import Any, Self

Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]

_PATIENCE_S = 0.05


class ClientGoneError(Exception):
    """The client left; nobody waits for the answer."""


class DisconnectWatch:
    """Cancels the task inside its block when the client leaves, and raises ClientGoneError."""

    __slots__ = ("_is_gone", "_receive", "_task", "_timer", "_watcher")

    def __init__(self, receive: Receive) -> None:
        """Watch a connection whose whole body has been read."""
        self._receive = receive
        self._is_gone = False
        self._watcher: asyncio.Task[None] | None = None

    def __enter__(self) -> Self:
        self._task = asyncio.current_task()
        self._timer = asyncio.get_running_loop().call_later(_PATIENCE_S, self._start)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._timer.cancel()
        if self._watcher is not None:
            self._watcher.cancel()
        if self._is_gone and kind is asyncio.CancelledError and self._task is not None:
            self._task.uncancel()
            raise ClientGoneError from None

    def _start(self) -> None:
        self._watcher = asyncio.get_running_loop().create_task(self._watch())

    async def _watch(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        if self._task is not None:
            self._is_gone = True
            self._task.cancel()
