"""Durable delivery: store and forward, claims, client_ack, re-delivery, restarts (wire/04 section 5, wire/02 4.2).

Where this broker promises more than 1.37.0, the stronger promise is tested: a direct message to a member that is
offline is accepted and delivered later, and a multicast is kept for the members that are offline when it is sent.
"""

import unittest

from harness import BrokerTest, OwnBrokerTest, SHORT_LEASES
from mesh_crypto import KeyPair
from mesh_socket import DEFAULT_TIMEOUT_S
from test_send import DRAINED_FIELDS, NO_PEER_TEXT

GRACE_S = SHORT_LEASES["lease_grace_ms"] / 1000


class OfflineTest(BrokerTest):
    def setUp(self):
        super().setUp()
        self.alice_member, self.bob_member = self.member("alice"), self.member("bob")
        self.alice = self.connect(self.alice_member)
        self.bob_key = self.bob_member.keys.public

    def test_member_that_never_connected(self):
        message_id = self.assert_accepted_ack(self.alice.send(self.bob_key, "welcome"))
        bob = self.connect(self.bob_member)
        push = bob.wait_push("welcome")
        self.assertEqual(push["messageId"], message_id)
        self.assertEqual(set(push), DRAINED_FIELDS)

    def test_any_connection_of_the_member_drains(self):
        makers = {"cold": lambda: self.connect(self.bob_member, KeyPair.generate()),
                  "session": lambda: self.connect_session(self.session(self.bob_member))}
        for name, connect in makers.items():
            with self.subTest(name):
                self.alice.send(self.bob_key, f"for the member, {name}")
                client = connect()
                client.wait_push(f"for the member, {name}")
                client.close()

    def test_order_across_the_gap(self):
        for number in range(6):
            self.alice.send(self.bob_key, f"m{number}", priority=("now", "next", "low")[number % 3])
        bob = self.connect(self.bob_member)
        self.assertEqual([bob.read(bob.wait_push()) for _ in range(6)], [f"m{number}" for number in range(6)])

    def test_client_id_survives_the_gap(self):
        self.alice.send(self.bob_key, "x", client_message_id="cid", request_fingerprint="12" * 32)
        push = self.connect(self.bob_member).wait_push("x")
        self.assertEqual((push["client_message_id"], push["request_fingerprint"]), ("cid", "12" * 32))

    def test_multicast_waits_for_offline_members(self):
        carol = self.connect(self.member("carol"))
        message_id = self.assert_accepted_ack(self.alice.send("*", "to all"))
        carol.wait_push("to all")
        bob = self.connect(self.bob_member)
        self.assertEqual(bob.wait_push("to all")["messageId"], message_id)
        self.assert_no_push(bob, carol, self.alice)

    def test_multicast_is_not_kept_for_the_sender(self):
        self.alice.send("*", "to the others")
        self.assert_no_push(self.connect_session(self.session(self.alice_member)), self.connect(self.alice_member))

    def test_multicast_is_not_for_later_members(self):
        self.alice.send("*", "before your time")
        self.assert_no_push(self.connect(self.member("dave")))

    def test_gap_inside_the_lease(self):
        """Nothing is claimed for a connection that is away: a reattach gets it at once, not after the claim lease."""
        launched = self.session(self.bob_member)
        self.connect_session(launched).drop()
        self.assert_accepted_ack(self.alice.send(launched.keys.public, "to the session"))
        self.assert_accepted_ack(self.alice.send(self.bob_key, "to the member"))
        client = self.connect_session(launched)
        client.wait_push("to the session")
        client.wait_push("to the member")
        self.assert_no_push(client)

    def test_message_to_a_session_is_not_for_the_member(self):
        launched = self.session(self.bob_member)
        self.connect_session(launched).drop()
        self.alice.send(launched.keys.public, "only here")
        self.assert_no_push(self.connect(self.bob_member), self.connect_session(self.session(self.bob_member)))
        self.connect_session(launched).wait_push("only here")

    def test_dnd_is_respected_by_the_drain(self):
        launched = self.session(self.bob_member)
        client = self.connect_session(launched)
        client.send_json({"type": "set_status", "status": "dnd"})
        client.fence()
        client.drop()
        self.alice.send(launched.keys.public, "held")
        self.alice.send(launched.keys.public, "urgent", priority="now")
        client = self.connect_session(launched)
        client.wait_push("urgent")
        self.assert_no_push(client)


