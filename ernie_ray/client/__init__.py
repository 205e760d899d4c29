"""A small typed client of the service: sync and async, without Ray, Paddle or numpy.

    from ernie_ray.client import Client

    with Client("http://127.0.0.1:8000") as client:
        answer = client.infer(["好书", "差"])
        print(answer.vectors[0][:3], answer.scores[0]["label"])

Connections are pooled. What may be sent again is sent again: 429 and 503 after the time that the
service names, HAProxy's own 500, and requests whose connection broke; inference has no side
effects.
"""

from ernie_ray.client.answers import Answer, ApiError, ModelInfo
from ernie_ray.client.clients import AsyncClient, Client, VectorOptions
from ernie_ray.client.retries import Retries

__all__ = ["Answer", "ApiError", "AsyncClient", "Client", "ModelInfo", "Retries", "VectorOptions"]
