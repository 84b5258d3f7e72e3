"""send and ack: targets, exact texts, push fields, multicast rules, limits (wire/02 sections 3 and 4, wire/05 1)."""

import json
import unittest

from harness import ABSENT, BrokerTest, ISO_TIME
from mesh_crypto import KeyPair
from mesh_socket import build_frame
from websockets.frames import Opcode

NO_PEER_TEXT = "no connected peer for target (not online, or targetSpec is your own key without another session)"
RATE_TEXT = "rate_limit: max {} msg/min (burst {}) — slow down"
DRAINED_FIELDS = {"type", "messageId", "meshId", "senderPubkey", "priority", "nonce", "ciphertext", "createdAt"}
LIVE_FIELDS = DRAINED_FIELDS | {"senderMemberPubkey", "senderMemberId", "senderName"}  # and the client_message_id, if stored


class SendTest(BrokerTest):
    """Base: alice and bob have a plain member connection each."""

    def setUp(self):
        super().setUp()
        self.alice_member, self.bob_member = self.member("alice"), self.member("bob")
        self.alice, self.bob = self.connect(self.alice_member), self.connect(self.bob_member)
        self.bob_key = self.bob_member.keys.public


class DirectTest(SendTest):
    def test_member_key(self):
        message_id = self.assert_accepted_ack(self.alice.send(self.bob_key, "grüße ☕"))
        push = self.bob.wait_push()
        self.assertEqual(push["messageId"], message_id)
        self.assertEqual(push["senderPubkey"], self.alice_member.keys.public)
        self.assertEqual(self.bob.read(push), "grüße ☕")

    def test_fields_of_a_drained_push(self):
        """Direct messages come as queue rows, without senderMemberPubkey: a 1.37.0 daemon drops its own."""
        frame = self.alice.message_frame(self.bob_key, "x", priority="now")
        self.alice.send_frame(frame)
        push = self.bob.wait_push()
        self.assertEqual(set(push), DRAINED_FIELDS)
        self.assertEqual((push["meshId"], push["priority"]), (self.mesh.id, "now"))
        self.assertEqual((push["nonce"], push["ciphertext"]), (frame["nonce"], frame["ciphertext"]))
        self.assertRegex(push["createdAt"], ISO_TIME)

    def test_client_id_and_fingerprint_are_replayed(self):
        fingerprint = "ab" * 32
        self.alice.send(self.bob_key, "x", client_message_id="cid-1", request_fingerprint=fingerprint)
        push = self.bob.wait_push()
        self.assertEqual((push["client_message_id"], push["request_fingerprint"]), ("cid-1", fingerprint))

    def test_empty_client_id_is_none(self):
        for text in ("one", "two"):
            self.assert_accepted_ack(self.alice.send(self.bob_key, text, client_message_id="", request_fingerprint=""))
            self.assertNotIn("client_message_id", self.bob.wait_push(text))

    def test_ack_echoes_the_id(self):
        ack = self.alice.send(self.bob_key, "x", id="any text ü")
        self.assertEqual(ack["id"], "any text ü")
        self.assertEqual(self.alice.send(self.bob_key, "x", id=ABSENT)["id"], "")

    def test_session_key_of_a_cold_connection(self):
        keys = KeyPair.generate()
        cold = self.connect(self.bob_member, keys)
        self.assert_accepted_ack(self.alice.send(keys.public, "to the session"))
        self.assertEqual(cold.read(cold.wait_push()), "to the session")
        self.assert_no_push(self.bob)

    def test_session_key_of_a_session_connection(self):
        launched = self.session(self.bob_member)
        client = self.connect_session(launched)
        self.assert_accepted_ack(self.alice.send(launched.keys.public, "to the session"))
        self.assertEqual(client.read(client.wait_push()), "to the session")
        self.assert_no_push(self.bob)

    def test_sender_key_is_the_session_key_if_there_is_one(self):
        keys = KeyPair.generate()
        cold = self.connect(self.alice_member, keys)
        cold.send(self.bob_key, "from the session")
        push = self.bob.wait_push()
        self.assertEqual(push["senderPubkey"], keys.public)
        self.assertEqual(self.bob.read(push), "from the session")

    def test_one_presence_per_claim(self):
        """A message to a member key goes to one of the member's connections, whichever drains first."""
        session = self.connect_session(self.session(self.bob_member))
        cold = self.connect(self.bob_member, KeyPair.generate())
        self.alice.send(self.bob_key, "once")
        everybody = (self.bob, session, cold)
        pushes = self.eventually(lambda: [push for client in everybody for push in client.take_pushes()],
                                 what="the push")
        self.assertEqual(len(pushes), 1)
        self.assert_no_push(*everybody)

    def test_sibling_gets_what_is_sent_to_its_session_key(self):
        sibling = self.session(self.alice_member)
        client = self.connect_session(sibling)
        self.assert_accepted_ack(self.alice.send(sibling.keys.public, "from the other window"))
        client.wait_push("from the other window")

    def test_own_member_key_reaches_another_session_not_the_sender(self):
        client = self.connect_session(self.session(self.alice_member))
        self.assert_accepted_ack(self.alice.send(self.alice_member.keys.public, "note to self"))
        client.wait_push("note to self")
        self.assert_no_push(self.alice)

    def test_own_member_key_without_another_session(self):
        """Refused with the documented text, or kept for a later session; never echoed to the sending connection."""
        ack = self.alice.send(self.alice_member.keys.public, "note to self")
        if ack["queued"]:
            self.assert_no_push(self.alice)
            self.connect_session(self.session(self.alice_member)).wait_push("note to self")
        else:
            self.assert_refused_ack(ack, NO_PEER_TEXT)

    def test_own_session_key_is_no_target(self):
        launched = self.session(self.alice_member)
        client = self.connect_session(launched)
        self.assert_refused_ack(client.send(launched.keys.public, "echo"), NO_PEER_TEXT)
        self.assert_no_push(client, self.alice)

    def test_unknown_targets(self):
        """Names and prefixes are resolved by clients only; a mesh ends at its border."""
        foreigner = self.member("foreigner", self.new_mesh())
        self.connect(foreigner)
        unknown = {"unknown key": KeyPair.generate().public, "name": "bob", "prefix": self.bob_key[:16],
                   "upper case": self.bob_key.upper(), "other mesh": foreigner.keys.public, "empty": ""}
        for name, target in unknown.items():
            with self.subTest(name):
                frame = self.alice.message_frame(self.bob_key, name, targetSpec=target)
                self.assert_refused_ack(self.alice.send_frame(frame), NO_PEER_TEXT)
        self.assert_no_push(self.bob)

    def test_banned_member_is_no_target(self):
        self.revoke_member(self.bob_member)
        self.assert_refused_ack(self.alice.send(self.bob_key, "are you there"), NO_PEER_TEXT)

    def test_invalid_priority_is_never_accepted(self):
        for value in ("urgent", "", 3, None, ABSENT):
            with self.subTest(value=str(value)):
                self.alice.send_json(self.alice.message_frame(self.bob_key, "x", id="p1", priority=value))
                self.alice.fence()
                for ack in self.alice.socket.take(lambda f: f["type"] == "ack"):
                    self.assert_refused_ack(ack)
        self.assert_no_push(self.bob)

    def test_order_is_kept(self):
        for number in range(8):
            self.alice.send_json(self.alice.message_frame(self.bob_key, f"m{number}"))
        received = [self.bob.read(self.bob.wait_push()) for _ in range(8)]
        self.assertEqual(received, [f"m{number}" for number in range(8)])

    def test_ciphertext_is_opaque(self):
        """The broker neither needs nor checks base64."""
        frame = self.alice.message_frame(self.bob_key, "x", nonce="", ciphertext="not base64 ☕ \u0000")
        self.assert_accepted_ack(self.alice.send_frame(frame))
        self.assertEqual(self.bob.wait_push()["ciphertext"], "not base64 ☕ \u0000")

    def test_dnd_holds_all_but_now(self):
        self.bob.send_json({"type": "set_status", "status": "dnd"})
        self.bob.fence()
        self.alice.send(self.bob_key, "later", priority="next")
        self.alice.send(self.bob_key, "much later", priority="low")
        self.assert_no_push(self.bob)
        self.alice.send(self.bob_key, "urgent", priority="now")
        self.bob.wait_push("urgent")
        self.bob.send_json({"type": "set_status", "status": "idle"})
        self.bob.fence()
        self.alice.send(self.bob_key, "trigger")
        for text in ("later", "much later", "trigger"):
            self.bob.wait_push(text)


