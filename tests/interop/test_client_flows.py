"""What the parts of an unmodified 1.37.0 installation look at in the broker's frames, one use after the other.

The other files hold the broker against the protocol; these hold it against what the clients do with each reply: which fields
they show, what they store a message under, which texts make them give up (wire/06 sections 3 to 5, wire/07 sections 3 and 6).
"""

import json
import re
import tempfile
import unittest
import uuid

import meshclient
from client_1_37 import Daemon, cold_path
from harness import BrokerTest, ISO_TIME, OwnBrokerTest
from mesh_crypto import KeyPair
from mesh_socket import build_frame
from test_send import NO_PEER_TEXT, RATE_TEXT
from websockets.frames import Opcode

# What the two kinds of sockets of the daemon take for final; everything else is sent again, up to 25 times.
FINAL_ON_MEMBER_SOCKET = re.compile("payload_too_large|forbidden|not_found|invalid|schema|auth|signature", re.IGNORECASE)
FINAL_ON_SESSION_SOCKET = re.compile("unknown|invalid|forbidden|not_authorized|target_not_found", re.IGNORECASE)
ROW_FIELDS = {"pubkey", "memberPubkey", "displayName", "status", "summary", "groups", "sessionId", "connectedAt", "cwd",
              "peerRole", "visible"}
ROW_FIELDS_OF_A_DAEMON = ROW_FIELDS | {"hostname", "peerType", "channel"}
SELF_EDITABLE = {"displayName": True, "roleTag": True, "groups": True, "messageMode": True}


class FieldsTest(BrokerTest):
    """Field by field: nothing is missing, null where it should be absent, or there that a client would show."""

    def setUp(self):
        super().setUp()
        self.alice_member, self.bob_member = self.member("alice"), self.member("bob")

    def test_every_field_of_the_acks(self):
        profile = {"roleTag": None, "groups": [], "messageMode": "push"}
        common = {"type": "hello_ack", "memberProfile": profile, "meshPolicy": {"selfEditable": SELF_EDITABLE}}
        member = self.open(self.alice_member).hello()
        self.assertEqual(member, dict(common, presenceId=member["presenceId"], memberDisplayName="alice", services=[]))
        launched = self.session(self.alice_member)
        session = self.open(session=launched).session_hello()
        self.assertEqual(session, dict(common, presenceId=session["presenceId"], memberDisplayName=launched.name))
        again = self.open(session=launched).session_hello()
        self.assertEqual(again, {"type": "hello_ack", "presenceId": session["presenceId"],
                                 "memberDisplayName": launched.name})

    def test_every_field_of_the_rows(self):
        alice = self.connect(self.alice_member)
        launched = self.session(self.alice_member)
        self.connect_session(launched)
        bare = self.connect(self.bob_member, hostname=None, peerType=None, channel=None, model=None)
        daemon_row, session_row, bare_row = alice.list_peers()
        self.assertEqual((set(daemon_row), daemon_row["peerRole"]), (ROW_FIELDS_OF_A_DAEMON, "control-plane"))
        self.assertEqual((set(session_row), session_row["peerRole"]), (ROW_FIELDS_OF_A_DAEMON, "session"))
        self.assertEqual(set(bare_row), ROW_FIELDS, "what the hello left out or had as null is left out here")
        bare.send_json({"type": "set_stats", "stats": {"messagesIn": 1}})
        bare.request("set_profile", title="Lead")
        row = bare.peer(bare.routing_key)
        self.assertEqual((row["stats"], row["profile"]), ({"messagesIn": 1}, {"title": "Lead"}))

    def test_empty_and_null_names_mean_the_members(self):
        """`send` and `kick` find a peer by its name only; a launcher with an empty variable must not lose it."""
        watch = self.connect(self.bob_member)
        for value in ("", None):
            with self.subTest(value=value):
                launched = self.session(self.alice_member)
                self.assertEqual(self.open(self.alice_member).hello(KeyPair.generate(), displayName=value)
                                 ["memberDisplayName"], "alice")
                self.assertEqual(self.open(session=launched).session_hello(displayName=value)["memberDisplayName"],
                                 "alice")
                self.assertEqual(watch.peer(launched.keys.public)["displayName"], "alice")

    def test_reattach_with_an_empty_name_keeps_the_old_one(self):
        launched = self.session(self.alice_member)
        self.connect_session(launched)
        client = self.connect_session(launched, displayName="")
        self.assertEqual(client.peer(launched.keys.public)["displayName"], launched.name)

    def test_groups_and_unknown_fields_of_a_hello(self):
        client = self.connect(self.alice_member, groups=None)
        self.assertEqual(client.peer(client.routing_key)["groups"], [])
        launched = self.session(self.alice_member)
        session = self.connect_session(launched, groups=[{"name": "dev", "role": None}, {"role": "x"}, "ops", 3])
        self.assertEqual(session.peer(launched.keys.public)["groups"], [{"name": "dev"}])

    def test_second_hello_on_one_socket(self):
        """The session id replaces its own socket (wire/02 section 1.1); the client connects again."""
        client = self.connect(self.alice_member, sessionId="same")
        client.send_json(meshclient.hello_frame(self.alice_member, sessionId="same"))
        self.assertEqual(client.socket.wait_closed(), (1000, "session_replaced"))
        self.connect(self.alice_member, sessionId="same").fence()

    def test_close_without_a_code(self):
        """`close()` of the ws library sends a close frame without payload: answered in kind, and the connection ends."""
        client = self.connect(self.alice_member)
        client.socket.send_raw(build_frame(Opcode.CLOSE, b""))
        self.assertIn(client.socket.wait_closed()[0], (1000, 1005))
        client.socket.wait_tcp_end()


