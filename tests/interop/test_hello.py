"""The handshake: hello and session_hello, their acks, and every refusal in the documented order (wire/02 section 2)."""

import unittest

import mesh_crypto as crypto
import meshclient
from harness import ABSENT, BrokerTest
from mesh_crypto import KeyPair
from meshclient import hello_frame, now_ms, session_hello_frame

BAD_SESSION_TEXT = "sessionPubkey must be 64 lowercase hex chars"
BAD_PARENT_TEXT = "parentMemberPubkey must be 64 lowercase hex chars"
MISMATCH_TEXT = "parentAttestation does not bind the claimed session+parent pubkeys"
CAPACITY_TEXT = "mesh at connection capacity"
ZERO_SIGNATURE = "00" * 64


class HelloTest(BrokerTest):
    def setUp(self):
        super().setUp()
        self.alice = self.member("alice")

    def refuse(self, code, message=None, close=None, member=None, **overrides):
        member = member or self.alice
        self.assert_rejected(self.open(member), hello_frame(member, **overrides), code, message, close)

    # --- accepted ---

    def test_ack_of_a_new_member(self):
        ack = self.open(self.alice).hello()
        self.assertTrue(isinstance(ack["presenceId"], str) and ack["presenceId"])
        self.assertEqual(ack["memberDisplayName"], "alice")
        self.assertEqual(ack["memberProfile"]["roleTag"], None)
        self.assertEqual(ack["memberProfile"]["groups"], [])
        self.assertEqual(ack["memberProfile"]["messageMode"], "push")
        for name in ("restored", "lastSummary", "restoredGroups", "restoredStats"):
            self.assertNotIn(name, ack)
        self.assertIsInstance(ack.get("services", []), list)

    def test_display_name_overrides_the_member_name(self):
        self.assertEqual(self.open(self.alice).hello(displayName="laptop")["memberDisplayName"], "laptop")

    def test_session_key_becomes_the_routing_key(self):
        keys = KeyPair.generate()
        client = self.connect(self.alice, keys)
        row = client.peer(keys.public)
        self.assertEqual(row["memberPubkey"], self.alice.keys.public)
        self.assertEqual(row["peerRole"], "control-plane")

    def test_empty_and_null_session_key_mean_none(self):
        for value in ("", None):
            with self.subTest(value=value):
                client = self.connect(self.alice, sessionPubkey=value)
                self.assertIsNotNone(client.peer(self.alice.keys.public))
                client.close()

    def test_missing_cwd_is_accepted(self):
        """Connectors and the SDK send none."""
        self.connect(self.alice, cwd=ABSENT).fence()

    def test_optional_and_unknown_fields_are_tolerated(self):
        self.connect(self.alice, protocolVersion=1, capabilities=["x"], model="m",
                     resumeToken="mesh-resume.v1.forged.sig",
                     somethingNew={"a": [1]}, groups=[{"name": "dev", "role": "lead"}]).fence()

    def test_member_id_is_signed_but_not_looked_up(self):
        self.connect(self.alice, memberId="whatever").fence()

    def test_signature_may_be_upper_case(self):
        frame = hello_frame(self.alice)
        self.open(self.alice).handshake(dict(frame, signature=frame["signature"].upper()))

    def test_skew_below_a_minute_is_accepted(self):
        for delta in (-55_000, 55_000):
            with self.subTest(delta=delta):
                self.connect(self.alice, timestamp=now_ms() + delta).close()

    # --- refused ---

    def test_bad_session_pubkey(self):
        for value in ("ab", "G" * 64, KeyPair.generate().public.upper(), KeyPair.generate().public + "00"):
            with self.subTest(value=value[:8]):
                self.refuse("bad_session_pubkey", BAD_SESSION_TEXT, sessionPubkey=value)

    def test_session_key_of_another_member(self):
        bob = self.member("bob")
        launched = self.session(bob)
        self.connect_session(launched).close()
        for value in (bob.keys.public, launched.keys.public):
            with self.subTest(value=value[:8]):
                self.refuse("bad_session_pubkey", sessionPubkey=value)
        self.connect(bob, sessionPubkey=launched.keys.public).close()

    def test_timestamp_skew(self):
        for delta in (-65_000, 65_000):
            with self.subTest(delta=delta):
                self.refuse("timestamp_skew", "hello rejected: timestamp_skew", timestamp=now_ms() + delta)

    def test_timestamp_that_is_not_a_number(self):
        for value in ("soon", None, "1e3"):
            with self.subTest(value=value):
                self.refuse("timestamp_skew", timestamp=value)
        frame = hello_frame(self.alice)
        del frame["timestamp"]
        self.assert_rejected(self.open(self.alice), frame, "timestamp_skew")

    def test_malformed(self):
        text = "hello rejected: malformed"
        self.refuse("malformed", text, pubkey="abcd")
        self.refuse("malformed", text, pubkey="zz" * 32)
        self.refuse("malformed", text, signature="ab" * 63)
        self.refuse("malformed", text, signature="xy" * 64)

    def test_bad_signature(self):
        text = "hello rejected: bad_signature"
        other = KeyPair.generate()
        self.refuse("bad_signature", text, sign_with=other)
        self.refuse("bad_signature", text, signature=ZERO_SIGNATURE)
        frame = hello_frame(self.alice)
        for name, value in (("meshId", self.new_mesh().id), ("memberId", "other"),
                            ("timestamp", frame["timestamp"] + 1)):
            with self.subTest(changed=name):
                self.assert_rejected(self.open(self.alice), dict(frame, **{name: value}), "bad_signature", text)

    def test_canonical_string_uses_pipes(self):
        frame = hello_frame(self.alice)
        text = f"{frame['meshId']}\n{frame['memberId']}\n{frame['pubkey']}\n{frame['timestamp']}"
        self.refuse("bad_signature", timestamp=frame["timestamp"], signature=self.alice.keys.sign(text))

    def test_unauthorized(self):
        stranger = meshclient.Member(self.mesh, "stranger", self.alice.id, KeyPair.generate())
        self.refuse("unauthorized", "pubkey not found in mesh", member=stranger)
        self.refuse("unauthorized", "pubkey not found in mesh", meshId="no-such-mesh")
        foreign = self.member("foreign", self.new_mesh())
        self.refuse("unauthorized", "pubkey not found in mesh", member=foreign, meshId=self.mesh.id)

    def test_upper_case_member_key_is_another_key(self):
        frame = hello_frame(self.alice, pubkey=self.alice.keys.public.upper())
        self.assert_rejected(self.open(self.alice), frame, "unauthorized")

    def test_revoked(self):
        self.revoke_member(self.alice)
        text = f'You\'ve been removed from "{self.mesh.name}". Contact the mesh owner to rejoin.'
        self.refuse("revoked", text, close=(4002, "banned"))

    def test_order_of_the_checks(self):
        """Each frame has all faults from one check on; the first one must be named."""
        stranger = meshclient.Member(self.mesh, "stranger", "x", KeyPair.generate())
        late = now_ms() - 120_000
        self.refuse("bad_session_pubkey", member=stranger, sessionPubkey="bad", timestamp=late, signature="bad")
        self.refuse("timestamp_skew", member=stranger, timestamp=late, signature="bad")
        self.refuse("malformed", member=stranger, signature="bad")
        self.refuse("bad_signature", member=stranger, signature=ZERO_SIGNATURE)
        self.refuse("unauthorized", member=stranger)

    def test_refusal_leaves_no_presence(self):
        bob = self.connect(self.member("bob"))
        self.refuse("bad_signature", signature=ZERO_SIGNATURE)
        self.assertIsNone(bob.peer(self.alice.keys.public))
        self.assert_no_event(bob)

    # --- before the hello ---

    def test_must_send_hello_first(self):
        client = self.open(self.alice)
        for frame in ({"type": "list_peers"}, {"type": "send", "id": "1", "targetSpec": "*"}, {"type": "no_such_type"}):
            with self.subTest(frame["type"]):
                client.send_json(frame)
                error = client.socket.wait_for(lambda f: f["type"] == "error", what="no_hello")
                self.assertEqual((error["code"], error["message"]), ("no_hello", "must send hello first"))
        client.hello()
        client.fence()


