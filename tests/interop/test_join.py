"""HTTP beside the WebSocket: conventions, /health, POST /join with its errors in order (wire/03 sections 1, 2, 4)."""

import threading
import time
import unittest

import mesh_crypto as crypto
import meshclient
from harness import BrokerTest, HOST
from mesh_crypto import KeyPair
from meshclient import http_request, join_body

MISSING_TEXT = "invite_token, invite_payload, peer_pubkey, display_name required"
PUBKEY_TEXT = "peer_pubkey must be 64 hex chars (32 bytes)"
CORS = {
    "access-control-allow-origin": "*",
    "access-control-allow-methods": "POST, GET, OPTIONS",
    "access-control-allow-headers":
        "Content-Type, X-Mesh-Id, X-Member-Id, X-File-Name, X-Tags, X-Persistent, X-Target-Spec",
}


class HttpTest(BrokerTest):
    def call(self, method, target, body=None, headers=None):
        return http_request(HOST, self.broker.port, method, target, body, headers)

    def post_join(self, body):
        return self.call("POST", "/join", body)

    def assert_join_error(self, body, error, status=400):
        reply = self.post_join(body)
        self.assertEqual((reply.status, reply.json), (status, {"ok": False, "error": error}))


class ConventionsTest(HttpTest):
    def test_health(self):
        reply = self.call("GET", "/health")
        self.assertEqual(reply.status, 200)
        self.assertEqual(reply.headers["content-type"].split(";")[0], "application/json")
        body = reply.json
        self.assertEqual((body["status"], body["db"]), ("ok", "up"))
        self.assertIsInstance(body["version"], str)
        self.assertIsInstance(body["gitSha"], str)
        self.assertGreaterEqual(body["uptime"], 0)

    def test_json_is_compact(self):
        text = self.call("GET", "/health").body
        self.assertNotIn(b": ", text)
        self.assertNotIn(b"\n", text)

    def test_ready(self):
        reply = self.call("GET", "/health/ready")
        self.assertEqual((reply.status, reply.json["status"]), (200, "ready"))

    def test_target_is_matched_exactly(self):
        for target in ("/health?x", "/health/", "/Health", "/join?x=1", "/no/such/route"):
            with self.subTest(target):
                reply = self.call("GET", target)
                self.assertEqual((reply.status, reply.body), (404, b"not found"))

    def test_cors_headers_are_everywhere(self):
        replies = {"health": self.call("GET", "/health"), "not found": self.call("GET", "/no/such/route"),
                   "join error": self.post_join({}), "preflight": self.call("OPTIONS", "/join")}
        for name, reply in replies.items():
            with self.subTest(name):
                self.assertEqual({header: reply.headers.get(header) for header in CORS}, CORS)

    def test_options_is_204_and_empty(self):
        for target in ("/join", "/health", "/no/such/route"):
            reply = self.call("OPTIONS", target)
            self.assertEqual((reply.status, reply.body), (204, b""))