class MulticastTest(SendTest):
    def setUp(self):
        super().setUp()
        self.bob_session = self.connect_session(self.session(self.bob_member))
        self.sibling = self.connect_session(self.session(self.alice_member))

    def test_star_and_all(self):
        """Every connection of every other member, none of the sender's."""
        for target in ("*", "@all"):
            with self.subTest(target):
                message_id = self.assert_accepted_ack(self.alice.send(target, f"to {target}"))
                for client in (self.bob, self.bob_session):
                    self.assertEqual(client.wait_push(f"to {target}")["messageId"], message_id)
                self.assert_no_push(self.alice, self.sibling, self.bob, self.bob_session)

    def test_fields_of_a_live_push(self):
        self.alice.send("*", "x", priority="low", client_message_id="cid-9", request_fingerprint="cd" * 32)
        push = self.bob.wait_push()
        self.assertEqual(set(push), LIVE_FIELDS | {"client_message_id"})
        self.assertEqual(push["client_message_id"], "cid-9")
        self.assertEqual(push["senderPubkey"], self.alice_member.keys.public)
        self.assertEqual(push["senderMemberPubkey"], self.alice_member.keys.public)
        self.assertEqual(push["senderMemberId"], self.alice_member.id)
        self.assertEqual(push["senderName"], "alice")
        self.assertEqual((push["meshId"], push["priority"]), (self.mesh.id, "low"))
        self.assertRegex(push["createdAt"], ISO_TIME)

    def test_session_key_of_the_sender(self):
        self.sibling.send("*", "from the session")
        push = self.bob.wait_push()
        self.assertEqual(push["senderPubkey"], self.sibling.routing_key)
        self.assertEqual(push["senderMemberPubkey"], self.alice_member.keys.public)

    def test_group(self):
        carol = self.connect(self.member("carol"), groups=[{"name": "dev"}, {"name": "ops", "role": "lead"}])
        self.bob.send_json({"type": "join_group", "name": "dev"})
        self.bob.fence()
        self.assert_accepted_ack(self.alice.send("@dev", "to the group"))
        for client in (carol, self.bob):
            client.wait_push("to the group")
        self.assert_no_push(self.bob_session, self.sibling)
        self.bob.send_json({"type": "leave_group", "name": "dev"})
        self.bob.fence()
        self.alice.send("@dev", "to the rest")
        carol.wait_push("to the rest")
        self.assert_no_push(self.bob)

    def test_group_names_match_exactly(self):
        carol = self.connect(self.member("carol"), groups=[{"name": "dev/backend"}, {"name": "Dev"}])
        self.alice.send("@dev", "parent")
        self.assert_no_push(carol)
        self.alice.send("@dev/backend", "child")
        carol.wait_push("child")

    def test_own_group(self):
        self.alice.send_json({"type": "join_group", "name": "dev"})
        self.sibling.send_json({"type": "join_group", "name": "dev"})
        self.sibling.fence()
        self.alice.send("@dev", "to my group")
        self.assert_no_push(self.alice, self.sibling)

    def test_status_does_not_hold_multicast(self):
        self.bob.send_json({"type": "set_status", "status": "dnd"})
        self.bob.fence()
        self.alice.send("*", "for all", priority="low")
        self.bob.wait_push("for all")

    def test_hidden_peers_are_skipped_but_reachable(self):
        self.bob.request("set_visible", visible=False)
        self.alice.send("*", "for the visible")
        self.bob_session.wait_push("for the visible")
        self.assert_no_push(self.bob)
        self.alice.send(self.bob_key, "just for you")
        everybody = (self.bob, self.bob_session)
        self.eventually(lambda: [push for client in everybody for push in client.take_pushes()],
                        what="the direct message")

    def test_other_meshes_hear_nothing(self):
        foreigner = self.connect(self.member("foreigner", self.new_mesh()))
        self.alice.send("*", "inside")
        self.bob.wait_push("inside")
        self.assert_no_push(foreigner)