class SessionHelloTest(BrokerTest):
    def setUp(self):
        super().setUp()
        self.alice = self.member("alice")
        self.launched = self.session(self.alice)

    def refuse(self, code, message=None, close=None, launched=None, **overrides):
        launched = launched or self.launched
        client = self.open(session=launched)
        self.assert_rejected(client, session_hello_frame(launched, **overrides), code, message, close)

    # --- accepted ---

    def test_ack(self):
        ack = self.open(session=self.launched).session_hello()
        self.assertTrue(isinstance(ack["presenceId"], str) and ack["presenceId"])
        self.assertEqual(ack["memberDisplayName"], self.launched.name)
        self.assertEqual(ack["memberProfile"]["messageMode"], "push")
        self.assertNotIn("services", ack)
        self.assertNotIn("restored", ack)

    def test_peer_row(self):
        client = self.connect_session(self.launched, model="m1", role="reviewer", groups=[{"name": "dev"}])
        row = client.peer(self.launched.keys.public)
        self.assertEqual(row["peerRole"], "session")
        self.assertEqual(row["memberPubkey"], self.alice.keys.public)
        self.assertEqual(row["sessionId"], self.launched.session_id)
        self.assertEqual(row["groups"], [{"name": "dev"}])
        self.assertEqual(row["model"], "m1")

    def test_parent_member_id_is_optional(self):
        for value in (ABSENT, ""):
            client = self.open(session=self.session(self.alice))
            client.session_hello(parentMemberId=value)

    def test_day_long_attestation(self):
        lifetime_ms = crypto.ATTESTATION_MAX_MS - 60_000
        self.connect_session(self.launched, parentAttestation=self.launched.attestation(lifetime_ms))

    def test_unknown_attestation_fields_are_ignored(self):
        self.connect_session(self.launched, parentAttestation=dict(self.launched.attestation(), issuedBy="x"))

    # --- refused ---

    def test_bad_session_pubkey(self):
        for value in ("", "ab", self.launched.keys.public.upper(), ABSENT, None):
            with self.subTest(value=str(value)[:8]):
                self.refuse("bad_session_pubkey", BAD_SESSION_TEXT, sessionPubkey=value)

    def test_bad_parent_pubkey(self):
        for value in ("", "ab", self.alice.keys.public.upper(), ABSENT):
            with self.subTest(value=str(value)[:8]):
                self.refuse("bad_parent_pubkey", BAD_PARENT_TEXT, parentMemberPubkey=value)

    def test_attestation_mismatch(self):
        good = self.launched.attestation()
        other = KeyPair.generate()
        cases = {
            "missing": ABSENT, "null": None, "text": "attestation",
            "other session": crypto.make_attestation(self.alice.keys, other.public, good["expiresAt"]),
            "other parent": crypto.make_attestation(other, self.launched.keys.public, good["expiresAt"]),
        }
        for name, value in cases.items():
            with self.subTest(name):
                self.refuse("attestation_mismatch", MISMATCH_TEXT, parentAttestation=value)

    def test_attestation_reasons(self):
        attest = lambda lifetime: self.launched.attestation(lifetime)
        forged = dict(attest(3_600_000), signature=self.launched.keys.sign("anything"))
        stretched = dict(attest(3_600_000), expiresAt=now_ms() + 7_200_000)
        cases = {
            "expired": (attest(-1000), "expired"),
            "too long": (attest(crypto.ATTESTATION_MAX_MS + 60_000), "ttl_too_long"),
            "no expiry": (dict(attest(1000), expiresAt="tomorrow"), "malformed"),
            "short signature": (dict(attest(3_600_000), signature="abcd"), "malformed"),
            "forged": (forged, "bad_signature"),
            "stretched": (stretched, "bad_signature"),
        }
        for name, (value, code) in cases.items():
            with self.subTest(name):
                self.refuse(code, f"attestation rejected: {code}", parentAttestation=value)

    def test_session_signature_reasons(self):
        cases = {
            "late": ({"timestamp": now_ms() - 65_000}, "timestamp_skew"),
            "early": ({"timestamp": now_ms() + 65_000}, "timestamp_skew"),
            "short": ({"signature": "abcd"}, "malformed"),
            "signed by the parent": ({"sign_with": self.alice.keys}, "bad_signature"),
            "zero": ({"signature": ZERO_SIGNATURE}, "bad_signature"),
        }
        for name, (overrides, code) in cases.items():
            with self.subTest(name):
                self.refuse(code, f"session_hello rejected: {code}", **overrides)

    def test_signed_for_another_mesh(self):
        frame = session_hello_frame(self.launched)
        self.assert_rejected(self.open(session=self.launched), dict(frame, meshId=self.new_mesh().id), "bad_signature",
                             "session_hello rejected: bad_signature")

    def test_unauthorized(self):
        stranger = meshclient.Member(self.mesh, "stranger", "x", KeyPair.generate())
        self.refuse("unauthorized", "parent pubkey not found in mesh", launched=self.session(stranger))

    def test_revoked(self):
        self.revoke_member(self.alice)
        self.refuse("revoked", close=(4002, "banned"))

    def test_parent_member_id_mismatch(self):
        bob = self.member("bob")
        self.refuse("parent_member_id_mismatch", "parentMemberId does not match parentMemberPubkey",
                    parentMemberId=bob.id)

    def test_order_of_the_checks(self):
        stranger = meshclient.Member(self.mesh, "stranger", "x", KeyPair.generate())
        launched = self.session(stranger)
        expired = launched.attestation(-1000)
        late = now_ms() - 120_000
        self.refuse("bad_session_pubkey", launched=launched, sessionPubkey="bad", parentMemberPubkey="bad",
                    parentAttestation=None, timestamp=late)
        self.refuse("bad_parent_pubkey", launched=launched, parentMemberPubkey="bad", parentAttestation=None,
                    timestamp=late)
        self.refuse("attestation_mismatch", launched=launched, parentAttestation=None, timestamp=late)
        self.refuse("expired", launched=launched, parentAttestation=expired, timestamp=late)
        self.refuse("timestamp_skew", launched=launched, timestamp=late, signature="bad")
        self.refuse("malformed", launched=launched, signature="bad")
        self.refuse("bad_signature", launched=launched, signature=ZERO_SIGNATURE)
        self.refuse("unauthorized", launched=launched, parentMemberId="not-" + stranger.id)


