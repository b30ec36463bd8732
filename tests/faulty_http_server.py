"""A small S3-like server on loopback that answers as badly as it is told to.

Without a script it keeps what is put, create-only where `If-None-Match: *` asks for it. Each entry of
`script` spoils one request: an `Answer`, `HANG` (no reply until the server closes), `STORE_THEN_DROP`
(kept, then the connection ends without a reply) or `DROP`.
"""

from __future__ import annotations

import hashlib
import threading
from collections import deque
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple
from urllib.parse import unquote


class Answer(NamedTuple):
    """One complete reply, whatever was asked."""

    status: int
    headers: Mapping[str, str] | None = None
    body: bytes = b""


HANG = "hang"
DROP = "drop"
STORE_THEN_DROP = "store, then drop"
CAPTIVE_PORTAL = Answer(200, {"Content-Type": "text/html"}, b"<html><h1>Welcome to Hotel WiFi</h1></html>")


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def do_PUT(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if not self._spoiled(body):
            self._put(body)

    def do_GET(self) -> None:
        if not self._spoiled(b""):
            self._get()

    do_HEAD = do_GET

    def _spoiled(self, body: bytes) -> bool:
        owner = self.server.owner
        owner.requests.append((self.command, self._key()))
        fault = owner.script.popleft() if owner.script else owner.always
        if fault is None:
            return False
        if isinstance(fault, Answer):
            self._reply(*fault)
            return True
        if fault == STORE_THEN_DROP:
            owner.objects[self._key()] = body
        if fault == HANG:
            owner.closing.wait()
        self.close_connection = True
        return True

    def _key(self) -> str:
        return unquote(self.path.partition("?")[0]).lstrip("/")

    def _put(self, body: bytes) -> None:
        objects = self.server.owner.objects
        if self.headers.get("If-None-Match") == "*" and self._key() in objects:
            self._reply(412, None, b"<Error><Code>PreconditionFailed</Code></Error>")
            return
        objects[self._key()] = body
        self._reply(200, {"ETag": f'"{hashlib.md5(body).hexdigest()}"'}, b"")

    def _get(self) -> None:
        body = self.server.owner.objects.get(self._key())
        if body is None:
            self._reply(404, None, b"<Error><Code>NoSuchKey</Code></Error>")
        else:
            etag = f'"{hashlib.md5(body).hexdigest()}"'
            self._reply(200, {"ETag": etag, "Last-Modified": "Tue, 14 Nov 2023 22:13:20 GMT"}, body)

    def _reply(self, status: int, headers: Mapping[str, str] | None, body: bytes) -> None:
        self.send_response(status)
        for name, value in {"Content-Type": "application/xml", **(headers or {})}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    owner: FaultyServer

    def handle_error(self, request: Any, client_address: Any) -> None:
        pass  # a client that hung up is what these tests are about


class FaultyServer:
    """Runs while used as a context manager; `objects` is what was kept, `requests` what was asked."""

    def __init__(self, *script: Any, always: Any = None) -> None:
        self.script: deque[Any] = deque(script)
        self.always = always
        self.objects: dict[str, bytes] = {}
        self.requests: list[tuple[str, str]] = []
        self.closing = threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> FaultyServer:
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.owner = self
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.closing.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