class MessageStatusTest(BrokerTest):
    def test_nobody_is_held_in_a_delivered_multicast(self):
        """`msg-status` prints each recipient; the sender is listed too and must not wait for ever."""
        alice, bob = self.connect(self.member("alice")), self.connect(self.member("bob"))
        message_id = alice.send("*", "x")["messageId"]
        push = bob.wait_push("x")
        states = {entry["name"]: entry["status"] for entry in alice.message_status(message_id)["recipients"]}
        self.assertEqual(states, {"alice": "held", "bob": "held"})
        bob.client_ack(push)
        status = self.eventually(lambda: [reply for reply in [alice.message_status(message_id)] if reply["delivered"]])[0]
        self.assertRegex(status["deliveredAt"], ISO_TIME)
        states = {entry["name"]: entry["status"] for entry in status["recipients"]}
        self.assertEqual(states, {"alice": "delivered", "bob": "delivered"})

    def test_each_recipient_of_a_multicast_for_itself(self):
        alice, bob, carol = (self.connect(self.member(name)) for name in ("alice", "bob", "carol"))
        message_id = alice.send("*", "x")["messageId"]
        carol.wait_push("x")
        bob.client_ack(bob.wait_push("x"))
        bob.fence()
        states = {entry["name"]: entry["status"] for entry in alice.message_status(message_id)["recipients"]}
        self.assertEqual(states, {"alice": "held", "bob": "delivered", "carol": "held"})


class RefusalTextsTest(BrokerTest):
    """The daemon reads nothing of a refused ack but its text."""

    options = {"rate_limit_per_min": 1, "rate_limit_burst": 3}

    def is_final(self, error):
        """Both kinds of sockets must come to the same conclusion."""
        verdicts = {bool(pattern.search(error)) for pattern in (FINAL_ON_MEMBER_SOCKET, FINAL_ON_SESSION_SOCKET)}
        self.assertEqual(len(verdicts), 1, f"final for one socket only: {error}")
        return verdicts.pop()

    def test_final_and_passing_refusals(self):
        alice, bob = self.connect(self.member("alice")), self.member("bob")
        keyed = {"client_message_id": "cid-1", "request_fingerprint": "ab" * 32}
        self.assert_accepted_ack(alice.send(bob.keys.public, "x", **keyed))
        reused = alice.send(bob.keys.public, "y", **dict(keyed, request_fingerprint="cd" * 32))
        self.assertTrue(self.is_final(reused["error"]), reused)
        topic = alice.send("#" + "a" * 32, "to a topic")
        self.assert_refused_ack(topic)
        self.assertTrue(self.is_final(topic["error"]), "a topic that is not served does not appear by trying again")
        nobody = alice.send(KeyPair.generate().public, "x")
        self.assert_refused_ack(nobody, NO_PEER_TEXT)
        self.assertFalse(self.is_final(nobody["error"]))
        limited = alice.send(bob.keys.public, "z")
        self.assert_refused_ack(limited, RATE_TEXT.format(1, 3))
        self.assertFalse(self.is_final(limited["error"]))