class RateLimitTest(SendTest):
    def test_default_burst_and_text(self):
        frames = [self.alice.message_frame(self.bob_key, f"m{number}", id=f"m{number}") for number in range(15)]
        self.alice.socket.send_raw(b"".join(build_frame(Opcode.TEXT, json.dumps(frame).encode()) for frame in frames))
        acks = [self.alice.socket.wait_for(lambda f, wanted=frame["id"]: f["type"] == "ack" and f["id"] == wanted)
                for frame in frames]
        for ack in acks[:10]:
            self.assert_accepted_ack(ack)
        refused = [ack for ack in acks[10:] if not ack["queued"]]
        self.assertGreaterEqual(len(refused), 3, "one token comes back per second; what came at once takes much less")
        for ack in refused:
            self.assert_refused_ack(ack, RATE_TEXT.format(60, 10))


class ConfiguredRateTest(SendTest):
    options = {"rate_limit_per_min": 1, "rate_limit_burst": 2}

    def test_limit_is_per_member(self):
        """Another connection of the member is limited too, a new one as well; other members are not."""
        for number in range(2):
            self.alice.send(self.bob_key, f"m{number}")
        session = self.connect_session(self.session(self.alice_member))
        acks = [session.send("*", f"s{number}") for number in range(4)]
        self.assertNotIn(True, [ack["queued"] for ack in acks])
        self.alice.close()
        again = self.connect(self.alice_member)
        self.assertNotIn(True, [again.send("*", f"a{number}")["queued"] for number in range(4)])
        self.assert_accepted_ack(self.bob.send("*", "not me"))

    def test_refused_message_is_not_stored(self):
        for text in ("one", "two"):
            self.assert_accepted_ack(self.alice.send(self.bob_key, text))
        self.assert_refused_ack(self.alice.send(self.bob_key, "three"), RATE_TEXT.format(1, 2))
        for text in ("one", "two"):
            self.bob.wait_push(text)
        self.assert_no_push(self.bob)

    def test_multicast_counts_too(self):
        self.alice.send("*", "one")
        self.alice.send("@nobody", "two")
        self.assert_refused_ack(self.alice.send("*", "three"), RATE_TEXT.format(1, 2))