class JoinTest(HttpTest):
    def setUp(self):
        super().setUp()
        self.keys = KeyPair.generate()

    def body(self, invite, keys=None, **changes):
        return dict(join_body(invite, keys or self.keys, "newcomer"), **changes)

    def invite(self, mesh=None, **fields):
        return self.broker.admin.invite(mesh or self.mesh, **fields)

    def forged_payload(self, **fields):
        """A payload with a valid signature, but of an owner that this test made up."""
        base = {"v": 1, "mesh_id": self.mesh.id, "mesh_slug": self.mesh.slug, "broker_url": "ws://h/ws",
                "expires_at": int(time.time()) + 3600, "mesh_root_key": crypto.b64url(bytes(32)), "role": "member"}
        return crypto.sign_invite(KeyPair.generate(), **dict(base, **fields))

    # --- accepted ---

    def test_invite_is_well_formed(self):
        payload = self.invite().payload
        self.assertEqual(payload["mesh_id"], self.mesh.id)
        self.assertEqual(payload["mesh_slug"], self.mesh.slug)
        self.assertEqual(payload["role"], "member")
        self.assertEqual(payload["broker_url"], f"ws://{HOST}:{self.broker.port}/ws")
        self.assertEqual(len(crypto.b64url_decode(payload["mesh_root_key"])), 32)
        self.assertAlmostEqual(payload["expires_at"], time.time() + 7 * 86400, delta=60)

    def test_join_then_hello(self):
        reply = self.post_join(self.body(self.invite()))
        self.assertEqual(reply.status, 200)
        self.assertIs(reply.json["ok"], True)
        self.assertNotIn("alreadyMember", reply.json)
        member = meshclient.Member(self.mesh, "newcomer", reply.json["memberId"], self.keys)
        self.assertEqual(self.open(member).hello()["memberDisplayName"], "newcomer")

    def test_joining_again_is_no_second_use(self):
        invite = self.invite(uses=1)
        first = self.post_join(self.body(invite)).json
        again = self.post_join(self.body(invite))
        self.assertEqual((again.status, again.json),
                         (200, {"ok": True, "memberId": first["memberId"], "alreadyMember": True}))
        self.assert_join_error(self.body(invite, KeyPair.generate()), "invite_exhausted")

    def test_uses_are_counted(self):
        invite = self.invite(uses=3)
        for _ in range(3):
            self.assertEqual(self.post_join(self.body(invite, KeyPair.generate())).status, 200)
        self.assert_join_error(self.body(invite, KeyPair.generate()), "invite_exhausted")

    def test_concurrent_joins_cannot_overuse_an_invite(self):
        invite = self.invite(uses=2)
        statuses = []

        def join_once():
            statuses.append(self.post_join(self.body(invite, KeyPair.generate())).status)

        threads = [threading.Thread(target=join_once) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(sorted(statuses), [200, 200] + [400] * 6)

    def test_one_key_in_two_meshes(self):
        other = self.new_mesh()
        ids = {self.post_join(self.body(self.invite(mesh))).json["memberId"] for mesh in (self.mesh, other)}
        self.assertEqual(len(ids), 2)

    def test_banned_key_can_join_again(self):
        reply = self.post_join(self.body(self.invite()))
        member = meshclient.Member(self.mesh, "newcomer", reply.json["memberId"], self.keys)
        self.revoke_member(member)
        again = self.post_join(self.body(self.invite()))
        self.assertEqual(again.status, 200)
        self.assertNotIn("alreadyMember", again.json)
        self.open(meshclient.Member(self.mesh, "newcomer", again.json["memberId"], self.keys)).hello()

    def test_role_of_the_invite(self):
        self.assertEqual(self.invite(role="admin").payload["role"], "admin")

    # --- refused, in the documented order ---

    def test_missing_fields(self):
        good = self.body(self.invite())
        for name in ("invite_token", "invite_payload", "peer_pubkey", "display_name"):
            with self.subTest(name):
                self.assert_join_error({key: value for key, value in good.items() if key != name}, MISSING_TEXT)
                self.assert_join_error(dict(good, **{name: ""}), MISSING_TEXT)
        self.assert_join_error({}, MISSING_TEXT)

    def test_bad_pubkey(self):
        invite = self.invite()
        for value in ("abcd", "zz" * 32, "ab" * 33):
            with self.subTest(value):
                self.assert_join_error(self.body(invite, peer_pubkey=value), PUBKEY_TEXT)

    def test_body_that_is_no_json(self):
        reply = self.post_join(b"not json")
        self.assertIn(reply.status, (400, 500))
        self.assertIs(reply.json["ok"], False)

    def test_body_too_large(self):
        try:
            reply = self.post_join(dict(self.body(self.invite()), padding="x" * 70000))
        except (ConnectionError, BrokenPipeError):
            return  # The request is destroyed; whether the 413 is still readable depends on timing.
        self.assertEqual((reply.status, reply.json), (413, {"ok": False, "error": "payload too large"}))

    def test_bad_signature(self):
        invite = self.invite()
        for change in ({"role": "admin"}, {"expires_at": invite.payload["expires_at"] + 1}, {"mesh_slug": "x"},
                       {"signature": "00" * 64}, {"owner_pubkey": self.keys.public}):
            with self.subTest(change):
                self.assert_join_error(self.body(invite, invite_payload=dict(invite.payload, **change)),
                                       "invite_bad_signature")

    def test_mesh_not_found(self):
        self.assert_join_error(self.body(self.invite(), invite_payload=self.forged_payload(mesh_id="nowhere")),
                               "mesh_not_found")

    def test_owner_mismatch(self):
        self.assert_join_error(self.body(self.invite(), invite_payload=self.forged_payload()), "invite_owner_mismatch")

    def test_invite_not_found(self):
        self.assert_join_error(self.body(self.invite(), invite_token="A" * 60), "invite_not_found")

    def test_mesh_mismatch(self):
        other = self.invite(self.new_mesh())
        self.assert_join_error(self.body(self.invite(), invite_token=other.token), "invite_mesh_mismatch")

    def test_role_is_that_of_the_token(self):
        admin = self.invite(role="admin")
        self.broker.admin.revoke_invite(self.mesh, admin)
        reply = self.post_join(self.body(self.invite(), invite_payload=admin.payload))
        self.assertEqual(reply.status, 200)
        client = self.open(meshclient.Member(self.mesh, "newcomer", reply.json["memberId"], self.keys))
        client.hello()
        self.assertEqual(client.request("unban", target="nobody")["code"], "forbidden")

    def test_revoked(self):
        invite = self.invite()
        self.broker.admin.revoke_invite(self.mesh, invite)
        self.assert_join_error(self.body(invite), "invite_revoked")

    def test_expired(self):
        """A spent invite tells by its answers when it expires, because that is checked first; no answer adds a member."""
        invite = self.invite(expires="1s")
        self.post_join(self.body(invite, KeyPair.generate()))
        self.eventually(lambda: self.post_join(self.body(invite)).json["error"] == "invite_expired",
                        what="the end of the invite")
        self.assertGreaterEqual(time.time(), invite.payload["expires_at"])
        self.assert_join_error(self.body(invite), "invite_expired")

    def test_order_of_the_checks(self):
        exhausted = self.invite(uses=1)
        self.post_join(self.body(exhausted, KeyPair.generate()))
        self.assert_join_error(self.body(exhausted, peer_pubkey="bad", display_name=""), MISSING_TEXT)
        self.assert_join_error(self.body(exhausted, peer_pubkey="bad", invite_payload={"v": 1}), PUBKEY_TEXT)
        unsigned = dict(self.forged_payload(mesh_id="nowhere"), signature="00" * 64)
        self.assert_join_error(self.body(exhausted, invite_payload=unsigned), "invite_bad_signature")
        self.assert_join_error(self.body(exhausted, invite_payload=self.forged_payload(mesh_id="nowhere")),
                               "mesh_not_found")
        self.assert_join_error(
            self.body(exhausted, invite_payload=self.forged_payload(), invite_token="A" * 60), "invite_owner_mismatch")
        self.assert_join_error(self.body(exhausted), "invite_exhausted")
        self.broker.admin.revoke_invite(self.mesh, exhausted)
        self.assert_join_error(self.body(exhausted), "invite_revoked")

    def test_refused_join_makes_no_member(self):
        self.assert_join_error(self.body(self.invite(), invite_token="A" * 60), "invite_not_found")
        member = meshclient.Member(self.mesh, "newcomer", "x", self.keys)
        self.assert_rejected(self.open(member), meshclient.hello_frame(member), "unauthorized")


if __name__ == "__main__":
    unittest.main()