class EnvelopeTest(BrokerTest):
    """The limit counts the content, so a message at the limit, and one above it, fit into a frame; the socket stays open."""

    limit = 65536

    def sized(self, client, total, **fields):
        frame = client.message_frame("*", "x", ciphertext="", **fields)
        frame["ciphertext"] = "x" * (total - len(frame["nonce"]) - len(frame["targetSpec"]))
        return frame

    def test_at_the_limit_and_above_it(self):
        alice, bob = self.connect(self.member("alice")), self.connect(self.member("bob"))
        daemons = {"client_message_id": str(uuid.uuid4()), "request_fingerprint": "ab" * 32}
        largest = self.sized(alice, self.limit, **daemons)
        self.assertGreater(len(json.dumps(largest)), self.limit)
        self.assert_accepted_ack(alice.send_frame(largest))
        self.assertEqual(bob.wait_push()["ciphertext"], largest["ciphertext"])
        total = self.limit + 1
        refused = alice.send_frame(self.sized(alice, total))
        self.assert_refused_ack(refused, f"payload too large: {total} bytes > MAX_MESSAGE_BYTES={self.limit}")
        alice.fence()
        self.assert_no_push(bob)


class SmallEnvelopeTest(EnvelopeTest):
    options = {"max_message_bytes": 2048}
    limit = 2048


class DaemonRepliesTest(BrokerTest):
    """The daemon waits for types that its own broker never sends; ours sends both, so that nothing waits for a time-out."""

    def replies(self, client, kind, **fields):
        client.fence()
        client.socket.take()
        client.send_json({"type": kind, **fields})
        client.fence()
        return client.socket.take(lambda f: f["type"] != "push")

    def test_state_and_memory(self):
        client = self.connect(self.member("alice"))
        self.assertEqual(self.replies(client, "get_state", key="k", _reqId="mr-1"), [
            {"type": "state_result", "key": "k", "value": None, "updatedBy": "", "updatedAt": "", "_reqId": "mr-1"},
            {"type": "state_value", "state": None, "_reqId": "mr-1"}])
        self.assertEqual(self.replies(client, "recall", query="q", _reqId="mr-2"), [
            {"type": "memory_results", "memories": [], "_reqId": "mr-2"},
            {"type": "memory_recall_result", "matches": [], "_reqId": "mr-2"}])

    def test_only_for_requests_with_an_id(self):
        client = self.connect(self.member("alice"))
        for kind in ("get_state", "recall"):
            self.assertEqual(len(self.replies(client, kind, key="k", query="q")), 1)


class ModerationTest(BrokerTest):
    def setUp(self):
        super().setUp()
        self.root_member = self.member("root", role="admin")
        self.alice_member, self.bob_member = self.member("alice"), self.member("bob")
        self.root, self.alice = self.connect(self.root_member), self.connect(self.alice_member)
        self.launched = self.session(self.bob_member)
        self.bob, self.bob_session = self.connect(self.bob_member), self.connect_session(self.launched)

    def verb(self, client, kind, **fields):
        reply = client.request(kind, **fields)
        return {name: value for name, value in reply.items() if name != "_reqId"}

    def test_kick_spares_the_control_plane(self):
        reply = self.verb(self.root, "kick", target=self.bob_member.keys.public)
        self.assertEqual(reply, {"type": "kick_ack", "kicked": [self.launched.name], "affected": [self.launched.name],
                                 "skipped_control_plane": ["bob"]})
        self.assertEqual(self.bob_session.socket.wait_closed(), (4001, "kicked"))
        self.bob.fence()
        self.assertIsNone(self.alice.peer(self.launched.keys.public), "a kicked session has no lease")
        self.connect_session(self.launched).fence()

    def test_disconnect_ends_both(self):
        reply = self.verb(self.root, "disconnect", target="bob")
        self.assertEqual(reply, {"type": "disconnect_ack", "kicked": ["bob"], "affected": ["bob"]})
        self.assertEqual(self.bob.socket.wait_closed(), (1000, "disconnected"))
        self.bob_session.fence()

    def test_kick_of_nobody(self):
        for fields in ({}, {"target": "nobody"}, {"stale": 0}, {"target": ""}):
            with self.subTest(fields=fields):
                self.assertEqual(self.verb(self.root, "kick", **fields),
                                 {"type": "kick_ack", "kicked": [], "affected": []})

    def test_only_admins_may(self):
        words = {"kick": "kicked", "disconnect": "disconnected", "ban": "ban", "unban": "unban"}
        for kind, word in words.items():
            with self.subTest(kind):
                self.assertEqual(self.verb(self.alice, kind, target="bob"),
                                 {"type": "error", "code": "forbidden", "message": f"only owner or admin can {word}"})
        self.assertEqual(self.verb(self.alice, "list_bans"), {"type": "list_bans_result", "bans": []})

    def test_ban_and_its_end(self):
        self.assertEqual(self.verb(self.root, "ban", target="bob", reason="x"), {"type": "ban_ack", "banned": "bob"})
        for client in (self.bob, self.bob_session):
            self.assertEqual(client.socket.wait_closed(), (4002, "banned"))
        bans = self.verb(self.alice, "list_bans")["bans"]
        self.assertEqual([(ban["name"], ban["pubkey"]) for ban in bans], [("bob", self.bob_member.keys.public)])
        self.assertEqual(set(bans[0]), {"name", "pubkey", "revokedAt"})
        self.assertRegex(bans[0]["revokedAt"], ISO_TIME)
        self.assert_rejected(self.open(self.bob_member), meshclient.hello_frame(self.bob_member), "revoked",
                             close=(4002, "banned"))
        self.assertEqual(self.verb(self.root, "unban", target="bob"), {"type": "unban_ack", "unbanned": "bob"})
        self.connect(self.bob_member).fence()


