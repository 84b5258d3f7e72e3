"""Daemons at a broker of version 1.37.0: everything works, degraded, and `status` says so (`legacy_broker.py`)."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import unittest

import meshclient
from mesh_crypto import KeyPair
from mesh_socket import build_frame
from meshclient import Member, Mesh, MeshClient
from websockets.frames import Opcode

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "faults"))
from mesh_processes import Daemon, Process, call, free_port, wait_until  # noqa: E402

HERE = os.path.dirname(os.path.abspath(__file__))
HOST = "127.0.0.1"
ASKED = ["client_message_id_dedupe", "max_payload", "concurrent_connection_policy"]
NOBODY_THERE = "no connected peer for target (not online, or targetSpec is your own key without another session)"
# Long enough for a start of all processes on a busy machine.
DEADLINE_S = 60


class LegacyBroker(Process):
    """The broker of `legacy_broker.py` as a process that can be killed and started again."""

    def __init__(self, folder, *options):
        os.makedirs(folder)
        self.port = free_port()
        super().__init__("", "", os.path.join(folder, "log"))
        script = os.path.join(HERE, "legacy_broker.py")
        self.command = [sys.executable, "-B", script, folder, str(self.port), *options]
        self.folder = folder

    def ready(self):
        try:
            return meshclient.http_request(HOST, self.port, "GET", "/health", timeout_s=1).status == 200
        except OSError:
            return False

    def launch(self):
        self.start()
        wait_until(self.ready, DEADLINE_S, "the start of the legacy broker")

    def state(self):
        """What the broker has in its database."""
        with open(os.path.join(self.folder, "state.json"), encoding="utf-8") as file:
            return json.load(file)

    def rows(self, client_message_id=None):
        return [row for row in self.state()["queue"] if client_message_id in (None, row["client_message_id"])]

    def control(self, **orders):
        """See Broker.control; returns what the broker saw so far."""
        return meshclient.http_request(HOST, self.port, "POST", "/test", orders).json


class LegacyDaemon(Daemon):
    """A daemon with options of its two plugins beside those that every test has."""

    def __init__(self, folder, name, link="", daemon=""):
        super().__init__(os.environ["CLAUDEMESH_BINARY"], folder, name)
        path = self.command[2]
        with open(path, encoding="utf-8") as file:
            text = file.read()
        with open(path, "w", encoding="utf-8") as file:
            file.write(text.replace('use = "broker_link"', f'use = "broker_link"\n{link}') + daemon + "\n")

    def health(self):
        status, answer = call(self.socket, "GET", "/v1/health")
        assert status == 200, (status, answer)
        return answer

    def link(self):
        return self.health()["links"].get("legacy", {})

    def send(self, to, text, **fields):
        """What the local API answers; the message then is in the outbox, or was refused."""
        return call(self.socket, "POST", "/v1/send", {"to": to, "message": text, **fields})

    def bodies(self):
        return [item["body"] for item in self.inbox()]

    def peers(self):
        status, answer = call(self.socket, "GET", "/v1/peers")
        assert status == 200, (status, answer)
        return answer["peers"]

    def outbox(self):
        return self.health()["outbox"]

    def status_verb(self, *words):
        """Output of `claudemesh daemon status`."""
        done = subprocess.run([self.command[0], "daemon", "status", *words], capture_output=True, text=True, timeout=DEADLINE_S,
                              check=False, env=dict(os.environ, CLAUDEMESH_CONFIG_DIR=self.home,
                                                    CLAUDEMESH_DAEMON_DIR=os.path.dirname(self.socket)))
        assert done.returncode == 0, (done.returncode, done.stdout, done.stderr)
        return done.stdout


class LegacyTest(unittest.TestCase):
    """Starts and ends the processes of one class; all its tests share a mesh."""

    broker_options = ()
    link_options = 'negotiation_timeout = "200ms"'

    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.mkdtemp(prefix="cm-legacy-")
        cls.processes = []
        cls.addClassCleanup(cls.end)
        cls.broker = LegacyBroker(os.path.join(cls.folder, "broker"), *cls.broker_options)
        cls.processes.append(cls.broker)
        cls.broker.launch()

    @classmethod
    def end(cls):
        for process in cls.processes:
            if process.alive():
                process.kill()
        if not os.environ.get("CLAUDEMESH_INTEROP_KEEP"):
            shutil.rmtree(cls.folder, ignore_errors=True)

    @classmethod
    def joined(cls, name, daemon=""):
        """A daemon that is a member and does not run yet."""
        made = LegacyDaemon(cls.folder, name, cls.link_options, daemon)
        made.join(cls.broker, cls.broker.state()["invite"]["token"])
        cls.processes.append(made)
        return made

    @staticmethod
    def until_linked(*daemons):
        for daemon in daemons:
            wait_until(lambda one=daemon: one.linked() and one.link(), DEADLINE_S, f"the link of {daemon.name}")

    @classmethod
    def started(cls, *names):
        daemons = [cls.joined(name) for name in names]
        for daemon in daemons:
            daemon.start()
        cls.until_linked(*daemons)
        return daemons

    def tearDown(self):
        for process in self.processes:
            if process.child is not None and process.kills == 0:
                self.assertTrue(process.alive(), f"{process.log}: ended with {process.child.returncode}")

    def send(self, sender, to, text, **fields):
        status, answer = sender.send(to, text, **fields)
        self.assertEqual(status, 202, answer)
        return answer["client_message_id"]

    def assert_arrives(self, daemon, text):
        wait_until(lambda: text in daemon.bodies(), DEADLINE_S, f"the arrival of '{text}' at {daemon.name}")
        self.assertEqual(daemon.bodies().count(text), 1, f"'{text}' at {daemon.name}")

    def until_settled(self, client_id, rows):
        """The broker has that many rows of one message and the receiver has confirmed each."""
        def settled():
            found = self.broker.rows(client_id)
            return len(found) == rows and all(row["delivered_at"] for row in found)
        wait_until(settled, DEADLINE_S, f"the confirmation of {rows} rows of {client_id}")

    def until_claims_end(self):
        def ended():
            return all(0 < row["claim_expires_at"] < meshclient.now_ms() for row in self.broker.rows())
        wait_until(ended, DEADLINE_S, "the end of the claims")


class LegacyBrokerItself(LegacyTest):
    """The fixture is what it says, judged by the independent client of 1.37.0."""

    broker_options = ("--burst", "4", "--claim-ms", "5000")

    def client(self, name, online=True):
        state = self.broker.state()
        mesh = Mesh(state["mesh"]["id"], "legacy", "legacy", HOST, self.broker.port)
        invite = meshclient.crypto.parse_invite(state["invite"]["token"], int(time.time()))
        member = meshclient.join(mesh, invite, name)
        self.assertIsInstance(member, Member)
        client = MeshClient(mesh, member)
        self.addCleanup(client.close)
        if online:
            client.hello()
        return client

    def test_a_new_type_is_silent(self):
        client = self.client("silent")
        client.send_json({"type": "feature_negotiation_request", "require": [], "optional": ASKED, "_reqId": "r"})
        client.fence()
        self.assertEqual(client.socket.take(lambda frame: frame.get("_reqId") == "r"), [])

    def test_a_repeated_send_is_a_second_row(self):
        alice, bob = self.client("alice"), self.client("bob")
        frame = alice.message_frame(bob.routing_key, "twice", client_message_id="same", request_fingerprint="ab" * 32)
        first, second = alice.send_frame(frame), alice.send_frame(frame)
        self.assertNotEqual(first["messageId"], second["messageId"])
        self.assertEqual(first, {"type": "ack", "id": frame["id"], "messageId": first["messageId"], "queued": True})
        push = bob.wait_push(message_id=first["messageId"])
        self.assertEqual(set(push), {"type", "messageId", "meshId", "senderPubkey", "priority", "nonce", "ciphertext",
                                     "createdAt", "client_message_id", "request_fingerprint"})
        self.assertEqual(bob.read(push), "twice")
        self.assertEqual(bob.wait_push()["messageId"], second["messageId"])

    def test_refusals(self):
        alice, away = self.client("alice"), self.client("away", online=False)
        refusal = {"type": "ack", "id": "a", "messageId": "", "queued": False, "error": NOBODY_THERE}
        targets = {"a": away.routing_key, "b": "*", "c": "*", "d": "*", "e": "*"}
        frames = [alice.message_frame(target, "noise", id=name) for name, target in targets.items()]
        # At once: a token comes back each second.
        alice.socket.send_raw(b"".join(build_frame(Opcode.TEXT, json.dumps(frame).encode()) for frame in frames))
        acks = {name: alice.socket.wait_for(lambda f, wanted=name: f["type"] == "ack" and f["id"] == wanted)
                for name in targets}
        self.assertEqual(acks["a"], refusal)
        self.assertEqual(acks["e"]["error"], "rate_limit: max 60 msg/min (burst 4) — slow down")

    def test_a_claimed_row_waits_and_a_drain_precedes_the_ack(self):
        alice, bob = self.client("alice"), self.client("bob")
        alice.send(bob.routing_key, "not confirmed")
        bob.wait_push("not confirmed")
        bob.close()
        early = self.again(bob)
        early.fence()
        self.assertEqual(early.take_pushes(), [], "the row is claimed")
        early.close()
        self.until_claims_end()
        late = self.again(bob)
        # No round trip in between: what is here now came before hello_ack.
        self.assertEqual([late.read(push) for push in late.take_pushes()], ["not confirmed"])

    def again(self, client):
        again = MeshClient(client.mesh, client.member)
        self.addCleanup(again.close)
        again.hello()
        return again


class DegradedMesh(LegacyTest):
    """Two daemons as they come out of the box, with every option of the negotiation at its default."""

    link_options = 'refused_retry = "1s"'

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.alice, cls.bob = cls.started("alice", "bob")

    def test_both_ways_once(self):
        for sender, recipient in ((self.alice, self.bob), (self.bob, self.alice)):
            texts = [f"{number} from {sender.name}" for number in range(3)]
            ids = [self.send(sender, recipient.pubkey, text) for text in texts]
            for text in texts:
                self.assert_arrives(recipient, text)
            for client_id in ids:
                self.until_settled(client_id, 1)
            self.assertEqual([body for body in recipient.bodies() if body in texts], texts)

    def test_by_name(self):
        self.send(self.alice, "bob", "to a name")
        self.assert_arrives(self.bob, "to a name")

    def test_broadcast(self):
        self.send(self.alice, "*", "to all")
        self.assert_arrives(self.bob, "to all")
        self.assertNotIn("to all", self.alice.bodies())

    def test_health_and_status_name_what_is_missing(self):
        self.assertEqual(set(self.broker.control()["unknown"]), {"feature_negotiation_request"})
        for daemon in (self.alice, self.bob):
            health = daemon.health()
            self.assertEqual(health["brokers"], {"legacy": "open"})
            self.assertEqual(health["links"]["legacy"]["degraded"], ASKED)
            self.assertEqual(health["links"]["legacy"]["features"], {})
        status = json.loads(self.alice.status_verb("--json"))
        self.assertEqual(status["health"]["links"]["legacy"]["degraded"], ASKED)
        text = self.alice.status_verb()
        self.assertRegex(text, r"● legacy +open")
        self.assertIn("not offered by this broker: " + ", ".join(ASKED), text)

    def test_frames_nobody_asked_for(self):
        frames = [
            {"type": "watch_triggered", "watchId": "w"}, {"type": "from_the_future", "seq": 1, "_reqId": "x"},
            {"type": "error", "code": "topic_not_found", "message": "without a request"},
            {"type": "error", "code": "not_found", "message": "with somebody's", "id": "unknown"},
            {"type": "ack", "id": "", "messageId": "", "queued": False}, {"type": "hello_ack", "presenceId": "again"},
            {"type": 7}, {"no": "type"}, [], "no JSON", "",
        ]
        before = self.bob.bodies()
        self.broker.control(member=self.bob.pubkey, frames=frames)
        self.send(self.alice, self.bob.pubkey, "after strange frames")
        self.assert_arrives(self.bob, "after strange frames")
        self.send(self.bob, self.alice.pubkey, "and back")
        self.assert_arrives(self.alice, "and back")
        self.assertEqual(self.bob.bodies(), before + ["after strange frames"])
        self.assertEqual(self.bob.link()["state"], "open")

    def test_banned_is_said_and_ends_with_the_ban(self):
        self.broker.control(member=self.bob.pubkey, revoked=True, close=[4002, "banned"])
        wait_until(lambda: self.bob.link().get("code") == "revoked", DEADLINE_S, "the refusal")
        link = self.bob.link()
        self.assertEqual(link["state"], "refused")
        self.assertEqual(link["reason"], "You've been removed from \"legacy\". Contact the mesh owner to rejoin.")
        self.assertEqual(self.bob.health()["brokers"], {"legacy": "closed"})
        self.assertEqual(self.alice.link()["state"], "open")
        self.send(self.bob, self.alice.pubkey, "kept while banned")
        self.broker.control(member=self.bob.pubkey, revoked=False)
        self.until_linked(self.bob)
        self.assert_arrives(self.alice, "kept while banned")


class RateLimit(LegacyTest):
    """1.37.0 refuses without a code and without a time to wait."""

    broker_options = ("--burst", "3")

    def test_faster_than_the_broker_allows(self):
        alice, bob = self.started("alice", "bob")
        texts = []
        # Five on a machine that is not busy; one that is slower has time for more tokens in between.
        while len(texts) < 5 or (not self.broker.control()["refused"] and len(texts) < 60):
            texts.append(f"burst {len(texts)}")
            self.send(alice, bob.pubkey, texts[-1])
        wait_until(lambda: len(bob.bodies()) >= len(texts), DEADLINE_S, "the arrival of all")
        self.assertEqual(bob.bodies(), texts)
        self.assertEqual(set(self.broker.control()["refused"]), {"rate_limit: max 60 msg/min (burst 3) — slow down"})


class Restarts(LegacyTest):
    """The broker is killed with SIGKILL between accepting a message and saying so."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.alice, cls.bob = cls.started("alice", "bob")

    def test_a_session_of_a_daemon(self):
        session = KeyPair.generate()
        self.register(self.bob, session)
        wait_until(lambda: any(peer["pubkey"] == session.public for peer in self.alice.peers()), DEADLINE_S,
                   "the session's hello")
        client_id = self.send(self.alice, session.public, "to a session")
        self.until_settled(client_id, 1)
        self.assert_arrives(self.bob, "to a session")
        item = next(item for item in self.bob.inbox() if item["body"] == "to a session")
        self.assertEqual((item["recipient_kind"], item["recipient_pubkey"]), ("session", session.public))

    def register(self, daemon, session):
        """What `claudemesh launch` does before it starts the agent."""
        with open(os.path.join(daemon.home, "config.json"), encoding="utf-8") as file:
            parent = KeyPair(daemon.pubkey, json.load(file)["meshes"][0]["secretKey"])
        expires = meshclient.now_ms() + meshclient.crypto.ATTESTATION_LIFETIME_MS
        attestation = meshclient.crypto.make_attestation(parent, session.public, expires)
        presence = {"session_pubkey": session.public, "session_secret_key": session.secret, "parent_attestation": {
            "session_pubkey": session.public, "parent_member_pubkey": parent.public, "expires_at": expires,
            "signature": attestation["signature"]}}
        status, answer = call(daemon.socket, "POST", "/v1/sessions/register", {
            "token": "5e" * 32, "session_id": "a-session", "mesh": "legacy", "display_name": "bob-session",
            "pid": os.getpid(), "cwd": "/work", "presence": presence})
        self.assertEqual((status, answer["presence_accepted"]), (200, True), answer)

    def restart(self):
        self.broker.kill()
        self.broker.launch()
        self.until_linked(self.alice, self.bob)
        self.assertEqual(self.alice.link()["degraded"], ASKED)

    def test_delivered_but_not_acknowledged(self):
        self.broker.control(hold="ack")
        client_id = self.send(self.alice, self.bob.pubkey, "delivered before the kill")
        self.assert_arrives(self.bob, "delivered before the kill")
        self.until_settled(client_id, 1)
        self.assertEqual(self.alice.outbox()["inflight"], 1)
        self.restart()
        self.until_settled(client_id, 2)
        self.assert_arrives(self.bob, "delivered before the kill")
        self.send(self.bob, self.alice.pubkey, "after a restart")
        self.assert_arrives(self.alice, "after a restart")

    def test_stored_and_nothing_more(self):
        self.broker.control(hold="all")
        client_id = self.send(self.alice, self.bob.pubkey, "only stored before the kill")
        wait_until(lambda: self.broker.rows(client_id), DEADLINE_S, "the row")
        self.assertNotIn("only stored before the kill", self.bob.bodies())
        self.restart()
        self.until_settled(client_id, 2)
        self.assert_arrives(self.bob, "only stored before the kill")


