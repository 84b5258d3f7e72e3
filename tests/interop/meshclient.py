"""What a claudemesh 1.37.0 client does on the wire, written from wire/01 to wire/03 and nothing else.

Mesh and Member hold identities, Session is one launched session with its stable key, MeshClient is one connection.
All methods are synchronous; every wait has a deadline.
"""

import dataclasses
import http.client
import itertools
import json
import os
import secrets
import time

import mesh_crypto as crypto
from mesh_crypto import KeyPair
from mesh_socket import DEFAULT_TIMEOUT_S, MeshSocket

ABSENT = object()  # As a keyword value: leave the field out of the frame.
MULTICAST_PREFIXES = ("*", "@", "#")
_counter = itertools.count(1)


def now_ms():
    return int(time.time() * 1000)


class Rejected(Exception):
    """A hello that the broker refused: the error frame and the close that must follow it."""

    def __init__(self, error, close):
        super().__init__(f"{error.get('code')}: {error.get('message')} (close {close})")
        self.code = error.get("code")
        self.message = error.get("message")
        self.error = error
        self.close = close


@dataclasses.dataclass(frozen=True)
class Mesh:
    id: str
    slug: str
    name: str
    host: str
    port: int


@dataclasses.dataclass(frozen=True)
class Member:
    """A joined member: one row of the client's config.json."""

    mesh: Mesh
    name: str
    id: str
    keys: KeyPair


@dataclasses.dataclass
class Session:
    """One launched session of a member. The key is stable: it survives every reconnect."""

    member: Member
    keys: KeyPair
    session_id: str
    name: str
    pid: int
    cwd: str = "/home/someone/project"

    @staticmethod
    def launch(member, name=None, keys=None):
        number = next(_counter)
        session_id = f"{secrets.token_hex(4)}-0000-4000-8000-{number:012x}"
        return Session(member, keys or KeyPair.generate(), session_id, name or f"{member.name}-s{number}",
                       30000 + number)

    def attestation(self, lifetime_ms=crypto.ATTESTATION_LIFETIME_MS):
        """Minted anew at each connect, valid for 12 hours, as 1.37.0 does it."""
        return crypto.make_attestation(self.member.keys, self.keys.public, now_ms() + lifetime_ms)


# --- HTTP ------------------------------------------------------------------------------------------------------------

@dataclasses.dataclass(frozen=True)
class HttpReply:
    status: int
    headers: dict
    body: bytes

    @property
    def json(self):
        return json.loads(self.body.decode("utf-8"))


def http_request(host, port, method, target, body=None, headers=None, timeout_s=DEFAULT_TIMEOUT_S):
    """One request on its own connection. `body` may be bytes or a value that is sent as JSON."""
    connection = http.client.HTTPConnection(host, port, timeout=timeout_s)
    try:
        all_headers = dict(headers or {})
        if body is not None and not isinstance(body, bytes):
            body = json.dumps(body).encode("utf-8")
            all_headers.setdefault("Content-Type", "application/json")
        connection.request(method, target, body=body, headers=all_headers)
        reply = connection.getresponse()
        return HttpReply(reply.status, {name.lower(): value for name, value in reply.getheaders()}, reply.read())
    finally:
        connection.close()


def join_body(invite, keys, display_name):
    return {"invite_token": invite.token, "invite_payload": invite.payload, "peer_pubkey": keys.public,
            "display_name": display_name}


def join(mesh, invite, display_name, keys=None):
    """Joins with an invite that the client parsed and verified itself; returns the Member."""
    keys = keys or KeyPair.generate()
    reply = http_request(mesh.host, mesh.port, "POST", "/join", join_body(invite, keys, display_name))
    if reply.status != 200 or reply.json.get("ok") is not True:
        raise AssertionError(f"POST /join answered {reply.status} {reply.body[:300]!r}")
    return Member(mesh, display_name, reply.json["memberId"], keys)


# --- handshake frames (wire/02 section 2) ----------------------------------------------------------------------------

def without_absent(frame):
    return {name: value for name, value in frame.items() if value is not ABSENT}


def hello_frame(member, sign_with=None, **overrides):
    """A `hello` as the daemon's member socket sends it. The signature covers the overridden values."""
    frame = {
        "type": "hello", "meshId": member.mesh.id, "memberId": member.id, "pubkey": member.keys.public,
        "sessionId": f"daemon-{next(_counter)}", "pid": os.getpid(), "cwd": "/home/user", "hostname": "interop",
        "peerType": "ai", "channel": "claudemesh-daemon", "timestamp": now_ms(),
    }
    frame.update(overrides)
    if "signature" not in overrides:
        text = crypto.hello_text(frame["meshId"], frame["memberId"], frame["pubkey"], frame["timestamp"])
        frame["signature"] = (sign_with or member.keys).sign(text)
    return without_absent(frame)


def session_hello_frame(session, sign_with=None, **overrides):
    """A `session_hello` as the daemon's session socket sends it."""
    member = session.member
    frame = {
        "type": "session_hello", "meshId": member.mesh.id, "parentMemberId": member.id,
        "parentMemberPubkey": member.keys.public, "sessionPubkey": session.keys.public, "displayName": session.name,
        "sessionId": session.session_id, "pid": session.pid, "cwd": session.cwd, "hostname": "interop",
        "peerType": "ai", "channel": "claudemesh-session", "timestamp": now_ms(),
    }
    frame.update(overrides)
    frame.setdefault("parentAttestation", session.attestation())
    if "signature" not in overrides:
        text = crypto.session_hello_text(
            frame["meshId"], frame["parentMemberPubkey"], frame["sessionPubkey"], frame["timestamp"])
        frame["signature"] = (sign_with or session.keys).sign(text)
    return without_absent(frame)


