"""Feature negotiation and idempotent accept (daemon specification v0.9.0 sections 4.5b and 15, v10 section 4.6).

A 1.37.0 client that repeats a send because it lost the ack must find exactly one message at the recipient.
"""

import json
import threading
import unittest

from harness import ABSENT, BrokerTest, OwnBrokerTest
from mesh_crypto import request_fingerprint
from mesh_socket import build_frame
from test_send import NO_PEER_TEXT
from websockets.frames import Opcode

OTHER_FINGERPRINT = "ff" * 32


class IdempotencyBase(BrokerTest):
    def setUp(self):
        super().setUp()
        self.alice_member, self.bob_member = self.member("alice"), self.member("bob")
        self.alice, self.bob = self.connect(self.alice_member), self.connect(self.bob_member)
        self.bob_key = self.bob_member.keys.public

    def keyed_frame(self, text, client_id, target=None, **overrides):
        """A send as the 1.37.0 daemon writes it: the id of the frame is the client's message id."""
        target = target or self.bob_key
        fingerprint = request_fingerprint("topic" if target == "*" else "dm", target, text)
        fields = {"id": client_id, "client_message_id": client_id, "request_fingerprint": fingerprint, **overrides}
        return self.alice.message_frame(target, text, **fields)

    def assert_duplicate(self, ack, message_id):
        """Success for an old client (queued, no error, the first id), and marked for a new one."""
        self.assertEqual(self.assert_accepted_ack(ack), message_id)
        self.assertIs(ack.get("duplicate"), True)

    def assert_reused(self, ack):
        self.assert_refused_ack(ack)
        self.assertEqual(ack.get("code"), "idempotency_key_reused")

    def assert_one_push(self, client, text, message_id=None):
        push = client.wait_push(text, message_id)
        self.assert_no_push(client)
        return push


