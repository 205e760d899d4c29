"""A small HTTP server that answers /embed with vectors, and can be told to stall."""

import json
import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class FakeServer(ThreadingHTTPServer):
    """Vectors depend on the text only.

    Attributes:
        stall: Held while the server must not answer.
        status: What requests are answered with.
        direction: Added to every vector's first number.
    """

    daemon_threads = True
    request_queue_size = 1024

    def __init__(self):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.stall = threading.Lock()
        self.status = 200
        self.direction = 0.0
        self.seen = []

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}/embed"

    def stall_for(self, seconds, *, after):
        """Answer nothing for some time, once, soon."""

        def hold():
            time.sleep(after)
            with self.stall:
                time.sleep(seconds)

        threading.Thread(target=hold, daemon=True).start()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # one packet an answer: two would wait for each other
    disable_nagle_algorithm = True

    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        with self.server.stall:
            pass
        texts = json.loads(body)["texts"]
        self.server.seen.append(len(texts))
        first = self.server.direction
        vectors = [[first + len(text), text.count("e") + 1.0, 2.0] for text in texts]
        answer = json.dumps({"vectors": vectors}).encode()
        self.send_response(self.server.status)
        self.send_header("content-length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_):
        pass


@contextmanager
def fake_server():
    """A running server."""
    server = FakeServer()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
