"""Presence: list_peers, events and who gets them, leases, reattach, replacement, staleness (wire/02 1.3 and 5)."""

import time
import unittest

from harness import BrokerTest, ISO_TIME, SHORT_LEASES
from mesh_crypto import KeyPair
from mesh_socket import DEFAULT_TIMEOUT_S, NO_CLOSE_FRAME, WaitTimeout

GRACE_S = SHORT_LEASES["lease_grace_ms"] / 1000
CLOCK_STEP_S = 0.001  # the broker counts in whole milliseconds
STALE_S = SHORT_LEASES["stale_after_ms"] / 1000
REPLACED = (1000, "session_replaced")


class ListPeersTest(BrokerTest):
    def setUp(self):
        super().setUp()
        self.alice_member, self.bob_member = self.member("alice"), self.member("bob")

    def test_fields(self):
        alice = self.connect(self.alice_member, sessionId="sid-1", cwd="/a", hostname="host", peerType="human",
                             channel="web", model="m", displayName="Alice A.", groups=[{"name": "dev", "role": "lead"}])
        row = alice.peer(self.alice_member.keys.public)
        expected = {"pubkey": self.alice_member.keys.public, "memberPubkey": self.alice_member.keys.public,
                    "displayName": "Alice A.", "status": "idle", "summary": None, "sessionId": "sid-1", "cwd": "/a",
                    "peerRole": "control-plane", "hostname": "host", "peerType": "human", "channel": "web",
                    "model": "m", "visible": True, "groups": [{"name": "dev", "role": "lead"}]}
        self.assertEqual({name: row.get(name) for name in expected}, expected)
        self.assertRegex(row["connectedAt"], ISO_TIME)
        self.assertNotIn("role", row, "the top-level role belongs to clients")

    def test_order_and_scope(self):
        first = self.connect(self.alice_member)
        second = self.connect_session(self.session(self.bob_member))
        third = self.connect(self.bob_member)
        self.connect(self.member("foreigner", self.new_mesh()))
        for client in (first, second, third):
            keys = [row["pubkey"] for row in client.list_peers()]
            self.assertEqual(keys, [first.routing_key, second.routing_key, third.routing_key])

    def test_request_id_is_optional(self):
        alice = self.connect(self.alice_member)
        alice.send_json({"type": "list_peers"})
        self.assertNotIn("_reqId", alice.socket.wait_for(lambda f: f["type"] == "peers_list"))

    def test_fire_and_forget_setters(self):
        alice, bob = self.connect(self.alice_member), self.connect(self.bob_member)
        stats = {"messagesIn": 1, "messagesOut": 2, "toolCalls": 3, "errors": 0, "uptime": 60}
        for frame in ({"type": "set_status", "status": "working"}, {"type": "set_summary", "summary": "testing ü"},
                      {"type": "set_stats", "stats": stats}, {"type": "join_group", "name": "dev", "role": "lead"},
                      {"type": "join_group", "name": "ops"}):
            alice.send_json(frame)
        alice.fence()
        row = bob.peer(alice.routing_key)
        self.assertEqual((row["status"], row["summary"], row["stats"]), ("working", "testing ü", stats))
        self.assertEqual(row["groups"], [{"name": "dev", "role": "lead"}, {"name": "ops"}])
        for frame in ({"type": "set_status", "status": "dnd"}, {"type": "set_summary"},
                      {"type": "join_group", "name": "dev"},
                      {"type": "leave_group", "name": "ops"}, {"type": "leave_group", "name": "never joined"}):
            alice.send_json(frame)
        alice.fence()
        row = bob.peer(alice.routing_key)
        self.assertEqual((row["status"], row["summary"], row["groups"]), ("dnd", "", [{"name": "dev"}]))
        self.assertEqual(alice.socket.take(lambda f: f["type"] in ("ack", "error")), [], "these have no reply")

    def test_profile(self):
        alice, bob = self.connect(self.alice_member), self.connect(self.bob_member)
        ack = alice.request("set_profile", avatar="A", title="Engineer", bio="b", capabilities=["cpp"])
        self.assertEqual((ack["type"], ack["id"], ack["messageId"], ack["queued"]), ("ack", ack["_reqId"], "", False))
        alice.request("set_profile", title="Lead")
        self.assertEqual(bob.peer(alice.routing_key)["profile"],
                         {"avatar": "A", "title": "Lead", "bio": "b", "capabilities": ["cpp"]})

    def test_visibility(self):
        alice, bob = self.connect(self.alice_member), self.connect(self.bob_member)
        sibling = self.connect_session(self.session(self.alice_member))
        key, event = alice.routing_key, {"name": "alice", "pubkey": alice.routing_key}
        ack = alice.request("set_visible", visible=False)
        self.assertEqual((ack["type"], ack["id"], ack["messageId"], ack["queued"]), ("ack", ack["_reqId"], "", False))
        for client in (bob, sibling):
            self.assertEqual(client.wait_event("peer_hidden")["eventData"], event)
        self.assertIsNone(bob.peer(key))
        self.assertIs(sibling.peer(key)["visible"], False)
        self.assertIsNotNone(alice.peer(key))
        alice.request("set_visible", visible=True)
        for client in (bob, sibling):
            self.assertEqual(client.wait_event("peer_visible")["eventData"], event)
        self.assertIs(bob.peer(key)["visible"], True)
        self.assertEqual(alice.take_events("peer_hidden", "peer_visible"), [])