class IdempotentAcceptTest(IdempotencyBase):
    def test_same_id_and_fingerprint(self):
        frame = self.keyed_frame("once", "cid-1")
        first = self.alice.send_frame(frame)
        message_id = self.assert_accepted_ack(first)
        self.assertIs(first.get("duplicate", False), False)
        for _ in range(3):
            self.assert_duplicate(self.alice.send_frame(frame), message_id)
        self.assert_one_push(self.bob, "once", message_id)

    def test_retry_is_encrypted_anew(self):
        """Nonce and ciphertext are not part of the request; a client may encrypt again for its retry."""
        message_id = self.assert_accepted_ack(self.alice.send_frame(self.keyed_frame("once", "cid-1")))
        self.assert_duplicate(self.alice.send_frame(self.keyed_frame("once", "cid-1")), message_id)
        self.assert_one_push(self.bob, "once")

    def test_retry_after_delivery_and_confirmation(self):
        frame = self.keyed_frame("once", "cid-1")
        message_id = self.alice.send_frame(frame)["messageId"]
        self.bob.client_ack(self.bob.wait_push("once"))
        self.eventually(lambda: self.alice.message_status(message_id)["delivered"])
        self.assert_duplicate(self.alice.send_frame(frame), message_id)
        self.assert_no_push(self.bob)

    def test_retry_over_a_new_connection(self):
        frame = self.keyed_frame("once", "cid-1")
        self.alice.send_json(frame)
        push = self.bob.wait_push("once")
        self.alice.drop()
        self.assert_duplicate(self.connect(self.alice_member).send_frame(frame), push["messageId"])
        self.assert_no_push(self.bob)

    def test_retry_to_an_offline_member(self):
        carol = self.member("carol")
        frame = self.keyed_frame("once", "cid-1", carol.keys.public)
        message_id = self.assert_accepted_ack(self.alice.send_frame(frame))
        self.assert_duplicate(self.alice.send_frame(frame), message_id)
        self.assert_one_push(self.connect(carol), "once", message_id)

    def test_retry_of_a_multicast(self):
        frame = self.keyed_frame("once", "cid-1", "*")
        carol = self.member("carol")
        message_id = self.assert_accepted_ack(self.alice.send_frame(frame))
        self.assert_duplicate(self.alice.send_frame(frame), message_id)
        self.assert_one_push(self.bob, "once", message_id)
        self.assert_one_push(self.connect(carol), "once", message_id)

    def test_other_fingerprint(self):
        message_id = self.assert_accepted_ack(self.alice.send_frame(self.keyed_frame("first", "cid-1")))
        self.assert_reused(self.alice.send_frame(self.keyed_frame("second", "cid-1")))
        forged = self.keyed_frame("first", "cid-1", request_fingerprint=OTHER_FINGERPRINT)
        self.assert_reused(self.alice.send_frame(forged))
        self.assert_one_push(self.bob, "first", message_id)
        self.assert_duplicate(self.alice.send_frame(self.keyed_frame("first", "cid-1")), message_id)

    def test_answer_to_a_reused_key(self):
        """v0.9.0 section 4.5b: the conflict, and the first 8 bytes of the fingerprint that the broker holds."""
        frame = self.keyed_frame("first", "cid-1")
        self.alice.send_frame(frame)
        ack = self.alice.send_frame(self.keyed_frame("second", "cid-1"))
        self.assertEqual(ack.get("conflict"), "request_fingerprint_mismatch")
        self.assertEqual(ack.get("client_message_id"), "cid-1")
        self.assertEqual(ack.get("broker_fingerprint_prefix"), frame["request_fingerprint"][:16])

    def test_other_target_under_the_same_key(self):
        carol = self.connect(self.member("carol"))
        self.alice.send_frame(self.keyed_frame("for bob", "cid-1"))
        self.assert_reused(self.alice.send_frame(self.keyed_frame("for bob", "cid-1", carol.member.keys.public)))
        self.assert_no_push(carol)

    def test_same_id_without_fingerprint(self):
        frame = self.keyed_frame("once", "cid-1", request_fingerprint=ABSENT)
        message_id = self.assert_accepted_ack(self.alice.send_frame(frame))
        self.assertEqual(self.alice.send_frame(frame).get("messageId"), message_id)
        self.assert_one_push(self.bob, "once", message_id)

    def test_ids_are_scoped_by_mesh(self):
        self.assert_accepted_ack(self.alice.send_frame(self.keyed_frame("here", "cid-1")))
        other = self.new_mesh()
        carol, dave = self.connect(self.member("carol", other)), self.connect(self.member("dave", other))
        ack = carol.send(dave.member.keys.public, "there", client_message_id="cid-1",
                         request_fingerprint=OTHER_FINGERPRINT)
        self.assert_accepted_ack(ack)
        self.assertNotEqual(ack.get("duplicate"), True)
        dave.wait_push("there")

    def test_different_ids_are_different_messages(self):
        frames = [self.keyed_frame("same text", f"cid-{number}") for number in range(3)]
        ids = {self.assert_accepted_ack(self.alice.send_frame(frame)) for frame in frames}
        self.assertEqual(len(ids), 3)
        self.assertEqual({self.bob.wait_push("same text")["messageId"] for _ in range(3)}, ids)

    def test_sends_without_an_id_are_never_duplicates(self):
        frame = self.alice.message_frame(self.bob_key, "twice")
        ids = {self.assert_accepted_ack(self.alice.send_frame(frame)) for _ in range(2)}
        self.assertEqual(len(ids), 2)
        self.assertEqual({self.bob.wait_push("twice")["messageId"] for _ in range(2)}, ids)

    def test_refused_send_consumes_no_id(self):
        """A dedupe record exists only when the accept was committed (v10 section 4.6.2, phases B1 and B2)."""
        stranger = "ab" * 32
        refused = self.keyed_frame("x", "cid-1")
        self.assert_refused_ack(self.alice.send_frame(dict(refused, targetSpec=stranger)), NO_PEER_TEXT)
        ack = self.alice.send_frame(self.keyed_frame("second try", "cid-1"))
        self.assert_accepted_ack(ack)
        self.assertNotEqual(ack.get("duplicate"), True)
        self.assert_one_push(self.bob, "second try")

    def test_concurrent_retries(self):
        """The same send over five connections at once: one message, one id."""
        frame = self.keyed_frame("once", "cid-race")
        clients = [self.connect(self.alice_member) for _ in range(5)]
        data = build_frame(Opcode.TEXT, json.dumps(frame).encode())
        threads = [threading.Thread(target=client.socket.send_raw, args=(data + data,)) for client in clients]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        acks = [client.socket.wait_for(lambda f: f["type"] == "ack") for client in clients for _ in range(2)]
        self.assertEqual(len({self.assert_accepted_ack(ack) for ack in acks}), 1)
        self.assertEqual(sorted(bool(ack.get("duplicate")) for ack in acks), [False] + [True] * 9)
        self.assert_one_push(self.bob, "once", acks[0]["messageId"])


