"""A model in replicas of its own behind the ``Runner`` interface.

Asks cross to them through Serve, inside the Ray cluster only. Inference has no side effects, so an
ask whose replica died is sent once more.
"""

from __future__ import annotations

from typing import Any

import grpc
from ray.exceptions import RayActorError, RayError, RayTaskError
from ray.serve.exceptions import RayServeException
from ray.serve.handle import DeploymentHandle

from ernie_ray.errors import ErnieRayError, InferenceError, UnavailableError
from ernie_ray.modeldir import Manifest
from ernie_ray.serving.ask import Ask, Result

_NUM_TRIES = 2


class RemoteRunner:
    """Sends asks to a deployment."""

    def __init__(
        self, handle: DeploymentHandle[Any], manifest: Manifest, max_queue_tokens: int
    ) -> None:
        """Wrap a handle.

        Args:
            handle: Of a deployment of ``ModelReplica``.
            manifest: Of the model directory that its replicas load.
            max_queue_tokens: Bound of each replica's queue.
        """
        self._handle = handle
        self._manifest = manifest
        self._fingerprint = manifest.fingerprint  # not free to work out
        self._max_queue_tokens = max_queue_tokens

    @property
    def manifest(self) -> Manifest:
        """Task, labels, lengths and lineage."""
        return self._manifest

    @property
    def max_queue_tokens(self) -> int:
        """Tokens that may wait in one replica."""
        return self._max_queue_tokens

    async def run(self, ask: Ask) -> Result:
        """Answer an ask; see ``Runner.run``.

        Raises:
            UnavailableError: No replica could be reached, or it has another model by now.
            InferenceError: The answer did not come through.
        """
        for left in reversed(range(_NUM_TRIES)):
            try:
                answer = await self._handle.infer.remote(ask)
            except RayActorError as error:  # its replica died; another one is there or comes
                if not left:
                    raise UnavailableError(
                        "the model's replica ended while it answered; send the request again"
                    ) from error
            except grpc.aio.AioRpcError as error:  # throughput-optimised replicas answer by gRPC
                raise InferenceError(
                    f"the answer did not come through from the model's replica: {error.details()}"
                ) from error
            except RayTaskError:
                raise  # an error inside the replica: sending again would not help
            except (RayError, RayServeException) as error:
                raise UnavailableError(
                    "the model's replicas cannot be reached now; send the request again"
                ) from error
            else:
                if isinstance(answer, ErnieRayError):
                    raise answer
                return self._checked(answer)
        raise AssertionError("the last try returns or raises")

    def _checked(self, result: Result) -> Result:
        # While a deployment is updated, replicas of two models answer to one name; logits of one
        # must not be read with the labels of the other.
        if result.fingerprint != self._fingerprint:
            raise UnavailableError(
                "the model is being replaced by another version; send the request again (or deploy "
                "again, if its folder was exchanged)"
            )
        return result

    async def check(self) -> None:
        """Nothing: Serve checks the replicas themselves."""

    async def close(self) -> None:
        """Nothing: Serve ends the replicas itself."""
