"""The connections of `legacy_broker.py`: the checks of a hello, the framing, and which frame goes to which handler."""

import asyncio
import json
import re
import sys
import time

from websockets.connection import State
from websockets.frames import Opcode
from websockets.server import ServerConnection

import mesh_crypto as crypto

MESSAGE_BYTES_MAX = 65_536
CONNECTIONS_MAX = 100
STALE_AFTER_S = 75
HELLO_SKEW_MS = 60_000
CORS = ("Access-Control-Allow-Origin: *\r\nAccess-Control-Allow-Methods: POST, GET, OPTIONS\r\n"
        "Access-Control-Allow-Headers: Content-Type, X-Mesh-Id, X-Member-Id, X-File-Name, X-Tags, X-Persistent, "
        "X-Target-Spec\r\n")


def now_ms():
    return int(time.time() * 1000)


def is_hex(value, digits):
    return isinstance(value, str) and re.fullmatch(f"[0-9a-fA-F]{{{digits}}}", value) is not None


def is_key(value):
    return isinstance(value, str) and re.fullmatch("[0-9a-f]{64}", value) is not None


def is_number(value):
    return isinstance(value, (int, float)) and not isinstance(value, bool)


# --- handshake checks (wire/02 section 2); pure ----------------------------------------------------------------------

def signature_fault(timestamp, signature, text, pubkey):
    if not is_number(timestamp) or abs(now_ms() - timestamp) > HELLO_SKEW_MS:
        return "timestamp_skew"
    if not is_key(pubkey) or not is_hex(signature, 128):
        return "malformed"
    return None if crypto.verify(text, signature, pubkey) else "bad_signature"


def hello_fault(frame, full):
    """(code, message) of the first check that a hello fails before its member is looked up, or None."""
    session = frame.get("sessionPubkey")
    if session and not is_key(session):
        return "bad_session_pubkey", "sessionPubkey must be 64 lowercase hex chars"
    if full:
        return "capacity", "mesh at connection capacity"
    text = crypto.hello_text(frame.get("meshId"), frame.get("memberId"), frame.get("pubkey"), frame.get("timestamp"))
    fault = signature_fault(frame.get("timestamp"), frame.get("signature"), text, frame.get("pubkey"))
    return (fault, f"hello rejected: {fault}") if fault else None


def attestation_fault(attestation, parent, session):
    expires = attestation.get("expiresAt")
    if not is_number(expires) or not is_hex(attestation.get("signature"), 128):
        return "malformed"
    if expires <= now_ms():
        return "expired"
    if expires > now_ms() + crypto.ATTESTATION_MAX_MS:
        return "ttl_too_long"
    text = crypto.attestation_text(parent, session, expires)
    return None if crypto.verify(text, attestation["signature"], parent) else "bad_signature"


def session_hello_fault(frame, full):
    session, parent = frame.get("sessionPubkey"), frame.get("parentMemberPubkey")
    attestation = frame.get("parentAttestation")
    if not is_key(session):
        return "bad_session_pubkey", "sessionPubkey must be 64 lowercase hex chars"
    if not is_key(parent):
        return "bad_parent_pubkey", "parentMemberPubkey must be 64 lowercase hex chars"
    if (not isinstance(attestation, dict) or attestation.get("sessionPubkey") != session
            or attestation.get("parentMemberPubkey") != parent):
        return "attestation_mismatch", "parentAttestation does not bind the claimed session+parent pubkeys"
    if full:
        return "capacity", "mesh at connection capacity"
    fault = attestation_fault(attestation, parent, session)
    if fault:
        return fault, f"attestation rejected: {fault}"
    text = crypto.session_hello_text(frame.get("meshId"), parent, session, frame.get("timestamp"))
    fault = signature_fault(frame.get("timestamp"), frame.get("signature"), text, session)
    return (fault, f"session_hello rejected: {fault}") if fault else None


# --- connections -----------------------------------------------------------------------------------------------------

