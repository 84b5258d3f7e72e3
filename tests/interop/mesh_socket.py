"""A WebSocket client with control over every frame, for judging a server from outside.

Receiving goes through the parser of the `websockets` package (its sans-I/O layer), so a frame that the broker writes
wrongly is found by foreign code. Sending can bypass it: raw bytes, fragments, wrong opcodes, missing masks.
One reader thread per socket stores what arrives; the test thread waits with deadlines and never sleeps blindly.
"""

import json
import socket
import threading
import time

from websockets.client import ClientConnection
from websockets.connection import State
from websockets.extensions.permessage_deflate import ClientPerMessageDeflateFactory
from websockets.frames import Frame, Opcode
from websockets.http11 import Response
from websockets.uri import parse_uri

DEFAULT_TIMEOUT_S = 30.0  # generous: reached only by a failing test
NO_CLOSE_FRAME = 1006


class HandshakeRefused(Exception):
    """The server did not answer 101. `status` is None when it closed the connection without any HTTP answer."""

    def __init__(self, status, raw):
        super().__init__(f"no upgrade: status {status}, {len(raw)} bytes received: {raw[:120]!r}")
        self.status = status
        self.raw = raw


class WaitTimeout(AssertionError):
    """What a test waited for did not arrive in time."""


def build_frame(opcode, payload, fin=True, mask=True):
    """The bytes of one frame with a random mask; raw_frame makes what the library refuses to write."""
    return Frame(Opcode(opcode), payload, fin=fin).serialize(mask=mask)


def raw_frame(first_byte, payload, mask_bit=0x80):
    """A frame with a free first byte (FIN, RSV, opcode): even opcodes and bits that no library would write."""
    size = len(payload)
    if size < 126:
        header = bytes([first_byte, mask_bit | size])
    elif size < 65536:
        header = bytes([first_byte, mask_bit | 126]) + size.to_bytes(2, "big")
    else:
        header = bytes([first_byte, mask_bit | 127]) + size.to_bytes(8, "big")
    # A mask of four zero bytes leaves the payload as it is.
    return header + (b"\0\0\0\0" if mask_bit else b"") + payload


