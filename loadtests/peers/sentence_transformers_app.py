"""sentence-transformers behind a plain FastAPI app: the floor. Runs in a peer's environment.

A sync route: FastAPI calls it in its thread pool, one forward a request, nothing is batched.
"""

from __future__ import annotations

import sys
from typing import Any

import uvicorn
from fastapi import FastAPI
from sentence_transformers import SentenceTransformer

app = FastAPI()
model = SentenceTransformer(sys.argv[1], device="cpu")


@app.post("/embed")
def embed(body: dict[str, list[str]]) -> dict[str, Any]:
    """Vectors of texts."""
    vectors = model.encode(body["texts"], show_progress_bar=False)
    return {"vectors": vectors.tolist()}


@app.get("/health")
def health() -> dict[str, str]:
    """Answers once the model is loaded."""
    return {"status": "alive"}


if __name__ == "__main__":
    uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[2]), log_level="warning")