class JoinedEventTest(BrokerTest):
    def setUp(self):
        super().setUp()
        self.alice_member, self.bob_member = self.member("alice"), self.member("bob")
        self.bob = self.connect(self.bob_member)

    def test_shape(self):
        self.connect(self.alice_member, groups=[{"name": "dev"}])
        push = self.bob.wait_event("peer_joined")
        expected = {"type": "push", "subtype": "system", "event": "peer_joined", "meshId": self.mesh.id,
                    "senderPubkey": "system", "priority": "low", "nonce": "", "ciphertext": ""}
        self.assertEqual({name: push.get(name) for name in expected}, expected)
        self.assertTrue(push["messageId"])
        self.assertRegex(push["createdAt"], ISO_TIME)
        data = push["eventData"]
        self.assertEqual((data["name"], data["pubkey"], data["groups"]),
                         ("alice", self.alice_member.keys.public, [{"name": "dev"}]))

    def test_hello_is_told_to_other_members_only(self):
        sibling = self.connect(self.alice_member)
        self.bob.wait_event("peer_joined")
        newcomer = self.connect(self.alice_member, KeyPair.generate())
        self.bob.wait_event("peer_joined", pubkey=newcomer.routing_key)
        self.assert_no_event(sibling, newcomer, self.bob)

    def test_session_hello_is_told_to_everybody_else(self):
        sibling = self.connect(self.alice_member)
        launched = self.session(self.alice_member)
        newcomer = self.connect_session(launched)
        for client in (sibling, self.bob):
            data = client.wait_event("peer_joined", pubkey=launched.keys.public)["eventData"]
            self.assertEqual(data["name"], launched.name)
        self.assert_no_event(newcomer)

    def test_other_meshes_are_not_told(self):
        foreigner = self.connect(self.member("foreigner", self.new_mesh()))
        self.connect(self.alice_member)
        self.bob.wait_event("peer_joined")
        self.assert_no_event(foreigner)


