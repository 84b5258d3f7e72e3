"""The judge judges itself: the pure parts of the client, checked against independent computations. Needs no broker."""

import base64
import hashlib
import json
import os
import tempfile
import unittest

import nacl.public
import nacl.signing

import mesh_crypto as crypto
import mesh_socket
import meshclient
from mesh_crypto import KeyPair
from websockets.connection import State
from websockets.frames import Frame, Opcode
from websockets.server import ServerConnection
from websockets.streams import StreamReader


class KeysTest(unittest.TestCase):
    def test_shapes(self):
        keys = KeyPair.generate()
        self.assertRegex(keys.public, crypto.HEX64)
        self.assertRegex(keys.secret, crypto.HEX128)
        self.assertEqual(keys.secret[64:], keys.public, "the second half of libsodium's secret is the public key")

    def test_known_answer_of_rfc_8032(self):
        """RFC 8032 section 7.1, test 2: one byte 0x72, which is the text 'r'."""
        keys = KeyPair.from_seed(bytes.fromhex("4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb"))
        self.assertEqual(keys.public, "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c")
        self.assertEqual(keys.sign("r"), "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da"
                                         "085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00")

    def test_verify(self):
        keys, other = KeyPair.generate(), KeyPair.generate()
        signature = keys.sign("text")
        self.assertTrue(crypto.verify("text", signature, keys.public))
        self.assertFalse(crypto.verify("texT", signature, keys.public))
        self.assertFalse(crypto.verify("text", signature, other.public))
        self.assertFalse(crypto.verify("text", "00", keys.public))

    def test_conversion_agrees_with_the_object_layer(self):
        keys = KeyPair.generate()
        signing = nacl.signing.SigningKey(bytes.fromhex(keys.secret)[:32])
        self.assertEqual(crypto.to_box_secret(keys.secret), signing.to_curve25519_private_key().encode())
        self.assertEqual(crypto.to_box_public(keys.public), signing.verify_key.to_curve25519_public_key().encode())


class CanonicalStringsTest(unittest.TestCase):
    def test_hello(self):
        self.assertEqual(crypto.hello_text("M", "m1", "aa", 1717459200000), "M|m1|aa|1717459200000")

    def test_attestation(self):
        self.assertEqual(crypto.attestation_text("pp", "ss", 7), "claudemesh-session-attest|pp|ss|7")

    def test_session_hello(self):
        self.assertEqual(crypto.session_hello_text("M", "pp", "ss", 7), "claudemesh-session-hello|M|pp|ss|7")

    def test_invite(self):
        payload = {"v": 1, "mesh_id": "M", "mesh_slug": "s", "broker_url": "ws://h/ws", "expires_at": 99,
                   "mesh_root_key": "rk", "role": "member", "owner_pubkey": "oo", "signature": "ignored"}
        self.assertEqual(crypto.invite_text(payload), "1|M|s|ws://h/ws|99|rk|member|oo")

    def test_attestation_object(self):
        parent, session = KeyPair.generate(), KeyPair.generate()
        made = crypto.make_attestation(parent, session.public, 5)
        self.assertEqual(set(made), {"sessionPubkey", "parentMemberPubkey", "expiresAt", "signature"})
        self.assertTrue(crypto.verify(crypto.attestation_text(parent.public, session.public, 5), made["signature"],
                                      parent.public))