class Absence(LegacyTest):
    """1.37.0 keeps nothing for members that are not there; the sender's outbox does."""

    broker_options = ("--lease-ms", "100", "--claim-ms", "100")

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.alice, = cls.started("alice")

    def test_never_seen_then_there_then_gone_then_back(self):
        bob = self.joined("bob")
        self.keep_then_deliver(bob, "first")
        self.assertEqual(bob.stop(), 0)
        wait_until(self.alone, DEADLINE_S, "the end of the lease")
        self.keep_then_deliver(bob, "second")
        self.assertEqual(bob.bodies(), ["first", "second"])

    def keep_then_deliver(self, bob, text):
        refused = self.refusals()
        client_id = self.send(self.alice, bob.pubkey, text)
        wait_until(lambda: self.refusals() > refused, DEADLINE_S, "the refusal")
        self.assertEqual(set(self.broker.control()["refused"]), {NOBODY_THERE})
        self.assertEqual(self.broker.rows(client_id), [])
        wait_until(lambda: self.alice.outbox()["pending"] == 1, DEADLINE_S, "the refusal in the outbox")
        bob.start()
        self.until_linked(bob)
        self.assert_arrives(bob, text)
        self.until_settled(client_id, 1)
        wait_until(lambda: self.alice.outbox()["pending"] == 0, DEADLINE_S, "the end of the outbox row")

    def refusals(self):
        return len(self.broker.control()["refused"])

    def alone(self):
        return all(peer["displayName"] != "bob" for peer in self.alice.peers())