class ReattachTest(BrokerTest):
    """Within the default lease of 90 s: nobody hears of a lost connection that comes back."""

    def setUp(self):
        super().setUp()
        self.alice_member, self.bob_member = self.member("alice"), self.member("bob")
        self.bob = self.connect(self.bob_member)

    def assert_silent_reattach(self, first, connect):
        first.send_json({"type": "set_summary", "summary": "kept"})
        first.send_json({"type": "join_group", "name": "kept"})
        first.fence()
        first.drop()
        self.assertIsNotNone(self.bob.peer(first.routing_key), "a leased peer stays in the list")
        self.bob.wait_event("peer_joined", pubkey=first.routing_key)
        second = connect()
        self.assertEqual(second.presence_id, first.presence_id)
        row = second.peer(first.routing_key)
        self.assertEqual((row["summary"], row["groups"]), ("kept", [{"name": "kept"}]))
        self.assertEqual(len([row for row in self.bob.list_peers() if row["pubkey"] == first.routing_key]), 1)
        self.assertNotIn("restored", second.ack)
        self.assert_no_event(self.bob)

    def test_hello_with_session_key(self):
        keys = KeyPair.generate()
        first = self.connect(self.alice_member, keys, sessionId="one")
        self.assert_silent_reattach(first, lambda: self.connect(self.alice_member, keys, sessionId="two"))

    def test_hello_without_session_key_by_session_id(self):
        first = self.connect(self.alice_member, sessionId="same")
        self.assert_silent_reattach(first, lambda: self.connect(self.alice_member, sessionId="same"))

    def test_session_hello(self):
        launched = self.session(self.alice_member)
        first = self.connect_session(launched)
        self.assert_silent_reattach(first, lambda: self.connect_session(launched))

    def test_ack_of_a_session_reattach_is_short(self):
        launched = self.session(self.alice_member)
        self.assertIn("memberProfile", self.connect_session(launched).ack)
        self.assertNotIn("memberProfile", self.connect_session(launched).ack)

    def test_reattach_refreshes_cwd_and_name(self):
        launched = self.session(self.alice_member)
        self.connect_session(launched).drop()
        client = self.connect_session(launched, cwd="/elsewhere", displayName="renamed")
        row = client.peer(launched.keys.public)
        self.assertEqual((row["cwd"], row["displayName"]), ("/elsewhere", "renamed"))

    def test_another_member_cannot_reattach(self):
        first = self.connect(self.alice_member, sessionId="guessed")
        first.drop()
        other = self.connect(self.bob_member, sessionId="guessed")
        self.assertNotEqual(other.presence_id, first.presence_id)
        owners = [row["memberPubkey"] for row in other.list_peers() if row["sessionId"] == "guessed"]
        self.assertEqual(owners.count(other.routing_key), 1)

    def test_session_hello_replaces_a_living_connection(self):
        launched = self.session(self.alice_member)
        old = self.connect_session(launched)
        self.bob.wait_event("peer_joined")
        new = self.connect_session(launched)
        self.assertEqual(old.socket.wait_closed(), REPLACED)
        self.assertEqual(new.presence_id, old.presence_id)
        new.fence()
        self.assert_no_event(self.bob)

    def test_same_session_id_replaces_a_living_connection(self):
        old = self.connect(self.alice_member, sessionId="same")
        new = self.connect(self.alice_member, sessionId="same")
        self.assertEqual(old.socket.wait_closed(), REPLACED)
        new.fence()
        self.assertEqual(len([row for row in self.bob.list_peers() if row["sessionId"] == "same"]), 1)
        self.eventually(lambda: self.bob.take_events("peer_joined"))
        self.assert_no_event(self.bob, events=("peer_left",))

    def test_replaced_connection_has_no_effect_any_more(self):
        launched = self.session(self.alice_member)
        old = self.connect_session(launched)
        new = self.connect_session(launched)
        old.send_json({"type": "set_summary", "summary": "ghost"})
        old.socket.wait_closed()
        new.fence()
        self.assertNotEqual(new.peer(launched.keys.public)["summary"], "ghost")

    def test_same_session_key_in_another_mesh_is_unrelated(self):
        keys = KeyPair.generate()
        self.connect(self.alice_member, keys)
        other = self.member("alice", self.new_mesh())
        self.connect(other, keys)
        self.assertIsNotNone(self.bob.peer(keys.public))