class DirectMessageTest(unittest.TestCase):
    def test_round_trip(self):
        alice, bob = KeyPair.generate(), KeyPair.generate()
        nonce, ciphertext = crypto.encrypt("grüße ☕", bob.public, alice.secret)
        self.assertEqual(len(nonce), 32)
        self.assertEqual(len(base64.b64decode(ciphertext)), 16 + len("grüße ☕".encode()))
        self.assertEqual(crypto.decrypt(nonce, ciphertext, alice.public, bob.secret), "grüße ☕")

    def test_opens_with_the_object_layer(self):
        alice, bob = KeyPair.generate(), KeyPair.generate()
        nonce, ciphertext = crypto.encrypt("hi", bob.public, alice.secret)
        box = nacl.public.Box(nacl.public.PrivateKey(crypto.to_box_secret(bob.secret)),
                              nacl.public.PublicKey(crypto.to_box_public(alice.public)))
        self.assertEqual(box.decrypt(base64.b64decode(ciphertext), base64.b64decode(nonce)), b"hi")

    def test_failures_are_none(self):
        alice, bob, eve = KeyPair.generate(), KeyPair.generate(), KeyPair.generate()
        nonce, ciphertext = crypto.encrypt("hi", bob.public, alice.secret)
        self.assertIsNone(crypto.decrypt(nonce, ciphertext, alice.public, eve.secret))
        self.assertIsNone(crypto.decrypt(nonce, ciphertext, eve.public, bob.secret))
        self.assertIsNone(crypto.decrypt("AAAA", ciphertext, alice.public, bob.secret))
        self.assertIsNone(crypto.decrypt("", "", alice.public, bob.secret))

    def test_plain_body(self):
        nonce, ciphertext = crypto.plain_body("to all")
        self.assertEqual(len(base64.b64decode(nonce)), 24)
        self.assertEqual(crypto.read_plain_body(ciphertext), "to all")


class InviteTest(unittest.TestCase):
    def setUp(self):
        self.owner = KeyPair.generate()
        self.fields = {"v": 1, "mesh_id": "M", "mesh_slug": "s", "broker_url": "ws://h:1/ws", "expires_at": 1000,
                       "mesh_root_key": crypto.b64url(bytes(32)), "role": "member"}

    def token(self, **changes):
        return crypto.encode_invite(crypto.sign_invite(self.owner, **dict(self.fields, **changes)))

    def test_accepted_links(self):
        token = self.token()
        for link in (token, f"ic://join/{token}", f"ic://join/{token}/", f"https://any.host/join/{token}",
                     f"http://any.host:8/de/join/{token}"):
            with self.subTest(link=link[:30]):
                invite = crypto.parse_invite(link, 1000)
                self.assertEqual(invite.token, token)
                self.assertEqual(invite.payload["mesh_id"], "M")

    def test_refused(self):
        good = crypto.sign_invite(self.owner, **self.fields)
        cases = {
            "expired": (self.token(), 1001, "invite expired: expires_at=1000, now=1001"),
            "tampered": (crypto.encode_invite(dict(good, role="admin")), 0, "invite signature invalid"),
            "no payload": ("ic://join/", 0, "invite link has no payload"),
            "not JSON": (crypto.b64url(b"{" * 30), 0, "invite link JSON parse failed"),
            "wrong version": (self.token(v=2), 0, "invite payload: v"),
            "wrong role": (self.token(role="owner"), 0, "invite payload: role"),
            "short": ("abc", 0, "invalid invite format"),
        }
        for name, (link, now, message) in cases.items():
            with self.subTest(name):
                with self.assertRaisesRegex(crypto.InviteError, message):
                    crypto.parse_invite(link, now)

    def test_http_base(self):
        self.assertEqual(crypto.http_base_of("wss://a.b/ws"), "https://a.b")
        self.assertEqual(crypto.http_base_of("ws://127.0.0.1:7900/ws"), "http://127.0.0.1:7900")


class FingerprintTest(unittest.TestCase):
    def test_by_hand(self):
        expected = hashlib.sha256(b"1\0dm\0aa\0\0next\0\0" + hashlib.sha256(b"hi").digest()).hexdigest()
        self.assertEqual(crypto.request_fingerprint("dm", "aa", "hi"), expected)

    def test_every_field_counts(self):
        base = {"dest_kind": "dm", "dest_ref": "aa", "body": "hi"}
        variants = [{}, {"dest_kind": "topic"}, {"dest_ref": "ab"}, {"body": "ho"}, {"priority": "now"},
                    {"reply_to": "r"}, {"meta": {}}, {"meta": {"a": 1}}]
        made = {crypto.request_fingerprint(**dict(base, **variant)) for variant in variants}
        self.assertEqual(len(made), len(variants))

    def test_canonical_json(self):
        value = {"b": [1, True, None], "10": "ü", "9": {"z": 1, "a": "\n"}, "01": 0}
        self.assertEqual(crypto.canonical_json(value), '{"9":{"a":"\\n","z":1},"10":"ü","01":0,"b":[1,true,null]}')