class SizeTest(SendTest):
    options = {"max_message_bytes": 4096}
    LIMIT = 4096

    def sized(self, total):
        """A send whose ciphertext, nonce and target have `total` characters together."""
        frame = self.alice.message_frame(self.bob_key, "x", id="s", ciphertext="")
        frame["ciphertext"] = "x" * (total - len(frame["nonce"]) - len(frame["targetSpec"]))
        return frame

    def test_below_the_limit(self):
        frame = self.sized(self.LIMIT - 300)
        self.assertLess(len(json.dumps(frame)), self.LIMIT)
        self.assert_accepted_ack(self.alice.send_frame(frame))
        self.assertEqual(self.bob.wait_push()["ciphertext"], frame["ciphertext"])

    def test_above_the_limit(self):
        """The frame is larger than its content, so a broker with one number for both limits closes with 1009 first."""
        total = self.LIMIT + 1
        self.alice.send_json(self.sized(total))
        try:
            ack = self.alice.socket.wait_for(lambda f: f["type"] == "ack", what="the ack")
        except AssertionError:
            self.assertEqual(self.alice.socket.wait_closed()[0], 1009)
        else:
            self.assert_refused_ack(ack, f"payload too large: {total} bytes > MAX_MESSAGE_BYTES={self.LIMIT}")
            self.alice.fence()
        self.assert_no_push(self.bob)