class BrokerDeathTest(OwnBrokerTest):
    """The broker is killed under two running installations; everybody connects again by itself."""

    def setUp(self):
        super().setUp()
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.alice = Daemon(self, self.member("alice"), folder.name + "/alice")
        self.bob = Daemon(self, self.member("bob"), folder.name + "/bob")
        self.alice_session = self.alice.register_session(str(uuid.uuid4()), "alice-one")
        self.bob_session = self.bob.register_session(str(uuid.uuid4()), "bob-one")

    def kill_and_return(self, *sockets):
        self.broker.kill()
        self.broker.start()
        for socket in sockets or (self.alice.socket, self.alice_session, self.bob.socket, self.bob_session):
            daemon = socket.daemon
            own = socket in (self.alice.socket, self.bob.socket)
            socket.client = daemon.open_member_client() if own else daemon.open_session_client(socket.session)

    def test_one_row_for_each_and_everything_works(self):
        before = self.alice_session.send(self.bob_session.session.keys.public, "before", "cid-0")
        self.bob_session.receive()
        self.kill_and_return()
        rows = self.alice.socket.rpc("pl", "list_peers")["peers"]
        self.assertEqual(sorted(row["displayName"] for row in rows), ["alice", "alice-one", "bob", "bob-one"])
        for number, target in enumerate((self.bob_session.session.keys.public, self.bob.member.keys.public, "*")):
            self.alice_session.send(target, f"after {number}", f"cid-after-{number}")
        sockets = (self.bob.socket, self.bob_session)
        self.eventually(lambda: [socket.drain() for socket in sockets] and len(self.bob.inbox) == 4, what="the inbox")
        self.assertEqual({row["body"] for row in self.bob.inbox.values()}, {"before", "after 0", "after 1", "after 2"})
        cold = cold_path(self, self.alice.member)
        self.assertTrue(cold.message_status(before)["delivered"])

    def test_broadcast_that_was_stored_but_not_confirmed_is_one_row(self):
        """The daemon knows a repetition by client_message_id, else by messageId: live and repeated pushes must agree."""
        self.alice_session.send("*", "to all", "cid-1")
        for socket in (self.bob.socket, self.bob_session):
            push = socket.client.wait_push()
            self.bob.store(push, socket.read_body(push), socket.recipient)
        self.kill_and_return(self.bob.socket)
        push = self.bob.socket.client.wait_push("to all")
        self.assertIsNone(self.bob.store(push, "to all", self.bob.socket.recipient), "stored a second time")
        self.assertEqual(len(self.bob.inbox), 1)

    def test_direct_message_that_was_stored_but_not_confirmed_is_one_row(self):
        self.alice_session.send(self.bob_session.session.keys.public, "for you", "cid-1")
        push = self.bob_session.client.wait_push()
        self.bob.store(push, "for you", self.bob_session.recipient)
        self.kill_and_return(self.bob_session)
        self.assertIsNone(self.bob_session.receive(), "stored a second time")

    def test_row_whose_ack_was_lost_is_sent_again(self):
        frame = self.alice_session.client.message_frame(self.bob_session.session.keys.public, "once", id="cid-1",
                                                        client_message_id="cid-1", request_fingerprint="56" * 32)
        self.alice_session.client.send_json(frame)
        first = self.bob_session.receive()
        self.kill_and_return()
        self.assertEqual(self.alice_session.dispatch(frame), first["broker_message_id"])
        self.bob_session.client.fence()
        self.bob_session.drain()
        self.assertEqual(len(self.bob.inbox), 1)


if __name__ == "__main__":
    unittest.main()
