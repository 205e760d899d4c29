"""How texts are asked for and answered: paths, bodies, vectors. No network here."""

from __future__ import annotations

import base64
import json
from abc import ABC, abstractmethod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from loadtests.errors import ScenarioError

Vectors = NDArray[np.float32]


class Dialect(ABC):
    """JSON over HTTP POST."""

    path: str

    @abstractmethod
    def content(self, texts: list[str]) -> dict[str, Any]:
        """What the body holds."""

    @abstractmethod
    def rows(self, answer: Any) -> list[Any]:
        """The answer's vectors, one a text."""

    def body(self, texts: list[str]) -> bytes:
        """The request's body."""
        return json.dumps(self.content(texts), ensure_ascii=False).encode()

    def vectors(self, answer: bytes) -> Vectors:
        """Vectors of an answer, [texts, dimensions].

        Raises:
            ValueError: The answer is not of this dialect.
        """
        try:
            rows = self.rows(json.loads(answer))
            return np.array([_as_row(row) for row in rows], dtype=np.float32)
        except (KeyError, TypeError) as error:
            raise ValueError(f"not an answer of {self.path}: {answer[:200]!r}") from error


class OwnDialect(Dialect):
    """/v1/vectors and /v1/infer of our service."""

    def __init__(self, path: str) -> None:
        self.path = path

    def content(self, texts: list[str]) -> dict[str, Any]:
        """See Dialect."""
        return {"texts": texts, "truncate": True}

    def rows(self, answer: Any) -> list[Any]:
        """See Dialect."""
        found: list[Any] = answer["vectors"]
        return found


class OpenAiDialect(Dialect):
    """/v1/embeddings; Infinity serves it without /v1."""

    def __init__(self, path: str, model: str | None = None) -> None:
        self.path, self._model = path, model

    def content(self, texts: list[str]) -> dict[str, Any]:
        """See Dialect."""
        return {"input": texts} | ({"model": self._model} if self._model else {})

    def rows(self, answer: Any) -> list[Any]:
        """See Dialect."""
        return [item["embedding"] for item in sorted(answer["data"], key=lambda d: d["index"])]


class PlainDialect(Dialect):
    """/embed of the small peers: ``{"texts": [...]}`` to ``{"vectors": [...]}``."""

    path = "/embed"

    def content(self, texts: list[str]) -> dict[str, Any]:
        """See Dialect."""
        return {"texts": texts}

    def rows(self, answer: Any) -> list[Any]:
        """See Dialect."""
        found: list[Any] = answer["vectors"]
        return found


DIALECTS: dict[str, Dialect] = {
    "vectors": OwnDialect("/v1/vectors"),
    "infer": OwnDialect("/v1/infer"),
    "openai": OpenAiDialect("/v1/embeddings"),
    "openai-bare": OpenAiDialect("/embeddings"),
    "plain": PlainDialect(),
}


def dialect_of(name: str) -> Dialect:
    """The dialect of that name.

    Raises:
        ScenarioError: There is none.
    """
    if name not in DIALECTS:
        raise ScenarioError(f"no dialect {name}; choose one of {', '.join(DIALECTS)}")
    return DIALECTS[name]


def _as_row(row: Any) -> Any:
    return np.frombuffer(base64.b64decode(row), "<f4") if isinstance(row, str) else row
