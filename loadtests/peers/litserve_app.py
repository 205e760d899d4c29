"""LitServe around sentence-transformers, with its batching on. Runs in a peer's environment."""

from __future__ import annotations

import sys
from itertools import pairwise
from typing import Any

import litserve
from sentence_transformers import SentenceTransformer


class Embedding(litserve.LitAPI):
    """One request is one item of LitServe's batch; its texts are joined for the forward."""

    def setup(self, device: str) -> None:
        """Load the model in the worker."""
        self.model = SentenceTransformer(sys.argv[1], device="cpu")

    def decode_request(self, request: dict[str, list[str]]) -> list[str]:
        """Texts of one request."""
        return request["texts"]

    def batch(self, inputs: list[list[str]]) -> list[list[str]]:
        """LitServe would make an array of them."""
        return inputs

    def predict(self, x: list[list[str]]) -> list[Any]:
        """Vectors of every request."""
        vectors = self.model.encode([text for texts in x for text in texts])
        ends = [0]
        for texts in x:
            ends.append(ends[-1] + len(texts))
        return [vectors[a:b] for a, b in pairwise(ends)]

    def unbatch(self, output: list[Any]) -> list[Any]:
        """One output a request."""
        return output

    def encode_response(self, output: Any) -> dict[str, Any]:
        """The reply's body."""
        return {"vectors": output.tolist()}


if __name__ == "__main__":
    api = Embedding(max_batch_size=32, batch_timeout=0.005, api_path="/embed")
    server = litserve.LitServer(api, accelerator="cpu", workers_per_device=1)
    server.run(host="127.0.0.1", port=int(sys.argv[2]), generate_client_file=False)