class ClaimTest(BrokerTest):
    options = SHORT_LEASES

    def setUp(self):
        super().setUp()
        self.alice_member, self.bob_member = self.member("alice"), self.member("bob")
        self.alice = self.connect(self.alice_member)
        self.launched = self.session(self.bob_member)
        self.bob = self.connect_session(self.launched)

    def delivered(self, message_id):
        return self.alice.message_status(message_id)["delivered"]

    def reattach(self):
        """The next connection of the same session. What the last one did not confirm comes again in its order."""
        self.bob.drop()
        self.bob = self.connect_session(self.launched)
        return self.bob

    def assert_nothing_but(self, last):
        """An unconfirmed message that was sent last comes again to a reattach, and nothing that was sent before it."""
        self.bob.wait_push(last)
        self.bob.client_ack(self.reattach().wait_push(last))
        self.assert_no_push(self.bob)

    def test_unconfirmed_push_comes_again(self):
        """No client_ack: a reattach gets the same message with the same id."""
        for target in (self.launched.keys.public, self.bob_member.keys.public):
            message_id = self.alice.send(target, "again")["messageId"]
            first = self.bob.wait_push("again")
            second = self.reattach().wait_push("again")
            self.assertEqual((first["messageId"], second["messageId"]), (message_id, message_id))
            self.assertEqual(first["createdAt"], second["createdAt"])
            self.bob.client_ack(second)
            self.eventually(lambda: self.delivered(message_id))

    def test_confirmed_push_is_not_repeated(self):
        for fields in ("brokerMessageId", "clientMessageId", "both"):
            with self.subTest(fields):
                cid = f"cid-{fields}"
                message_id = self.alice.send(self.launched.keys.public, fields, client_message_id=cid)["messageId"]
                self.bob.wait_push(fields)
                ids = {"brokerMessageId": message_id, "clientMessageId": cid}
                self.bob.client_ack(**{name: value for name, value in ids.items() if fields in (name, "both")})
                self.eventually(lambda: self.delivered(message_id), what="delivered")
        self.alice.send(self.launched.keys.public, "not confirmed")
        self.assert_nothing_but("not confirmed")

    def test_confirmation_right_before_the_end_counts(self):
        message_id = self.alice.send(self.launched.keys.public, "x")["messageId"]
        push = self.bob.wait_push("x")
        self.bob.client_ack(push)
        self.bob.close()
        self.eventually(lambda: self.delivered(message_id))

    def test_confirmation_twice_and_of_nothing(self):
        message_id = self.alice.send(self.launched.keys.public, "x")["messageId"]
        push = self.bob.wait_push("x")
        for frame in ({}, {"brokerMessageId": "z" * 32}, {"clientMessageId": "nobody"}, {"brokerMessageId": ""}):
            self.bob.client_ack(**frame)
        self.bob.fence()
        self.assertFalse(self.delivered(message_id))
        for _ in range(2):
            self.bob.client_ack(push)
        self.eventually(lambda: self.delivered(message_id))

    def test_only_the_recipient_can_confirm(self):
        """Not the sender, not a third member, not another session of the recipient, not another mesh."""
        frame = self.alice.message_frame(self.launched.keys.public, "mine", client_message_id="guessable")
        message_id = self.alice.send_frame(frame)["messageId"]
        self.bob.wait_push("mine")
        strangers = [self.alice, self.connect(self.member("carol")),
                     self.connect_session(self.session(self.bob_member)),
                     self.connect(self.member("foreigner", self.new_mesh()))]
        for stranger in strangers:
            stranger.client_ack(brokerMessageId=message_id, clientMessageId="guessable")
            stranger.fence()
        self.assertFalse(self.delivered(message_id))
        self.reattach().wait_push("mine")

    def test_multicast_is_repeated_until_a_client_that_confirms_has_confirmed(self):
        """Stronger than 1.37.0, where a broadcast to a connection that just broke is gone: a daemon's session that got it live
        and did not confirm it gets it again, under the same id; after its client_ack never more."""
        message_id = self.alice.send("*", "live")["messageId"]
        self.bob.wait_push("live")
        push = self.reattach().wait_push("live")
        self.assertEqual(push["messageId"], message_id)
        self.bob.client_ack(push)
        self.bob.fence()
        self.alice.send("*", "not confirmed")
        self.assert_nothing_but("not confirmed")

    def test_multicast_row_of_one_member_is_not_confirmed_by_another(self):
        carol_member = self.member("carol")
        dave = self.connect(self.member("dave"))
        message_id = self.alice.send("*", "to all")["messageId"]
        dave.client_ack(dave.wait_push("to all"))
        dave.fence()
        carol = self.connect(carol_member)
        self.assertEqual(carol.wait_push("to all")["messageId"], message_id)

    def test_claim_of_a_lost_sibling_is_freed(self):
        """A message to the member key that one connection got and never confirmed reaches another one later."""
        self.alice.send(self.bob_member.keys.public, "for any of us")
        self.bob.wait_push("for any of us")
        self.bob.drop()
        self.connect(self.bob_member).wait_push("for any of us")

    def test_session_key_of_an_ended_lease_stays_a_target(self):
        """Stronger than 1.37.0: the key of a session that the mesh has seen can still be written to; it finds the message when it
        returns. A key that nobody has seen is refused."""
        self.bob.drop()
        self.alice.wait_event("peer_left", timeout_s=GRACE_S + DEFAULT_TIMEOUT_S)
        self.assert_accepted_ack(self.alice.send(self.launched.keys.public, "not too late"))
        self.assert_refused_ack(self.alice.send(KeyPair.generate().public, "to nobody"), NO_PEER_TEXT)
        self.connect_session(self.launched).wait_push("not too late")

    def test_member_without_any_lease_is_a_target(self):
        self.bob.drop()
        self.alice.wait_event("peer_left", timeout_s=GRACE_S + DEFAULT_TIMEOUT_S)
        self.assert_accepted_ack(self.alice.send(self.bob_member.keys.public, "see you"))
        self.connect(self.bob_member).wait_push("see you")

    def test_message_to_a_session_outlives_its_lease(self):
        """The session key is stable: a session that returns after its lease ended finds what was accepted for it."""
        self.bob.drop()
        self.assert_accepted_ack(self.alice.send(self.launched.keys.public, "in the gap"))
        self.alice.wait_event("peer_left", timeout_s=GRACE_S + DEFAULT_TIMEOUT_S)
        self.connect_session(self.launched).wait_push("in the gap")


