"""Before any timing: do all targets give the same vectors for the same texts?"""

from __future__ import annotations

import urllib.error
import urllib.request

import numpy as np

from loadtests import bert_serving, grpc_service
from loadtests.dialects import Vectors, dialect_of
from loadtests.errors import TargetUnavailableError
from loadtests.fleet import Address

NUM_TEXTS = 16
_TIMEOUT_S = 60.0


def vectors_of(address: Address, texts: list[str]) -> Vectors:
    """Ask a target for vectors, scaled to length 1, [texts, dimensions].

    Raises:
        TargetUnavailableError: It does not answer as its dialect says.
    """
    try:
        vectors = _ask(address, texts)
    except (OSError, ValueError) as error:
        detail = error.read()[:500] if isinstance(error, urllib.error.HTTPError) else ""
        raise TargetUnavailableError(
            f"no vectors from {address.url}: {error} {detail!r}"
        ) from error
    if vectors is None or vectors.ndim != 2 or len(vectors) != len(texts):
        raise TargetUnavailableError(f"{address.url} did not give one vector a text")
    unit: Vectors = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return unit


def least_cosine(one: Vectors, other: Vectors) -> float:
    """The smallest cosine between vectors of the same text; -1 if sizes differ."""
    if one.shape != other.shape:
        return -1.0
    return float(np.min(np.sum(one * other, axis=1)))


def _ask(address: Address, texts: list[str]) -> Vectors | None:
    if address.url.startswith("tcp://"):
        return bert_serving.ask_once(address.url, texts, _TIMEOUT_S)
    if address.url.startswith("grpc://"):
        return grpc_service.ask_once(address.url, texts, _TIMEOUT_S)
    dialect = dialect_of(address.dialect)
    request = urllib.request.Request(
        address.url + dialect.path,
        data=dialect.body(texts),
        headers={"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=_TIMEOUT_S) as reply:
        return dialect.vectors(reply.read())