class LeaseEndTest(BrokerTest):
    options = SHORT_LEASES

    def setUp(self):
        super().setUp()
        self.alice_member, self.bob_member = self.member("alice"), self.member("bob")
        self.bob = self.connect(self.bob_member)

    def wait_left(self, client, key):
        return client.wait_event("peer_left", timeout_s=GRACE_S + DEFAULT_TIMEOUT_S, pubkey=key)

    def assert_outlives_a_lease(self):
        """A connection that ends now loses its lease, and nobody else does until then."""
        witness = self.member("witness")
        self.connect(witness).drop()
        self.wait_left(self.bob, witness.keys.public)
        events = self.bob.take_events("peer_joined", "peer_returned", "peer_left")
        self.assertEqual([event["eventData"]["pubkey"] for event in events], [witness.keys.public], "not its join alone")

    def test_one_leave_for_other_members_after_the_grace(self):
        sibling = self.connect(self.alice_member)
        launched = self.session(self.alice_member)
        client = self.connect_session(launched)
        for key in (sibling.routing_key, launched.keys.public):
            self.bob.wait_event("peer_joined", pubkey=key)
        closed_at_s = time.monotonic()
        client.close()
        data = self.wait_left(self.bob, launched.keys.public)["eventData"]
        self.assertGreaterEqual(time.monotonic() - closed_at_s, GRACE_S - CLOCK_STEP_S)
        self.assertEqual((data["name"], data["pubkey"]), (launched.name, launched.keys.public))
        self.assertIsNone(self.bob.peer(launched.keys.public))
        self.assertEqual(sibling.take_events("peer_left"), [])
        self.assert_no_event(self.bob, events=("peer_left",))

    def test_reattach_cancels_the_end(self):
        launched = self.session(self.alice_member)
        for _ in range(3):
            self.connect_session(launched).drop()
        self.connect_session(launched)
        self.bob.wait_event("peer_joined", pubkey=launched.keys.public)
        self.assert_outlives_a_lease()
        self.assertIsNotNone(self.bob.peer(launched.keys.public))

    def test_late_close_of_a_replaced_connection_changes_nothing(self):
        launched = self.session(self.alice_member)
        old = self.connect_session(launched)
        new = self.connect_session(launched)
        old.socket.wait_closed()
        old.drop()
        self.bob.wait_event("peer_joined", pubkey=launched.keys.public)
        self.assert_outlives_a_lease()
        new.fence()

    def test_one_join_after_the_end(self):
        launched = self.session(self.alice_member)
        for _ in range(2):
            self.connect_session(launched).drop()
            self.bob.wait_event("peer_joined", pubkey=launched.keys.public)
            self.wait_left(self.bob, launched.keys.public)
        self.assert_no_event(self.bob)

    def test_returning_member_is_restored(self):
        key = self.alice_member.keys.public
        alice = self.connect(self.alice_member, groups=[{"name": "dev"}])
        alice.send_json({"type": "set_summary", "summary": "was here"})
        alice.request("set_profile", title="Lead")
        alice.close()
        self.wait_left(self.bob, key)
        again = self.connect(self.alice_member)
        self.assertIs(again.ack.get("restored"), True)
        self.assertEqual(again.ack.get("lastSummary"), "was here")
        self.assertRegex(again.ack.get("lastSeenAt", ""), ISO_TIME)
        self.assertEqual(again.ack.get("restoredGroups"), [{"name": "dev"}])
        self.assertEqual(set(again.ack["restoredStats"]), {"messagesIn", "messagesOut", "toolCalls", "errors"})
        row = again.peer(key)
        self.assertEqual((row["groups"], row.get("profile", {}).get("title")), ([{"name": "dev"}], "Lead"))
        data = self.bob.wait_event("peer_returned")["eventData"]
        self.assertEqual((data["name"], data["pubkey"], data.get("summary")), ("alice", key, "was here"))
        self.assertEqual(self.bob.take_events("peer_joined")[1:], [])

    def test_groups_of_the_hello_win_over_restored_ones(self):
        alice = self.connect(self.alice_member, groups=[{"name": "old"}])
        alice.close()
        self.wait_left(self.bob, self.alice_member.keys.public)
        again = self.connect(self.alice_member, groups=[{"name": "new"}])
        self.assertNotIn("restoredGroups", again.ack)
        self.assertEqual(again.peer(self.alice_member.keys.public)["groups"], [{"name": "new"}])

    def test_the_broker_pings(self):
        self.assertEqual(self.bob.socket.wait_ping(), b"")

    def test_answering_keeps_a_quiet_connection_alive(self):
        """It is still there when one that came later and does not answer has been terminated."""
        mute = self.open(self.alice_member, auto_pong=False)
        mute.hello()
        self.assertEqual(mute.socket.wait_closed(STALE_S + DEFAULT_TIMEOUT_S)[0], NO_CLOSE_FRAME)
        self.assertTrue(self.bob.socket.is_open)
        self.bob.fence()

    def test_silent_connection_is_terminated_then_leased(self):
        launched = self.session(self.alice_member)
        mute = self.open(session=launched, auto_pong=False)
        mute.session_hello()
        self.assertEqual(mute.socket.wait_closed(STALE_S + DEFAULT_TIMEOUT_S)[0], NO_CLOSE_FRAME)
        self.assertIsNotNone(self.bob.peer(launched.keys.public))
        self.wait_left(self.bob, launched.keys.public)

    def test_ended_leases_free_their_place(self):
        """Connections that come and go for longer than the lease do not add up against the capacity of 100."""
        sessions = [self.session(self.alice_member) for _ in range(60)]
        for launched in sessions:
            self.connect_session(launched).drop()
        self.eventually(lambda: len(self.bob.list_peers()) == 1, GRACE_S + DEFAULT_TIMEOUT_S, "the end of all leases")
        for launched in sessions:
            self.connect_session(launched).drop()


class ReplacedEventTest(BrokerTest):
    def test_cold_connection_with_the_id_of_a_session(self):
        """A 1.37.0 command inside a launched session says hello with the session's own id; both must be usable."""
        member = self.member("alice")
        launched = self.session(member)
        session = self.connect_session(launched)
        cold = self.connect(member, KeyPair.generate(), sessionId=launched.session_id)
        cold.fence()
        try:
            session.fence()
        except WaitTimeout:  # the broker has replaced it, which shows here a moment later than there
            self.assertEqual(session.socket.wait_closed(), REPLACED)
            self.connect_session(launched).fence()


if __name__ == "__main__":
    unittest.main()
