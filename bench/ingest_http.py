"""HTTP and WebSockets of the benchmark's exchange: threads and blocking sockets, as its few connections need."""

from __future__ import annotations

import base64
import hashlib
import json
import socket
import struct
import threading
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

if TYPE_CHECKING:
    from bench.ingest_exchange import Exchange

_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_TEXT, _CLOSE, _PING, _PONG = 0x1, 0x8, 0x9, 0xA


class Connection:
    """A WebSocket, and which streams it subscribed to."""

    def __init__(self, sock: socket.socket, combined: bool) -> None:
        self._socket = sock
        self._combined = combined
        self._lock = threading.Lock()

    def send(self, payload: bytes, opcode: int = _TEXT) -> None:
        """Send a message, in one write."""
        size = len(payload)
        head = struct.pack("!BB", 0x80 | opcode, size) if size < 126 else struct.pack("!BBH", 0x80 | opcode, 126, size)
        with self._lock, suppress(OSError):  # whose reader notices
            self._socket.sendall(head + payload)

    def publish(self, stream: str, event: str) -> None:
        self.send((f'{{"stream":"{stream}","data":{event}}}' if self._combined else event).encode())


class Server(ThreadingHTTPServer):
    daemon_threads = True
    exchange: Exchange

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: clients are stopped in the middle."""


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: Server

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        if self.headers.get("Upgrade", "").lower() == "websocket":
            return self._listen(parts.path, parse_qs(parts.query).get("streams", [""])[0])
        body = self.server.exchange.answer(parts.path, parse_qs(parts.query)).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
        return None

    def _listen(self, path: str, streams: str) -> None:
        self.close_connection = True
        accepted = base64.b64encode(hashlib.sha1(self.headers["Sec-WebSocket-Key"].encode() + _GUID).digest()).decode()
        self.send_response(101)
        for name, value in {"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Accept": accepted}.items():
            self.send_header(name, value)
        self.end_headers()
        connection = Connection(self.connection, combined="/ws" not in path)
        exchange = self.server.exchange
        exchange.subscribe(connection, [name for name in streams.split("/") if name])
        try:
            while (message := self._read()) is not None:
                opcode, payload = message
                if opcode == _PING:
                    connection.send(payload, _PONG)
                elif opcode == _TEXT:
                    request = json.loads(payload)
                    if request["method"] == "SUBSCRIBE":
                        exchange.subscribe(connection, request["params"])
                    connection.send(json.dumps({"result": None, "id": request["id"]}).encode())
        finally:
            exchange.forget(connection)

    def _read(self) -> tuple[int, bytes] | None:
        """Read a frame of the client; None at the end."""
        try:
            first, second = self.rfile.read(2)
            size = second & 0x7F
            if size > 125:
                size = int.from_bytes(self.rfile.read(2 if size == 126 else 8))
            mask = self.rfile.read(4)
            data = bytes(byte ^ mask[place % 4] for place, byte in enumerate(self.rfile.read(size)))
        except (OSError, ValueError):
            return None
        return None if first & 0xF == _CLOSE else (first & 0xF, data)