class Lease(LegacyTest):
    """What is sent to a member that has just gone is accepted, claimed for nobody, and pushed before its hello_ack."""

    broker_options = ("--claim-ms", "100")

    def test_accepted_while_away(self):
        alice, bob = self.started("alice", "bob")
        self.assertEqual(bob.stop(), 0)
        client_id = self.send(alice, bob.pubkey, "into the lease")
        wait_until(lambda: self.broker.rows(client_id), DEADLINE_S, "the row")
        wait_until(lambda: alice.outbox()["pending"] == 0, DEADLINE_S, "the acceptance")
        self.until_claims_end()
        bob.start()
        self.until_linked(bob)
        self.assert_arrives(bob, "into the lease")
        self.until_settled(client_id, 1)
        # As a second presence of its member it would lose this to the lease, which claims and cannot deliver.
        self.send(alice, bob.pubkey, "after the return")
        self.assert_arrives(bob, "after the return")


class Required(LegacyTest):
    """A feature that is required and not offered refuses the broker, and says which."""

    def test_refused_with_its_reason(self):
        carol = self.joined("carol", 'features_require = ["client_message_id_dedupe"]')
        carol.start()
        wait_until(lambda: carol.ready() and carol.link().get("state") == "refused", DEADLINE_S, "the refusal")
        health = carol.health()
        self.assertEqual(health["brokers"], {"legacy": "closed"})
        link = health["links"]["legacy"]
        self.assertEqual(link["code"], "feature_unavailable")
        self.assertIn("client_message_id_dedupe", link["reason"])
        self.assertIn("upgrade the broker or remove the name from features_require", link["reason"])
        self.assertIn(4010, self.broker.control()["closes"])
        text = carol.status_verb()
        self.assertRegex(text, r"○ legacy +closed")
        self.assertIn("required feature client_message_id_dedupe", text)
        self.send(carol, KeyPair.generate().public, "stays here")
        # After an end in order nothing is on its way any more.
        self.assertEqual(carol.stop(), 0)
        self.assertEqual(set(self.broker.control()["closes"]), {4010})
        self.assertEqual(self.broker.rows(), [])
        carol.start()
        wait_until(carol.ready, DEADLINE_S, "the second start")
        self.assertEqual(carol.outbox()["pending"], 1)


if __name__ == "__main__":
    unittest.main()
