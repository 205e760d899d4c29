"""The service: vectors and scores over HTTP, on Ray Serve or any ASGI server."""