class MeshSocket:
    """One connection. All waiting methods may be called from the test thread only."""

    def __init__(self, host, port, path="/ws", offer_deflate=False, auto_pong=True, timeout_s=DEFAULT_TIMEOUT_S):
        extensions = [ClientPerMessageDeflateFactory()] if offer_deflate else None
        self.auto_pong = auto_pong
        self.frames = []
        self.pings = []
        self.pongs = []
        self.violations = []
        self.response = None
        self._lock = threading.Condition()
        self._closed = False
        self._eof = False
        self._raw = b""
        self._parts = None
        self._connection = ClientConnection(parse_uri(f"ws://{host}:{port}{path}"), extensions=extensions,
                                            max_size=2**24)
        self._socket = socket.create_connection((host, port), timeout=timeout_s)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._connection.send_request(self._connection.connect())
        self._flush()
        self._handshake(timeout_s)
        self._socket.settimeout(None)
        self._reader = threading.Thread(target=self._read_loop, daemon=True)
        self._reader.start()

    # --- sending ---

    def send_json(self, value):
        self.send_text(json.dumps(value, ensure_ascii=False))

    def send_text(self, text):
        self.send_raw(build_frame(Opcode.TEXT, text.encode("utf-8", "surrogatepass")))

    def send_binary(self, data):
        self.send_raw(build_frame(Opcode.BINARY, data))

    def send_ping(self, data=b""):
        self.send_raw(build_frame(Opcode.PING, data))

    def send_fragments(self, parts, opcode=Opcode.TEXT, between=b""):
        """One message in len(parts) frames; `between` are raw bytes put after every frame but the last."""
        data = b""
        for index, part in enumerate(parts):
            last = index == len(parts) - 1
            data += build_frame(opcode if index == 0 else Opcode.CONT, part, fin=last)
            data += b"" if last else between
        self.send_raw(data)

    def send_raw(self, data):
        """Writes bytes as they are, in one call, so that several frames travel in one segment."""
        try:
            self._socket.sendall(data)
        except OSError:
            with self._lock:
                if not self._closed:
                    self._lock.wait_for(lambda: self._closed, timeout=DEFAULT_TIMEOUT_S)

    def send_close(self, code=1000, reason=""):
        """Begins the closing handshake; later frames of the server are still read until its close frame."""
        with self._lock:
            if self._connection.state is State.OPEN:
                self._connection.send_close(code, reason)
        self._flush()

    def close_payload(self, code=1000, reason=""):
        """A close frame as raw bytes, to be put behind other frames in one segment."""
        return build_frame(Opcode.CLOSE, code.to_bytes(2, "big") + reason.encode("utf-8"))

    def drop(self):
        """Cuts the TCP connection without a close frame, like a lost network."""
        try:
            self._socket.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self.wait_closed()

    def close(self):
        """Closes politely and waits shortly; never raises, so that cleanups may call it twice."""
        try:
            self.send_close()
            self.wait_closed(2.0)
        except (WaitTimeout, OSError):
            pass
        self._socket.close()

    # --- receiving ---

    def wait_for(self, accept, timeout_s=DEFAULT_TIMEOUT_S, what="a frame"):
        """Removes and returns the first stored frame (a dict) that `accept` takes; later arrivals count too."""
        deadline = time.monotonic() + timeout_s
        with self._lock:
            while True:
                for index, frame in enumerate(self.frames):
                    if accept(frame):
                        return self.frames.pop(index)
                left = deadline - time.monotonic()
                if left <= 0 or self._closed:
                    state = f"socket closed: {self.close_info}" if self._closed else f"within {timeout_s} s"
                    raise WaitTimeout(f"{what} did not arrive ({state}); other frames: {json.dumps(self.frames)[:900]}")
                self._lock.wait(left)

    def take(self, accept=lambda frame: True):
        """Removes and returns all stored frames that `accept` takes, without waiting."""
        with self._lock:
            taken = [frame for frame in self.frames if accept(frame)]
            self.frames = [frame for frame in self.frames if not accept(frame)]
            return taken

    def wait_pong(self, payload, timeout_s=DEFAULT_TIMEOUT_S):
        self._wait(lambda: payload in self.pongs, timeout_s, f"pong {payload!r}")

    def wait_ping(self, timeout_s=DEFAULT_TIMEOUT_S):
        self._wait(lambda: self.pings, timeout_s, "a ping")
        return self.pings[0]

    def wait_closed(self, timeout_s=DEFAULT_TIMEOUT_S):
        """(code, reason) of the server's close frame, or (1006, "") when TCP ended without one."""
        self._wait(lambda: self._closed, timeout_s, "the end of the connection")
        return self.close_info

    def wait_tcp_end(self, timeout_s=DEFAULT_TIMEOUT_S):
        """Waits until the server has closed TCP too; a server closes first after the closing handshake."""
        self._wait(lambda: self._eof, timeout_s, "the end of the TCP connection")

    @property
    def is_open(self):
        return not self._closed

    @property
    def close_info(self):
        received = self._connection.close_rcvd
        return (NO_CLOSE_FRAME, "") if received is None else (int(received.code), received.reason)

    # --- inside ---

    def _wait(self, condition, timeout_s, what):
        with self._lock:
            if not self._lock.wait_for(condition, timeout=timeout_s):
                raise WaitTimeout(f"{what} did not come within {timeout_s} s")

    def _handshake(self, timeout_s):
        deadline = time.monotonic() + timeout_s
        while self.response is None:
            self._socket.settimeout(max(0.01, deadline - time.monotonic()))
            try:
                data = self._socket.recv(65536)
            except ConnectionResetError:
                data = b""
            if not data:
                self._socket.close()
                status = int(self._raw.split(b" ")[1]) if self._raw.startswith(b"HTTP/") else None
                raise HandshakeRefused(status, self._raw)
            self._raw += data
            with self._lock:
                self._connection.receive_data(data)
                self._store(self._connection.events_received())
        if self._connection.state is not State.OPEN:
            self._socket.close()
            raise HandshakeRefused(self.response.status_code, self._raw)

    def _read_loop(self):
        while True:
            try:
                data = self._socket.recv(262144)
            except OSError:
                data = b""
            with self._lock:
                if data:
                    self._connection.receive_data(data)
                elif self._connection.state is not State.CLOSED:
                    self._connection.receive_eof()
                self._store(self._connection.events_received())
                if self._connection.parser_exc is not None and data:
                    self.violations.append(f"the broker broke RFC 6455: {self._connection.parser_exc!r}")
            self._flush()
            with self._lock:
                self._eof = not data
                self._closed = self._eof or self._connection.close_rcvd is not None
                self._lock.notify_all()
            if not data:
                return

    def _flush(self):
        with self._lock:
            chunks = [chunk for chunk in self._connection.data_to_send() if chunk]
        if not self.auto_pong:
            # A frame's first byte carries the opcode; 0x8A is an unfragmented pong.
            chunks = [chunk for chunk in chunks if chunk[0] != 0x8A]
        try:
            for chunk in chunks:
                self._socket.sendall(chunk)
        except OSError:
            pass

    def _store(self, events):
        for event in events:
            if isinstance(event, Response):
                self.response = event
            elif event.opcode is Opcode.PING:
                self.pings.append(bytes(event.data))
            elif event.opcode is Opcode.PONG:
                self.pongs.append(bytes(event.data))
            elif event.opcode is not Opcode.CLOSE:
                self._store_data(event)
        self._lock.notify_all()

    def _store_data(self, frame):
        """Every message of the broker is one JSON object in a text message with a string `type` (wire/02 section 1)."""
        if frame.opcode is Opcode.BINARY:
            self.violations.append("the broker sent a binary message")
        self._parts = frame.data if frame.opcode is not Opcode.CONT else self._parts + frame.data
        if not frame.fin:
            return
        data, self._parts = self._parts, None
        try:
            value = json.loads(data.decode("utf-8"))
        except ValueError as error:
            self.violations.append(f"the broker sent something that is not JSON: {data[:200]!r}: {error}")
            return
        if not isinstance(value, dict) or not isinstance(value.get("type"), str):
            self.violations.append(f"the broker sent a message without a type: {data[:200]!r}")
            return
        self.frames.append(value)
