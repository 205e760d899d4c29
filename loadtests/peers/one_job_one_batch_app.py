"""One request is one batch: how bert-as-service and ERNIE Service ran their encoder.

No batching across clients; a job of more than 256 texts is cut, and small jobs (up to 16 texts)
go first, as in bert-as-service 1.10. Reads only files of a model directory: its ONNX graph and
tokenizer.json, with OpenVINO's settings of our service. Speaks bert-serving's protocol or HTTP.
"""

from __future__ import annotations

import argparse
import json
import os
import queue
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

MAX_BATCH = 256
SMALL_JOB = 16


class Encoder:
    """Texts to vectors, padded to the longest text of the batch."""

    def __init__(self, model_dir: Path, precision: str, num_threads: int) -> None:
        import openvino
        from tokenizers import Tokenizer

        manifest = json.loads((model_dir / "manifest.json").read_text())
        self._inputs = manifest["input"]
        self._tokenizer = Tokenizer.from_file(str(model_dir / "tokenizer.json"))
        self._tokenizer.enable_truncation(self._inputs["max_tokens"])
        self._tokenizer.enable_padding(pad_id=self._inputs["pad_token_id"])
        settings = {
            "INFERENCE_PRECISION_HINT": {"fp32": "f32"}.get(precision, precision),
            "INFERENCE_NUM_THREADS": num_threads,
            "NUM_STREAMS": 1,
            "PERFORMANCE_HINT": "LATENCY",
            "CPU_RUNTIME_CACHE_CAPACITY": 256,
            "ENABLE_CPU_PINNING": num_threads >= len(os.sched_getaffinity(0)),
        }
        graph = openvino.Core().read_model(str(model_dir / "graph.onnx"))
        self._compiled = openvino.Core().compile_model(graph, "CPU", settings)
        self._request = self._compiled.create_infer_request()
        self._is_normalized = manifest["vector"]["normalize"]

    def encode(self, texts: list[str]) -> NDArray[np.float32]:
        """Vectors, [texts, dimensions]."""
        parts = [self._forward(texts[i : i + MAX_BATCH]) for i in range(0, len(texts), MAX_BATCH)]
        vectors = np.concatenate(parts)
        if self._is_normalized:
            vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
        return vectors

    def _forward(self, texts: list[str]) -> NDArray[np.float32]:
        prefix = self._inputs["text_prefix"]
        rows = self._tokenizer.encode_batch([prefix + text for text in texts])
        columns = {
            "input_ids": [row.ids for row in rows],
            "token_type_ids": [row.type_ids for row in rows],
            "attention_mask": [row.attention_mask for row in rows],
        }
        arrays = {
            port.get_any_name(): np.array(
                columns[port.get_any_name()], dtype=port.get_element_type().to_dtype()
            )
            for port in self._compiled.inputs
        }
        self._request.infer(arrays, share_inputs=True)
        output = next(port for port in self._compiled.outputs if "vector" in port.get_names())
        vectors: NDArray[np.float32] = self._request.get_tensor(output).data.astype(np.float32)
        return vectors


@dataclass(order=True)
class Job:
    """One request; small ones first, then in order of arrival."""

    is_large: bool
    number: int
    texts: list[str] = field(compare=False)
    answer: Callable[[NDArray[np.float32]], None] = field(compare=False)


def work(encoder: Encoder, jobs: queue.PriorityQueue[Job]) -> None:
    """Answer one job after the other."""
    while True:
        job = jobs.get()
        job.answer(encoder.encode(job.texts))


def serve_zmq(port: int, jobs: queue.PriorityQueue[Job]) -> None:
    """bert-serving's protocol: requests at ``port``, answers at the next."""
    import zmq

    context = zmq.Context()
    requests, answers = context.socket(zmq.PULL), context.socket(zmq.PUB)
    requests.bind(f"tcp://127.0.0.1:{port}")
    answers.bind(f"tcp://127.0.0.1:{port + 1}")
    lock = threading.Lock()  # sockets belong to one thread at a time
    config = {"server_version": "1.10.0", "max_seq_len": None, "show_tokens_to_client": False}

    def reply(client: bytes, number: bytes) -> Callable[[NDArray[np.float32]], None]:
        def send(vectors: NDArray[np.float32]) -> None:
            header = {"dtype": str(vectors.dtype), "shape": vectors.shape, "tokens": ""}
            with lock:
                answers.send_multipart(
                    [client, json.dumps(header).encode(), vectors.tobytes(), number]
                )

        return send

    for order in count():
        client, payload, number, _ = requests.recv_multipart()
        if payload in (b"SHOW_CONFIG", b"SHOW_STATUS"):
            with lock:
                answers.send_multipart([client, json.dumps(config).encode(), number])
            continue
        texts = json.loads(payload)
        jobs.put(Job(len(texts) > SMALL_JOB, order, texts, reply(client, number)))


def serve_http(port: int, jobs: queue.PriorityQueue[Job]) -> None:
    """POST /embed with uvicorn, jobs answered one after the other."""
    import asyncio

    import orjson
    import uvicorn

    numbers = count()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        content: bytes = b'{"status":"alive"}'
        if scope["path"] == "/embed":
            body = b""
            while True:
                message = await receive()
                body += message.get("body", b"")
                if not message.get("more_body"):
                    break
            texts, loop = orjson.loads(body)["texts"], asyncio.get_running_loop()
            done: asyncio.Future[NDArray[np.float32]] = loop.create_future()

            def answer(vectors: NDArray[np.float32]) -> None:
                loop.call_soon_threadsafe(done.set_result, vectors)

            jobs.put(Job(len(texts) > SMALL_JOB, next(numbers), texts, answer))
            content = orjson.dumps({"vectors": await done}, option=orjson.OPT_SERIALIZE_NUMPY)
        headers = [
            (b"content-type", b"application/json"),
            (b"content-length", b"%d" % len(content)),
        ]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": content})

    uvicorn.run(app, host="127.0.0.1", port=port, log_level="warning", lifespan="off")


def fast_precision() -> str:
    """What our service chooses by itself: bf16 where the CPU computes it fast."""
    info = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    is_amd = "AuthenticAMD" in info
    return "bf16" if "amx_bf16" in info or ("avx512_bf16" in info and is_amd) else "fp32"


def main() -> None:
    """Serve until interrupted."""
    parser = argparse.ArgumentParser()
    parser.add_argument("model_dir", type=Path)
    parser.add_argument("port", type=int)
    parser.add_argument("--protocol", choices=("zmq", "http"), default="zmq")
    parser.add_argument("--precision", default=fast_precision())
    parser.add_argument("--num-threads", type=int, default=len(os.sched_getaffinity(0)))
    asked = parser.parse_args()
    jobs: queue.PriorityQueue[Job] = queue.PriorityQueue()
    encoder = Encoder(asked.model_dir, asked.precision, asked.num_threads)
    encoder.encode(["ready"])
    threading.Thread(target=work, args=(encoder, jobs), daemon=True).start()
    with suppress(KeyboardInterrupt):
        (serve_zmq if asked.protocol == "zmq" else serve_http)(asked.port, jobs)


if __name__ == "__main__":
    main()