class SessionKeyStoreTest(unittest.TestCase):
    UUID = "0b1c2d3e-0000-4000-8000-00000000abcd"

    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.addCleanup(self.folder.cleanup)
        self.store = crypto.SessionKeyStore(self.folder.name)

    def test_stable_and_private(self):
        first = self.store.load_or_create("team", self.UUID)
        self.assertEqual(self.store.load_or_create("team", self.UUID), first)
        self.assertNotEqual(self.store.load_or_create("other", self.UUID), first)
        path = os.path.join(self.folder.name, "team", self.UUID + ".json")
        self.assertEqual(os.stat(path).st_mode & 0o777, 0o600)
        with open(path, encoding="utf-8") as file:
            self.assertEqual(json.load(file)["publicKey"], first.public)

    def test_corrupt_file_is_replaced(self):
        first = self.store.load_or_create("team", self.UUID)
        path = os.path.join(self.folder.name, "team", self.UUID + ".json")
        with open(path, "w", encoding="utf-8") as file:
            file.write("{}")
        second = self.store.load_or_create("team", self.UUID)
        self.assertNotEqual(second, first)
        self.assertEqual(self.store.load_or_create("team", self.UUID), second)

    def test_bad_names_are_not_stored(self):
        self.store.load_or_create("../up", self.UUID)
        self.store.load_or_create("team", "not-a-uuid")
        self.assertEqual(os.listdir(self.folder.name), [])


class FramesTest(unittest.TestCase):
    """The frames that the socket writes by itself are read back by the server side of the library."""

    def setUp(self):
        self.server = ServerConnection(state=State.OPEN)

    def feed(self, data):
        self.server.receive_data(data)
        return self.server.events_received()

    def test_text(self):
        self.assertEqual(self.feed(mesh_socket.build_frame(Opcode.TEXT, b"{}")), [Frame(Opcode.TEXT, b"{}")])

    def test_unmasked_is_refused(self):
        self.feed(mesh_socket.build_frame(Opcode.TEXT, b"{}", mask=False))
        self.assertEqual(self.server.close_sent.code, 1002)

    def test_fragment(self):
        first, last = mesh_socket.build_frame(Opcode.TEXT, b"a", fin=False), mesh_socket.build_frame(Opcode.CONT, b"b")
        frames = self.feed(first + last)
        self.assertEqual([(frame.opcode, frame.fin) for frame in frames], [(Opcode.TEXT, False), (Opcode.CONT, True)])

    def test_reserved_bit_is_refused(self):
        self.feed(mesh_socket.raw_frame(0xC1, b"{}"))
        self.assertEqual(self.server.close_sent.code, 1002)

    def test_raw_header(self):
        def parse(data):
            reader = StreamReader()
            reader.feed_data(data)
            parser = Frame.parse(reader.read_exact, mask=True)
            with self.assertRaises(StopIteration) as done:
                next(parser)
            return done.exception.value
        self.assertEqual(parse(mesh_socket.raw_frame(0x81, b"x" * 200)).data, b"x" * 200)
        self.assertEqual(parse(mesh_socket.raw_frame(0x81, b"x" * 70000)).data, b"x" * 70000)


class HelloFramesTest(unittest.TestCase):
    def setUp(self):
        mesh = meshclient.Mesh("MESH", "slug", "name", "127.0.0.1", 1)
        self.member = meshclient.Member(mesh, "alice", "MEMBER", KeyPair.generate())

    def test_hello(self):
        frame = meshclient.hello_frame(self.member, cwd=meshclient.ABSENT)
        self.assertNotIn("cwd", frame)
        text = f"MESH|MEMBER|{self.member.keys.public}|{frame['timestamp']}"
        self.assertTrue(crypto.verify(text, frame["signature"], self.member.keys.public))

    def test_session_hello(self):
        session = meshclient.Session.launch(self.member)
        frame = meshclient.session_hello_frame(session)
        text = crypto.session_hello_text("MESH", self.member.keys.public, session.keys.public, frame["timestamp"])
        self.assertTrue(crypto.verify(text, frame["signature"], session.keys.public))
        lifetime = frame["parentAttestation"]["expiresAt"] - meshclient.now_ms()
        self.assertAlmostEqual(lifetime, 12 * 3600 * 1000, delta=5000)


if __name__ == "__main__":
    unittest.main()