class RestartTest(OwnBrokerTest):
    """A message that was acknowledged survives kill -9 of the broker."""

    options = {"claim_lease_ms": SHORT_LEASES["claim_lease_ms"]}

    def setUp(self):
        super().setUp()
        self.alice_member, self.bob_member = self.member("alice"), self.member("bob")
        self.alice = self.connect(self.alice_member)

    def restart(self):
        self.broker.kill()
        self.broker.start()

    def test_kill_after_the_ack(self):
        texts = [f"m{number}" for number in range(5)]
        ids = [self.assert_accepted_ack(self.alice.send(self.bob_member.keys.public, text)) for text in texts]
        self.restart()
        bob = self.connect(self.bob_member)
        pushes = [bob.wait_push() for _ in texts]
        self.assertEqual([bob.read(push) for push in pushes], texts)
        self.assertEqual([push["messageId"] for push in pushes], ids)

    def test_kill_between_push_and_confirmation(self):
        bob = self.connect(self.bob_member)
        message_id = self.alice.send(self.bob_member.keys.public, "x")["messageId"]
        bob.wait_push("x")
        self.restart()
        self.assertEqual(self.connect(self.bob_member).wait_push("x")["messageId"], message_id)

    def test_confirmed_messages_stay_confirmed(self):
        bob = self.connect(self.bob_member)
        message_id = self.alice.send(self.bob_member.keys.public, "x")["messageId"]
        bob.client_ack(bob.wait_push("x"))
        self.eventually(lambda: self.alice.message_status(message_id)["delivered"])
        self.restart()
        self.assert_no_push(self.connect(self.bob_member))

    def test_idempotency_survives(self):
        frame = self.alice.message_frame(self.bob_member.keys.public, "x", client_message_id="cid",
                                         request_fingerprint="34" * 32)
        message_id = self.assert_accepted_ack(self.alice.send_frame(frame))
        self.restart()
        again = self.connect(self.alice_member).send_frame(frame)
        self.assertEqual((again["messageId"], again.get("duplicate")), (message_id, True))
        bob = self.connect(self.bob_member)
        bob.client_ack(bob.wait_push("x"))
        self.assert_no_push(bob)

    def test_members_and_multicast_survive(self):
        self.alice.send("*", "to all")
        self.restart()
        self.connect(self.bob_member).wait_push("to all")

    def test_shutdown_says_1001(self):
        self.assertEqual(self.broker.terminate(), 0)
        self.assertEqual(self.alice.socket.wait_closed(), (1001, "shutting down"))
        self.assertNotIn("refused by the store", self.broker.log_tail(), "its last writes came too late")
        self.broker.start()
        self.connect(self.alice_member).fence()


if __name__ == "__main__":
    unittest.main()