class Connection:
    """One TCP connection: a plain HTTP request, or a WebSocket at exactly /ws."""

    def __init__(self, broker, reader, writer):
        self.broker, self.reader, self.writer = broker, reader, writer
        self.socket = ServerConnection(max_size=MESSAGE_BYTES_MAX)
        self.presence = None
        self.fragments = b""
        self.heard_at = time.monotonic()

    async def run(self):
        try:
            head = await self.reader.readuntil(b"\r\n\r\n")
            lines = head.decode("latin-1").split("\r\n")
            method, target, _ = lines[0].split(" ")
            headers = {name.strip().lower(): value.strip() for name, _, value in (x.partition(":") for x in lines[1:])}
            if "upgrade" not in headers:
                await self.answer(method, target, int(headers.get("content-length", "0")))
            elif target == "/ws":
                await self.receive(head)
        except (OSError, ValueError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass
        finally:
            self.writer.close()
            if self.presence and self.presence.connection is self:
                self.broker.lost(self.presence)

    async def answer(self, method, target, length):
        body = await self.reader.readexactly(min(length, 2 * MESSAGE_BYTES_MAX))
        status, value = self.broker.http(method, target, body)
        text = b"not found" if status == 404 else b""
        if value is not None:
            text = json.dumps(value, separators=(",", ":")).encode()
        kind = "Content-Type: application/json\r\n" if value is not None else ""
        self.writer.write(f"HTTP/1.1 {status} -\r\n{CORS}{kind}Content-Length: {len(text)}\r\n"
                          "Connection: close\r\n\r\n".encode() + text)
        await self.writer.drain()

    async def receive(self, data):
        while data:
            self.heard_at = time.monotonic()
            self.socket.receive_data(data)
            for event in self.socket.events_received():
                if not hasattr(event, "opcode"):
                    self.socket.send_response(self.socket.accept(event))
                elif event.opcode is Opcode.CLOSE:
                    self.broker.seen["closes"].append(self.socket.close_rcvd.code)
                elif event.opcode in (Opcode.TEXT, Opcode.BINARY, Opcode.CONT):
                    self.fragments += event.data
                    if event.fin:
                        text, self.fragments = self.fragments, b""
                        self.take(text)
            self.flush()
            if self.socket.close_expected() and (self.socket.close_rcvd or self.socket.parser_exc):
                return
            data = await self.reader.read(MESSAGE_BYTES_MAX)

    def flush(self):
        for data in self.socket.data_to_send():
            if data:
                self.writer.write(data)

    def write(self, text):
        if self.socket.state is State.OPEN:
            self.socket.send_text(text.encode())
            self.flush()

    def send(self, frame):
        self.write(json.dumps(frame))

    def close(self, code, reason):
        if self.socket.state is State.OPEN:
            self.socket.send_close(code, reason)
            self.flush()

    def leave(self, code, reason):
        """Closed and no longer anybody: what still comes is ignored."""
        self.presence = None
        self.close(code, reason)

    def ping_or_terminate(self):
        if time.monotonic() - self.heard_at > STALE_AFTER_S:
            self.writer.transport.abort()
            return
        self.socket.send_ping(b"")
        self.flush()

    def take(self, text):
        """A frame that cannot be read, or whose handler throws, is logged and not answered."""
        if self.socket.state is not State.OPEN:
            return
        try:
            frame = json.loads(text)
            kind = frame["type"]
            if kind in ("hello", "session_hello"):
                self.take_hello(frame)
            elif self.presence is None:
                self.send({"type": "error", "code": "no_hello", "message": "must send hello first"})
            else:
                self.handle(kind, frame)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            print("ws message error", repr(error), file=sys.stderr, flush=True)

    def take_hello(self, frame):
        via_session = frame["type"] == "session_hello"
        full = len(self.broker.presences) >= CONNECTIONS_MAX
        fault = session_hello_fault(frame, full) if via_session else hello_fault(frame, full)
        pubkey = frame.get("parentMemberPubkey" if via_session else "pubkey")
        member = self.broker.store.member(pubkey) if frame.get("meshId") == self.broker.store.mesh["id"] else None
        if not fault and member is None:
            fault = "unauthorized", "parent pubkey not found in mesh" if via_session else "pubkey not found in mesh"
        if not fault and via_session and frame.get("parentMemberId", member["id"]) != member["id"]:
            fault = "parent_member_id_mismatch", "parentMemberId does not match parentMemberPubkey"
        if fault:
            self.send({"type": "error", "code": fault[0], "message": fault[1]})
            self.close(1008, fault[0])
        elif member["revoked"]:
            self.send({"type": "error", "code": "revoked", "message": "You've been removed from "
                       f'"{self.broker.store.mesh["slug"]}". Contact the mesh owner to rejoin.'})
            self.close(4002, "banned")
        else:
            self.presence = self.broker.attach(self, frame, member)

    def handle(self, kind, frame):
        presence, reply = self.presence, None
        if kind == "send":
            self.broker.take_send(presence, frame)
        elif kind == "client_ack":
            self.broker.take_client_ack(presence, frame)
        elif kind == "list_peers":
            peers = [one.record() for one in self.broker.presences.values()
                     if one.visible or one.member is presence.member]
            reply = {"type": "peers_list", "peers": peers}
        elif kind == "message_status":
            reply = self.broker.status_of(frame.get("messageId"))
        elif kind in ("set_status", "set_summary"):
            setattr(presence, kind[4:], frame[kind[4:]])
        elif kind in ("set_visible", "set_profile"):
            presence.visible = frame.get("visible", presence.visible)
            reply = {"type": "ack", "id": frame.get("_reqId", ""), "messageId": "", "queued": False}
        elif kind in ("join_group", "leave_group"):
            presence.groups = [group for group in presence.groups if group["name"] != frame["name"]]
            if kind == "join_group":
                presence.groups.append({name: frame[name] for name in ("name", "role") if frame.get(name)})
        else:
            unknown = self.broker.seen["unknown"]
            unknown[kind] = unknown.get(kind, 0) + 1
        if reply is not None:
            self.send({**reply, "_reqId": frame["_reqId"]} if "_reqId" in frame else reply)
