#!/usr/bin/python3
"""A broker as version 1.37.0 behaves, for the part of the protocol that daemons use: what a newer daemon meets.

usage: legacy_broker.py FOLDER PORT [--claim-ms N] [--lease-ms N] [--burst N]

Kept on purpose, because newer brokers differ: it answers nothing to a type that it does not know (also not to a feature
negotiation), stores every `send` as a new row whatever its client_message_id says, claims drained rows for 30 s (also
for somebody who has just gone), refuses direct messages to members without a presence, forgets multicasts that nobody
heard, and drains before it writes hello_ack.

One mesh with one invite is made at the first start. FOLDER/state.json holds what 1.37.0 keeps in its database; it is
replaced before anything is answered, so SIGKILL loses nothing. Left out: topics, grants, files, state, moderation, all
silent here, and the transcript heuristics of the status.

`POST /test` is the tests' hand inside and no part of the protocol, see `Broker.control`.
"""

import argparse
import asyncio
import json
import os
import re
import secrets
import signal
import string
import time

import mesh_crypto as crypto
from legacy_socket import MESSAGE_BYTES_MAX, Connection, is_hex, now_ms

RATE_PER_MIN = 60
PING_INTERVAL_S = 30
INVITE_LIFETIME_S = 7 * 24 * 3600
BASE62 = string.digits + string.ascii_uppercase + string.ascii_lowercase
PROFILE = {"roleTag": None, "groups": [], "messageMode": "push"}


def iso(ms):
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(ms / 1000)) + f".{ms % 1000:03d}Z"


def new_id():
    return "".join(secrets.choice(BASE62) for _ in range(32))


# --- what 1.37.0 keeps in its database -------------------------------------------------------------------------------

class Store:
    def __init__(self, folder, port):
        self.path = os.path.join(folder, "state.json")
        if os.path.exists(self.path):
            with open(self.path, encoding="utf-8") as file:
                self.__dict__.update(json.load(file))
            return
        self.mesh, self.members, self.queue, self.peer_states = {"id": new_id(), "slug": "legacy"}, [], [], {}
        owner = crypto.KeyPair.generate()
        self.mesh["owner"] = owner.public
        payload = crypto.sign_invite(
            owner, v=1, mesh_id=self.mesh["id"], mesh_slug="legacy", broker_url=f"ws://127.0.0.1:{port}/ws",
            expires_at=int(time.time()) + INVITE_LIFETIME_S, mesh_root_key=crypto.b64url(secrets.token_bytes(32)),
            role="member")
        self.invite = {"token": crypto.encode_invite(payload), "uses_left": 50, "expires_at": payload["expires_at"]}
        self.save()

    def save(self):
        text = json.dumps({name: value for name, value in self.__dict__.items() if name != "path"})
        with open(self.path + ".new", "w", encoding="utf-8") as file:
            file.write(text)
        os.replace(self.path + ".new", self.path)

    def member(self, pubkey):
        """The active row of a key, else a revoked one, else None."""
        rows = [row for row in self.members if row["pubkey"] == pubkey]
        return next((row for row in rows if not row["revoked"]), rows[0] if rows else None)


class Presence:
    """One authenticated connection, or what its lease keeps of it after the close (then `connection` is None)."""

    def __init__(self, connection, frame, member, groups):
        self.id = new_id()
        self.connection, self.member = connection, member
        self.session_key = frame.get("sessionPubkey") or None
        self.via_session = frame["type"] == "session_hello"
        self.session_id = frame.get("sessionId")
        self.name = frame.get("displayName") or member["name"]
        self.cwd, self.groups = frame.get("cwd", ""), groups
        self.status, self.summary, self.visible, self.profile = "idle", None, True, {}
        self.connected_at = now_ms()
        self.lease = None

    @property
    def key(self):
        return self.session_key or self.member["pubkey"]

    def push(self, frame):
        """Lost without a word when the socket is gone, as in 1.37.0."""
        if self.connection:
            self.connection.send(frame)

    def targets(self):
        names = {"*", "@all", self.member["pubkey"], self.key}
        for group in self.groups:
            parts = group["name"].split("/")
            names.update("@" + "/".join(parts[:depth]) for depth in range(1, len(parts) + 1))
        return names

    def record(self):
        return {"pubkey": self.key, "memberPubkey": self.member["pubkey"], "displayName": self.name,
                "status": self.status, "summary": self.summary, "groups": self.groups, "sessionId": self.session_id,
                "connectedAt": iso(self.connected_at), "cwd": self.cwd, "visible": self.visible,
                "peerRole": "session" if self.via_session else "control-plane"}