# --- one connection --------------------------------------------------------------------------------------------------

class MeshClient:
    """A connection of one identity. `secrets` are tried in order when a push is decrypted: session, then member."""

    def __init__(self, mesh, member=None, session=None, auto_pong=True):
        self.mesh = mesh
        self.member = member if member is not None else (session.member if session else None)
        self.session_keys = session.keys if session else None
        self.session = session
        self.ack = None
        self.socket = MeshSocket(mesh.host, mesh.port, auto_pong=auto_pong)

    # --- handshake ---

    def hello(self, session_keys=None, **overrides):
        """Member hello; with `session_keys` the connection gets a routing key of its own, as the cold path does."""
        if session_keys is not None:
            self.session_keys = session_keys
            overrides.setdefault("sessionPubkey", session_keys.public)
        return self.handshake(hello_frame(self.member, **overrides))

    def session_hello(self, **overrides):
        return self.handshake(session_hello_frame(self.session, **overrides))

    def handshake(self, frame):
        self.socket.send_json(frame)
        reply = self.socket.wait_for(lambda f: f["type"] in ("hello_ack", "error"), what="hello_ack or error")
        if reply["type"] == "error":
            raise Rejected(reply, self.socket.wait_closed())
        self.ack = reply
        return reply

    @property
    def routing_key(self):
        return self.session_keys.public if self.session_keys else self.member.keys.public

    @property
    def presence_id(self):
        return self.ack["presenceId"]

    # --- requests ---

    def send_json(self, frame):
        self.socket.send_json(frame)

    def request(self, kind, timeout_s=DEFAULT_TIMEOUT_S, **fields):
        """Sends with a fresh `_reqId` and returns the reply that carries it."""
        request_id = secrets.token_hex(8) + f"{now_ms():x}"
        self.socket.send_json({"type": kind, "_reqId": request_id, **fields})
        return self.socket.wait_for(lambda f: f.get("_reqId") == request_id, timeout_s, f"the reply to {kind}")

    def list_peers(self):
        return self.request("list_peers")["peers"]

    def peer(self, pubkey):
        """The list_peers row with that routing key, or None."""
        return next((row for row in self.list_peers() if row["pubkey"] == pubkey), None)

    def message_status(self, message_id):
        return self.request("message_status", messageId=message_id)

    def fence(self):
        """Returns when the broker has processed everything that this connection sent before."""
        self.list_peers()

    # --- messages ---

    def message_frame(self, target, text, priority="next", **overrides):
        """A `send`: direct targets are encrypted with the session secret, else the member secret."""
        if target.startswith(MULTICAST_PREFIXES):
            nonce, ciphertext = crypto.plain_body(text)
        else:
            own = self.session_keys or self.member.keys
            nonce, ciphertext = crypto.encrypt(text, target, own.secret)
        frame = {"type": "send", "id": secrets.token_hex(8), "targetSpec": target, "priority": priority,
                 "nonce": nonce, "ciphertext": ciphertext}
        frame.update(overrides)
        return without_absent(frame)

    def send(self, target, text, **overrides):
        """Sends and returns the ack, whatever it says."""
        return self.send_frame(self.message_frame(target, text, **overrides))

    def send_frame(self, frame, timeout_s=DEFAULT_TIMEOUT_S):
        self.socket.send_json(frame)
        wanted = frame.get("id", "")
        return self.socket.wait_for(lambda f: f["type"] == "ack" and f.get("id") == wanted, timeout_s,
                                    f"ack of {wanted!r}")

    def wait_push(self, text=None, message_id=None, timeout_s=DEFAULT_TIMEOUT_S):
        """The next message push (no system event), optionally the one with that text or id."""
        def accept(frame):
            return (frame["type"] == "push" and frame.get("subtype") not in ("system", "webhook")
                    and (message_id is None or frame.get("messageId") == message_id)
                    and (text is None or self.read(frame) == text))
        return self.socket.wait_for(accept, timeout_s, f"push {text or message_id or ''}")

    def take_pushes(self):
        return self.socket.take(lambda f: f["type"] == "push" and f.get("subtype") not in ("system", "webhook"))

    def wait_event(self, event, timeout_s=DEFAULT_TIMEOUT_S, **data):
        """The next system push with that event whose eventData contains `data`."""
        def accept(frame):
            return (frame["type"] == "push" and frame.get("event") == event
                    and all(frame.get("eventData", {}).get(name) == value for name, value in data.items()))
        return self.socket.wait_for(accept, timeout_s, f"event {event} {data}")

    def take_events(self, *events):
        return self.socket.take(lambda f: f["type"] == "push" and f.get("subtype") == "system"
                                and (not events or f.get("event") in events))

    def read(self, push):
        """Decrypts as a receiver does: session secret, member secret, then the plain body of a multicast."""
        if push.get("ciphertext", "") == "":
            return None
        for keys in (self.session_keys, self.member.keys if self.member else None):
            if keys is not None and len(push.get("senderPubkey", "")) == 64:
                text = crypto.decrypt(push["nonce"], push["ciphertext"], push["senderPubkey"], keys.secret)
                if text is not None:
                    return text
        try:
            return crypto.read_plain_body(push["ciphertext"])
        except ValueError:
            return None

    def client_ack(self, push=None, **fields):
        """Confirms a push as the daemon does after storing it; fire and forget."""
        if push is not None:
            fields = {"brokerMessageId": push["messageId"],
                      "clientMessageId": push.get("client_message_id", push["messageId"])}
        self.socket.send_json({"type": "client_ack", **fields})

    # --- ends ---

    def close(self):
        self.socket.close()

    def drop(self):
        self.socket.drop()