class RateLimitedRetryTest(IdempotencyBase):
    options = {"rate_limit_per_min": 1, "rate_limit_burst": 2}

    def test_retry_costs_no_budget(self):
        """v10 phase B0: a retry of an accepted message is answered before the rate limit is looked at."""
        frame = self.keyed_frame("once", "cid-1")
        message_id = self.assert_accepted_ack(self.alice.send_frame(frame))
        for _ in range(6):
            self.assert_duplicate(self.alice.send_frame(frame), message_id)
        self.assert_accepted_ack(self.alice.send_frame(self.keyed_frame("two", "cid-2")))
        self.assert_refused_ack(self.alice.send_frame(self.keyed_frame("three", "cid-3")))
        self.assert_duplicate(self.alice.send_frame(frame), message_id)
        self.assert_reused(self.alice.send_frame(self.keyed_frame("other", "cid-1")))

    def test_rate_limited_send_consumes_no_id(self):
        for number in range(2):
            self.alice.send_frame(self.keyed_frame("x", f"cid-{number}"))
        self.assert_refused_ack(self.alice.send_frame(self.keyed_frame("limited", "cid-limited")))
        other = self.connect(self.member("carol"))
        frame = other.message_frame(self.bob_key, "free", client_message_id="cid-limited",
                                    request_fingerprint="01" * 32)
        ack = other.send_frame(frame)
        self.assert_accepted_ack(ack)
        self.assertNotEqual(ack.get("duplicate"), True)


class CrashTest(OwnBrokerTest):
    def test_no_ack_is_lost_and_no_message_doubled_by_a_crash(self):
        """Kill the broker in the middle of a pipeline, retry everything: each message once, acked ids unchanged."""
        alice_member, bob_member = self.member("alice"), self.member("bob")
        alice = self.connect(alice_member)
        frames = [alice.message_frame(bob_member.keys.public, f"m{n}", id=f"cid-{n}", client_message_id=f"cid-{n}",
                                      request_fingerprint=f"{n:064x}") for n in range(9)]
        alice.socket.send_raw(b"".join(build_frame(Opcode.TEXT, json.dumps(frame).encode()) for frame in frames))
        alice.socket.wait_for(lambda f: f["type"] == "ack" and f["id"] == "cid-3")
        self.broker.kill()
        alice.socket.wait_closed()
        acked = {ack["id"]: ack["messageId"] for ack in alice.socket.take(lambda f: f["type"] == "ack")}
        self.broker.start()
        again = self.connect(alice_member)
        final = {frame["id"]: self.assert_accepted_ack(again.send_frame(frame)) for frame in frames}
        self.assertEqual({name: final[name] for name in acked}, acked)
        bob = self.connect(bob_member)
        texts = [bob.read(bob.wait_push()) for _ in frames]
        self.assertEqual(sorted(texts), sorted(f"m{n}" for n in range(9)))
        self.assert_no_push(bob)


class NegotiationTest(IdempotencyBase):
    def negotiate(self, require=(), optional=()):
        return self.alice.request("feature_negotiation_request", require=list(require), optional=list(optional))

    def test_dedupe_is_offered_with_valid_parameters(self):
        reply = self.negotiate(["client_message_id_dedupe"], ["max_payload"])
        self.assertEqual(reply["type"], "feature_negotiation_response")
        self.assertEqual(reply["missing_required"], [])
        params = reply["supported"]["client_message_id_dedupe"]["params"]
        self.assertEqual(params["version"], 1)
        self.assertIs(params["request_fingerprint"], True)
        self.assertIn(params["mode"], ("retention_scoped", "permanent"))
        if params["mode"] == "retention_scoped":
            self.assertGreaterEqual(params["dedupe_retention_days"], 3)

    def test_every_offer_has_a_version(self):
        for name, offer in self.negotiate()["supported"].items():
            self.assertEqual(offer["params"]["version"], 1, name)

    def test_payload_limits_if_offered(self):
        offer = self.negotiate()["supported"].get("max_payload")
        if offer is not None:
            self.assertGreaterEqual(offer["params"]["inline_bytes"], 1024)
            self.assertGreaterEqual(offer["params"]["blob_bytes"], 1024)

    def test_unknown_requirement_is_named_and_nothing_else_happens(self):
        """Closing with 4010 is the daemon's part."""
        reply = self.negotiate(["client_message_id_dedupe", "time_travel"], ["teleport"])
        self.assertEqual(reply["missing_required"], ["time_travel"])
        self.assertNotIn("time_travel", reply["supported"])
        self.alice.fence()

    def test_old_clients_never_ask(self):
        self.assertEqual(self.bob.socket.take(lambda f: f["type"].startswith("feature_")), [])


if __name__ == "__main__":
    unittest.main()