class Broker:
    """The one mesh: who is there, and which messages wait for whom."""

    def __init__(self, options):
        self.options = options
        self.store = Store(options.folder, options.port)
        self.presences = {}
        self.buckets = {}
        self.hold = None
        self.seen = {"unknown": {}, "closes": [], "refused": []}

    async def run(self):
        stopped = asyncio.Event()
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)
        await asyncio.start_server(lambda reader, writer: Connection(self, reader, writer).run(), "127.0.0.1",
                                   self.options.port, limit=MESSAGE_BYTES_MAX)
        pinger = asyncio.create_task(self.ping())
        await stopped.wait()
        pinger.cancel()
        for presence in self.presences.values():
            if presence.connection:
                presence.connection.close(1001, "shutting down")

    async def ping(self):
        while True:
            await asyncio.sleep(PING_INTERVAL_S)
            for presence in [one for one in self.presences.values() if one.connection]:
                presence.connection.ping_or_terminate()

    # --- HTTP (wire/03) ---

    def http(self, method, target, body):
        """(status, JSON value, or None for 404's plain text and 204's empty body)."""
        if method == "OPTIONS":
            return 204, None
        if (method, target) == ("GET", "/health"):
            return 200, {"status": "ok", "db": "up", "version": "0.1.0", "gitSha": "1.37.0", "uptime": 1}
        if (method, target) == ("POST", "/join"):
            if len(body) > MESSAGE_BYTES_MAX:
                return 413, {"ok": False, "error": "payload too large"}
            try:
                return self.join(json.loads(body))
            except (ValueError, AttributeError, TypeError, KeyError) as error:
                return 500, {"ok": False, "error": repr(error)}
        if (method, target) == ("POST", "/test"):
            return 200, self.control(**json.loads(body))
        return 404, None

    def join(self, body):
        fault = self.join_fault(body)
        if fault:
            return 400, {"ok": False, "error": fault}
        known = self.store.member(body["peer_pubkey"])
        if known and not known["revoked"]:
            return 200, {"ok": True, "memberId": known["id"], "alreadyMember": True}
        if self.store.invite["uses_left"] == 0:
            return 400, {"ok": False, "error": "invite_exhausted"}
        self.store.invite["uses_left"] -= 1
        row = {"id": new_id(), "pubkey": body["peer_pubkey"], "name": body["display_name"], "revoked": False}
        self.store.members.append(row)
        self.store.save()
        return 200, {"ok": True, "memberId": row["id"]}

    def join_fault(self, body):
        needed = ("invite_token", "invite_payload", "peer_pubkey", "display_name")
        if not all(body.get(name) for name in needed):
            return f"{', '.join(needed)} required"
        if not is_hex(body["peer_pubkey"], 64):
            return "peer_pubkey must be 64 hex chars (32 bytes)"
        payload = body["invite_payload"]
        if not crypto.verify(crypto.invite_text(payload), payload["signature"], payload["owner_pubkey"]):
            return "invite_bad_signature"
        if payload["mesh_id"] != self.store.mesh["id"]:
            return "mesh_not_found"
        if payload["owner_pubkey"] != self.store.mesh["owner"]:
            return "invite_owner_mismatch"
        if body["invite_token"] != self.store.invite["token"]:
            return "invite_not_found"
        return "invite_expired" if self.store.invite["expires_at"] < time.time() else None

    def control(self, hold=None, member=None, frames=(), close=None, revoked=None):
        """Sets what a send leaves undone ("ack", "all" or nothing), writes frames or a close to the connections of a
        member, bans or unbans it, and returns what was seen so far."""
        self.hold = hold
        if revoked is not None:
            self.store.member(member)["revoked"] = revoked
            self.store.save()
        for connection in [one.connection for one in self.presences.values() if one.member["pubkey"] == member]:
            for frame in frames if connection else ():
                connection.write(frame if isinstance(frame, str) else json.dumps(frame))
            if connection and close:
                connection.close(*close)
        return self.seen

    # --- presences (wire/02 section 1.3) ---

    def announce(self, event, data, recipients):
        for presence in recipients:
            presence.push({"type": "push", "subtype": "system", "event": event, "eventData": data,
                           "messageId": new_id(), "meshId": self.store.mesh["id"], "senderPubkey": "system",
                           "priority": "low", "nonce": "", "ciphertext": "", "createdAt": iso(now_ms())})

    def others(self, presence, siblings=False):
        return [one for one in self.presences.values()
                if one is not presence and (siblings or one.member is not presence.member)]

    def lost(self, presence):
        """The socket closed: the presence stays for its lease."""
        presence.connection = None
        self.store.peer_states[presence.member["id"]] = {
            "groups": presence.groups, "profile": presence.profile, "visible": presence.visible,
            "summary": presence.summary, "seen_at": now_ms()}
        self.store.save()
        presence.lease = asyncio.get_running_loop().call_later(self.options.lease_ms / 1000, self.evict, presence)

    def evict(self, presence):
        if self.presences.pop(presence.id, None) is not None:
            self.announce("peer_left", {"name": presence.name, "pubkey": presence.key}, self.others(presence))

    def attach(self, connection, frame, member):
        """Reattaches to a lease, or makes a presence and tells the mesh; ends with hello_ack."""
        via_session = frame["type"] == "session_hello"
        session = frame.get("sessionPubkey") or None
        for old in self.presences.values():
            same = old.session_key == session if session else (old.session_key is None and old.member is member and
                                                               old.session_id == frame.get("sessionId"))
            if same and (via_session or old.connection is None):
                return self.reattach(old, connection, frame)
        for old in [one for one in self.presences.values() if one.session_id == frame.get("sessionId")]:
            del self.presences[old.id]
            if old.connection:
                old.connection.leave(1000, "session_replaced")
        stored = None if via_session else self.store.peer_states.get(member["id"])
        groups = frame.get("groups") or (stored["groups"] if stored else [])
        presence = Presence(connection, frame, member, groups)
        connection.presence = self.presences[presence.id] = presence
        ack = {"type": "hello_ack", "presenceId": presence.id, "memberDisplayName": presence.name,
               "memberProfile": PROFILE}
        data = {"name": presence.name, "pubkey": presence.key, "groups": groups}
        if stored:
            presence.profile, presence.visible = stored["profile"], stored["visible"]
            ack.update(restored=True, lastSeenAt=iso(stored["seen_at"]),
                       restoredStats={"messagesIn": 0, "messagesOut": 0, "toolCalls": 0, "errors": 0})
            data["lastSeenAt"] = iso(stored["seen_at"])
        self.drain(presence)
        connection.send(ack)
        self.announce("peer_returned" if stored else "peer_joined", data, self.others(presence, via_session))
        return presence

    def reattach(self, presence, connection, frame):
        if presence.lease:
            presence.lease.cancel()
        if presence.connection:
            presence.connection.leave(1000, "session_replaced")
        presence.connection, connection.presence = connection, presence
        presence.name = frame.get("displayName") or presence.name
        ack = {"type": "hello_ack", "presenceId": presence.id, "memberDisplayName": presence.name}
        self.drain(presence)
        connection.send(ack if presence.via_session else {**ack, "memberProfile": PROFILE})
        return presence

    # --- messages (wire/04 section 5, wire/05 section 1) ---

    def drain(self, presence):
        """Claims for 30 s what fits this presence, whether or not its socket is still there."""
        if self.hold == "all":  # also for whoever says hello meanwhile, as a session that comes back
            return
        now, targets = now_ms(), presence.targets()
        for row in self.store.queue:
            claimed = row["claim_expires_at"] > now
            fits = row["target"] in targets and (presence.status == "idle" or row["priority"] == "now")
            if row["delivered_at"] or claimed or not fits:
                continue
            row["claim_expires_at"] = now + self.options.claim_ms
            frame = {"type": "push", "messageId": row["id"], "meshId": self.store.mesh["id"],
                     "senderPubkey": row["sender_pubkey"], "priority": row["priority"], "nonce": row["nonce"],
                     "ciphertext": row["ciphertext"], "createdAt": iso(row["created_at"])}
            for name in ("client_message_id", "request_fingerprint"):
                if row[name]:
                    frame[name] = row[name]
            presence.push(frame)
        self.store.save()

    def take_token(self, member_id):
        tokens, at = self.buckets.get(member_id, (self.options.burst, time.monotonic()))
        now = time.monotonic()
        tokens = min(self.options.burst, tokens + (now - at) * RATE_PER_MIN / 60)
        self.buckets[member_id] = (tokens - 1 if tokens >= 1 else tokens, now)
        return tokens >= 1

    def send_fault(self, sender, frame, direct):
        if not self.take_token(sender.member["id"]):
            return f"rate_limit: max {RATE_PER_MIN} msg/min (burst {self.options.burst}) \u2014 slow down"
        size = sum(len(frame[name]) for name in ("ciphertext", "nonce", "targetSpec"))
        if size > MESSAGE_BYTES_MAX:
            return f"payload too large: {size} bytes > MAX_MESSAGE_BYTES={MESSAGE_BYTES_MAX}"
        if direct and not self.candidates(sender, frame["targetSpec"]):
            return ("no connected peer for target (not online, or targetSpec is your own key without another "
                    "session)")
        return None

    def candidates(self, sender, target):
        return [one for one in self.presences.values()
                if one is not sender and target in (one.member["pubkey"], one.session_key)]

    def take_send(self, sender, frame):
        target, number = frame["targetSpec"], frame.get("id", "")
        if frame["priority"] not in ("now", "next", "low"):
            raise ValueError("the insert throws: no such priority")
        multicast = target == "*" or target.startswith("@")
        fault = self.send_fault(sender, frame, not multicast and not target.startswith("#"))
        if fault:
            self.seen["refused"].append(fault)
            sender.push({"type": "ack", "id": number, "messageId": "", "queued": False, "error": fault})
            return
        row = {"id": new_id(), "sender_pubkey": sender.key, "target": target, "priority": frame["priority"],
               "nonce": frame["nonce"], "ciphertext": frame["ciphertext"], "created_at": now_ms(),
               "client_message_id": frame.get("client_message_id") or None,
               "request_fingerprint": frame.get("request_fingerprint") or None,
               "delivered_at": None, "claim_expires_at": 0}
        self.store.queue.append(row)
        self.store.save()
        if self.hold is None:
            sender.push({"type": "ack", "id": number, "messageId": row["id"], "queued": True})
        if self.hold == "all":
            return
        if multicast:
            self.fan_out(sender, row)
            return
        members = {one.member["id"] for one in self.candidates(sender, target)}
        for presence in self.others(sender, siblings=True):
            if presence.member["id"] in members:
                self.drain(presence)

    def fan_out(self, sender, row):
        """Live only: who is not connected never hears of it."""
        frame = {"type": "push", "messageId": row["id"], "meshId": self.store.mesh["id"],
                 "senderPubkey": sender.key, "senderMemberPubkey": sender.member["pubkey"],
                 "senderMemberId": sender.member["id"], "senderName": sender.name, "priority": row["priority"],
                 "nonce": row["nonce"], "ciphertext": row["ciphertext"], "createdAt": iso(now_ms())}
        for presence in self.others(sender):
            in_group = any("@" + group["name"] == row["target"] for group in presence.groups)
            if presence.visible and (row["target"] in ("*", "@all") or in_group):
                presence.push(frame)
        row["delivered_at"] = now_ms()
        self.store.save()

    def take_client_ack(self, presence, frame):
        broker_id, client_id = frame.get("brokerMessageId"), frame.get("clientMessageId")
        for row in self.store.queue:
            named = (broker_id and row["id"] == broker_id) or (client_id and row["client_message_id"] == client_id)
            own = row["target"] in (presence.member["pubkey"], presence.key) or row["target"][:1] in "*@#"
            if named and own and not row["delivered_at"]:
                row["delivered_at"] = now_ms()
        self.store.save()

    def status_of(self, message_id):
        if not isinstance(message_id, str) or not re.fullmatch("[A-Za-z0-9]{8,32}", message_id):
            length = len(message_id) if isinstance(message_id, str) else 0
            return {"type": "error", "code": "invalid_argument",
                    "message": f"messageId must be 8-32 base62 chars (got {length})"}
        found = [row for row in self.store.queue if row["id"].startswith(message_id)][:2]
        if not found:
            return {"type": "error", "code": "not_found", "message": "message not found"}
        if len(found) > 1:
            return {"type": "error", "code": "ambiguous_prefix",
                    "message": f"prefix matched {len(found)} messages \u2014 use a longer id"}
        row, state = found[0], "delivered" if found[0]["delivered_at"] else "held"
        heard = [one for one in self.presences.values() if row["target"] in ("*", "@all", one.key)]
        recipients = [{"name": one.name, "pubkey": one.key, "status": state} for one in heard]
        unknown = [{"name": "unknown", "pubkey": row["target"][:16], "status": "disconnected"}]
        return {"type": "message_status_result", "messageId": message_id, "targetSpec": row["target"],
                "delivered": state == "delivered", "recipients": recipients or unknown,
                "deliveredAt": iso(row["delivered_at"]) if row["delivered_at"] else None}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder")
    parser.add_argument("port", type=int)
    parser.add_argument("--claim-ms", type=int, default=30_000)
    parser.add_argument("--lease-ms", type=int, default=90_000)
    parser.add_argument("--burst", type=int, default=10)
    asyncio.run(Broker(parser.parse_args()).run())


if __name__ == "__main__":
    main()