class CapacityTest(BrokerTest):
    options = {"max_connections_per_mesh": 3}

    def test_the_limit(self):
        alice = self.member("alice")
        first = [self.connect(alice) for _ in range(3)]
        stranger = meshclient.Member(self.mesh, "stranger", "x", KeyPair.generate())
        self.assert_rejected(self.open(alice), hello_frame(alice), "capacity", CAPACITY_TEXT)
        self.assert_rejected(self.open(stranger), hello_frame(stranger, signature="bad"), "capacity", CAPACITY_TEXT)
        self.assert_rejected(self.open(alice), hello_frame(alice, sessionPubkey="bad"), "bad_session_pubkey")
        launched = self.session(alice)
        frame = session_hello_frame(launched, parentAttestation=launched.attestation(-1))
        self.assert_rejected(self.open(session=launched), frame, "capacity", CAPACITY_TEXT)
        self.connect(self.member("elsewhere", self.new_mesh()))
        first[0].fence()

    def test_replacement_does_not_leak_capacity(self):
        """One session that is replaced again and again occupies one place, not one more each time."""
        alice = self.member("alice")
        launched = self.session(alice)
        self.connect(alice, sessionId="same-id")
        for _ in range(6):
            self.connect_session(launched)
            self.connect(alice, sessionId="same-id")
        self.connect(alice)


if __name__ == "__main__":
    unittest.main()
