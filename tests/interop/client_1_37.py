"""An unmodified claudemesh 1.37.0 installation, frame by frame (wire/06 and wire/07).

A Daemon is one user's daemon: member socket, session sockets and inbox; cold_path is a command without one.
They do exactly what the documents say, including what is odd about it, and nothing else.
"""

import itertools
import os
import secrets

import mesh_crypto as crypto
from mesh_crypto import KeyPair, SessionKeyStore
from mesh_socket import DEFAULT_TIMEOUT_S
from meshclient import ABSENT, MeshClient, Session, now_ms

# The client's own: a broker that answers later has not answered.
SEND_ACK_TIMEOUT_S = 15.0
RPC_TIMEOUT_S = 5.0


class DaemonSocket:
    """What the member socket and the session sockets of the daemon share."""

    def __init__(self, daemon, client, recipient_kind, recipient_pubkey):
        self.daemon = daemon
        self.client = client
        self.recipient = (recipient_kind, recipient_pubkey)

    def send(self, target, text, client_message_id, priority="next"):
        """A drained outbox row: encrypted at accept, repeated with the same bytes until it is acknowledged."""
        multicast = target.startswith(("*", "@", "#"))
        fingerprint = crypto.request_fingerprint("topic" if multicast else "dm", target, text, priority)
        frame = self.client.message_frame(target, text, priority, id=client_message_id,
                                          client_message_id=client_message_id,
                                          request_fingerprint=fingerprint)
        return self.dispatch(frame)

    def dispatch(self, row):
        """Success iff the ack carries no error; that is all the daemon looks at."""
        ack = self.client.send_frame(row, SEND_ACK_TIMEOUT_S)
        if ack.get("error"):
            raise AssertionError(f"the daemon's send was refused: {ack}")
        return ack["messageId"]

    def receive(self, timeout_s=DEFAULT_TIMEOUT_S):
        """Stores the next message push in the inbox and confirms it; duplicates are confirmed too."""
        return self.ingest(self.client.wait_push(timeout_s=timeout_s))

    def drain(self):
        """Ingests everything that has arrived."""
        for push in self.client.take_pushes():
            self.ingest(push)

    def ingest(self, push):
        if self.drops(push):
            return None
        row = self.daemon.store(push, self.read_body(push), self.recipient)
        self.client.client_ack(push)
        return row

    def read_body(self, push):
        return self.client.read(push)


class MemberSocket(DaemonSocket):
    def __init__(self, daemon, client):
        super().__init__(daemon, client, "member", daemon.member.keys.public)

    def drops(self, push):
        return push.get("senderMemberPubkey", "").lower() == self.daemon.member.keys.public

    def rpc(self, prefix, kind, **fields):
        """Exact `_reqId`, no fallback, 5 seconds."""
        request_id = f"{prefix}-{next(self.daemon.counter)}"
        self.client.send_json({"type": kind, "_reqId": request_id, **fields})
        return self.client.socket.wait_for(lambda f: f.get("_reqId") == request_id, RPC_TIMEOUT_S,
                                           f"the reply to {kind}")


class SessionSocket(DaemonSocket):
    def __init__(self, daemon, client, session):
        super().__init__(daemon, client, "session", session.keys.public)
        self.session = session

    def drops(self, push):
        return push.get("subtype") == "system" or push["senderPubkey"] == self.session.keys.public

    def reconnect(self):
        """A dead socket is replaced; the session key is the same, the attestation is new."""
        self.client.drop()
        self.client = self.daemon.open_session_client(self.session)


class Daemon:
    def __init__(self, test, member, sessions_dir):
        self.test = test
        self.member = member
        self.keys = SessionKeyStore(sessions_dir)
        self.counter = itertools.count(1)
        self.pid = 1000 + secrets.randbelow(30000)
        self.inbox = {}
        self.socket = MemberSocket(self, self.open_member_client())

    def open_member_client(self):
        client = self.test.open(self.member)
        client.hello(sessionId=f"daemon-{self.pid}", pid=self.pid, hostname="host", peerType="ai",
                     channel="claudemesh-daemon",
                     cwd=os.getcwd(), displayName=ABSENT)
        return client

    def open_session_client(self, session):
        client = self.test.open(session=session)
        client.session_hello(hostname="host")
        return client

    def register_session(self, session_uuid, name):
        """`launch`: the keypair is kept per (mesh slug, session UUID)."""
        keys = self.keys.load_or_create(self.member.mesh.slug, session_uuid)
        session = Session(self.member, keys, session_uuid, name, self.pid + 1)
        return SessionSocket(self, self.open_session_client(session), session)

    def restart(self):
        """A new process: another pid, the same member; the old sockets break."""
        self.socket.client.drop()
        self.pid += 1
        self.socket = MemberSocket(self, self.open_member_client())

    def store(self, push, body, recipient):
        """Deduplicates by client_message_id, else messageId; only a new row is returned."""
        key = push.get("client_message_id") or push["messageId"]
        if key in self.inbox:
            return None
        kind, pubkey = recipient
        self.inbox[key] = {"broker_message_id": push["messageId"], "sender_pubkey": push["senderPubkey"],
                           "sender_name": push.get("senderName", push["senderPubkey"][:8]), "body": body,
                           "recipient_kind": kind, "recipient_pubkey": pubkey}
        return self.inbox[key]


def cold_path(test, member, session_id=None, name=None, groups=ABSENT):
    """One command of the command line without daemon: a fresh session key, a control-plane connection."""
    client = test.open(member)
    session_id = session_id or f"{os.getpid()}-{now_ms()}-{secrets.token_hex(3)}"
    client.hello(KeyPair.generate(), displayName=name or f"host-{os.getpid()}", sessionId=session_id, pid=os.getpid(),
                 cwd=os.getcwd(), hostname="host", peerType="ai", channel="claude-code", groups=groups,
                 protocolVersion=1, capabilities=[])
    return client


def fire_and_forget(client, *frames):
    """The command line's habit: the requests, then at once a close frame, without reading anything."""
    for frame in frames:
        client.send_json(frame)
    client.socket.send_close(1000)


def broker_client_view(client, push):
    """What 1.37.0's BrokerClient shows for a push: it never base64-decodes when a senderPubkey is there."""
    for keys in (client.session_keys, client.member.keys):
        text = crypto.decrypt(push["nonce"], push["ciphertext"], push["senderPubkey"], keys.secret)
        if text is not None:
            return text
    return None


__all__ = ["Daemon", "MeshClient", "broker_client_view", "cold_path", "fire_and_forget"]