class MessageStatusTest(SendTest):
    def test_errors(self):
        cases = {"short": "abc", "long": "a" * 33, "sign": "abcdefgh-"}
        for name, value in cases.items():
            with self.subTest(name):
                reply = self.alice.message_status(value)
                self.assertEqual((reply["type"], reply["code"]), ("error", "invalid_argument"))
                self.assertEqual(reply["message"], f"messageId must be 8-32 base62 chars (got {len(value)})")
        for value in ("z" * 32, "zzzzzzzz"):
            reply = self.alice.message_status(value)
            self.assertEqual((reply["type"], reply["code"], reply["message"]),
                             ("error", "not_found", "message not found"))

    def test_held_and_delivered(self):
        message_id = self.alice.send(self.bob_key, "x")["messageId"]
        push = self.bob.wait_push()
        status = self.alice.message_status(message_id)
        self.assertEqual(status["type"], "message_status_result")
        self.assertEqual((status["messageId"], status["targetSpec"]), (message_id, self.bob_key))
        self.assertEqual((status["delivered"], status["deliveredAt"]), (False, None))
        self.assertEqual(status["recipients"], [{"name": "bob", "pubkey": self.bob_key, "status": "held"}])
        self.bob.client_ack(push)
        self.eventually(lambda: self.alice.message_status(message_id)["delivered"], what="delivered")
        status = self.alice.message_status(message_id)
        self.assertRegex(status["deliveredAt"], ISO_TIME)
        self.assertEqual(status["recipients"][0]["status"], "delivered")

    def test_prefix(self):
        message_id = self.alice.send(self.bob_key, "x")["messageId"]
        reply = self.alice.message_status(message_id[:12])
        self.assertEqual((reply["type"], reply["messageId"]), ("message_status_result", message_id[:12]))

    def test_other_meshes_do_not_see_it(self):
        message_id = self.alice.send(self.bob_key, "x")["messageId"]
        foreigner = self.connect(self.member("foreigner", self.new_mesh()))
        self.assertEqual(foreigner.message_status(message_id)["code"], "not_found")

    def test_multicast(self):
        message_id = self.alice.send("*", "x")["messageId"]
        self.bob.wait_push("x")
        status = self.alice.message_status(message_id)
        self.assertEqual((status["type"], status["targetSpec"]), ("message_status_result", "*"))
        self.assertIn(self.bob_key, [entry["pubkey"] for entry in status["recipients"]])

    def test_recipient_that_is_not_connected(self):
        carol = self.member("carol")
        message_id = self.alice.send(carol.keys.public, "x")["messageId"]
        entries = self.alice.message_status(message_id)["recipients"]
        self.assertEqual([(entry["pubkey"], entry["status"]) for entry in entries],
                         [(carol.keys.public[:16], "disconnected")])


class TopicTargetTest(SendTest):
    def test_topic_send_is_acknowledged_or_refused_but_answered(self):
        """`#x` needs the topics feature; without it the broker still owes an ack of the documented shape."""
        ack = self.alice.send("#" + "a" * 32, "to a topic")
        self.assertIn(ack["queued"], (True, False))
        if not ack["queued"]:
            self.assert_refused_ack(ack)


if __name__ == "__main__":
    unittest.main()
