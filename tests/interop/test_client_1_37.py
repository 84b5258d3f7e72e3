"""An unmodified 1.37.0 installation against this broker: launch, messages, restarts, commands, all requests."""

import tempfile
import unittest
import uuid

from client_1_37 import Daemon, broker_client_view, cold_path, fire_and_forget
from harness import BrokerTest, SHORT_LEASES
from request_table import READS, WRITES, shape_error


class InstallationTest(BrokerTest):
    """Base: two users with a daemon each; alice has two launched sessions."""

    def setUp(self):
        super().setUp()
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.alice = Daemon(self, self.member("alice"), folder.name + "/alice")
        self.bob = Daemon(self, self.member("bob"), folder.name + "/bob")
        self.first_uuid = str(uuid.uuid4())
        self.first = self.alice.register_session(self.first_uuid, "alice-one")
        self.second = self.alice.register_session(str(uuid.uuid4()), "alice-two")
        self.bob_session = self.bob.register_session(str(uuid.uuid4()), "bob-one")


class LaunchTest(InstallationTest):
    def test_welcome_sequence(self):
        """launch step 8 and the daemon's first requests: services from a short cold connection, peers, skills."""
        probe = cold_path(self, self.alice.member)
        self.assertIsInstance(probe.ack.get("services", []), list)
        probe.close()
        peers = self.alice.socket.rpc("pl", "list_peers")
        self.assertEqual(peers["type"], "peers_list")
        sessions = {row["displayName"]: row for row in peers["peers"] if row["peerRole"] == "session"}
        self.assertEqual(set(sessions), {"alice-one", "alice-two", "bob-one"})
        self.assertEqual(sessions["alice-one"]["sessionId"], self.first_uuid)
        self.assertEqual(sessions["alice-one"]["channel"], "claudemesh-session")
        daemons = [row for row in peers["peers"] if row.get("channel") == "claudemesh-daemon"]
        self.assertEqual({row["peerRole"] for row in daemons}, {"control-plane"})

    def test_no_unknown_message_type_errors(self):
        """The session socket gives up for ever on that code."""
        for socket in (self.alice.socket, self.first):
            socket.client.send_json({"type": "list_peers_v2", "_reqId": "x"})
            socket.client.fence()
            self.assertEqual(socket.client.socket.take(lambda f: f["type"] == "error"), [])

    def test_sibling_sessions_see_each_other(self):
        self.first.client.wait_event("peer_joined", pubkey=self.second.session.keys.public)


class MessagesTest(InstallationTest):
    def test_session_to_session(self):
        message_id = self.first.send(self.bob_session.session.keys.public, "hello bob", "cid-1")
        row = self.bob_session.receive()
        self.assertEqual((row["body"], row["broker_message_id"]), ("hello bob", message_id))
        self.assertEqual(row["sender_pubkey"], self.first.session.keys.public)
        self.bob_session.send(row["sender_pubkey"], "hello alice", "cid-2")
        self.assertEqual(self.first.receive()["body"], "hello alice")
        self.assert_no_push(self.second.client, self.alice.socket.client, self.bob.socket.client)

    def test_two_sessions_are_told_apart(self):
        for number, session in enumerate((self.first, self.second)):
            session.send(self.bob_session.session.keys.public, f"from {number}", f"cid-{number}")
        senders = {self.bob_session.receive()["sender_pubkey"] for _ in range(2)}
        self.assertEqual(senders, {self.first.session.keys.public, self.second.session.keys.public})

    def test_to_the_member_key(self):
        self.first.send(self.bob.member.keys.public, "whoever reads this", "cid-1")
        sockets = (self.bob.socket, self.bob_session)
        self.eventually(lambda: [socket.drain() for socket in sockets] and self.bob.inbox, what="the inbox row")
        self.assertEqual([row["body"] for row in self.bob.inbox.values()], ["whoever reads this"])

    def test_unauthenticated_send_goes_out_under_the_member_key(self):
        self.alice.socket.send(self.bob_session.session.keys.public, "from the daemon", "cid-1")
        row = self.bob_session.receive()
        self.assertEqual((row["sender_pubkey"], row["body"]), (self.alice.member.keys.public, "from the daemon"))

    def test_broadcast_is_one_inbox_row(self):
        self.first.send("*", "to all", "cid-1")
        for socket in (self.bob.socket, self.bob_session):
            socket.receive()
        self.assertEqual([row["body"] for row in self.bob.inbox.values()], ["to all"])
        self.assert_no_push(self.alice.socket.client, self.first.client, self.second.client)

    def test_sibling_message_is_not_lost_by_the_echo_filter(self):
        self.first.send(self.second.session.keys.public, "to my other window", "cid-1")
        self.assertEqual(self.second.receive()["body"], "to my other window")

    def test_lost_ack_and_retry(self):
        """The daemon repeats the row unchanged after a broken connection: one message at the recipient."""
        frame = self.first.client.message_frame(self.bob_session.session.keys.public, "once", id="cid-1",
                                                client_message_id="cid-1", request_fingerprint="56" * 32)
        self.first.client.send_json(frame)
        row = self.bob_session.receive()
        self.first.reconnect()
        self.assertEqual(self.first.dispatch(frame), row["broker_message_id"])
        self.assert_no_push(self.bob_session.client)

    def test_offline_gap_of_a_session(self):
        self.bob_session.client.drop()
        self.first.send(self.bob_session.session.keys.public, "while you were out", "cid-1")
        self.bob_session.client = self.bob.open_session_client(self.bob_session.session)
        self.assertEqual(self.bob_session.receive()["body"], "while you were out")

    def test_daemon_restart_keeps_the_session_key(self):
        self.bob_session.client.drop()
        self.bob.restart()
        again = self.bob.register_session(self.bob_session.session.session_id, "bob-one")
        self.assertEqual(again.session.keys, self.bob_session.session.keys)
        self.first.send(again.session.keys.public, "still you", "cid-1")
        self.assertEqual(again.receive()["body"], "still you")

    def test_message_for_a_stopped_daemon(self):
        self.bob_session.client.drop()
        self.bob.socket.client.drop()
        self.first.send(self.bob.member.keys.public, "good morning", "cid-1")
        self.bob.restart()
        self.assertEqual(self.bob.socket.receive()["body"], "good morning")


class ConfirmedTest(InstallationTest):
    options = SHORT_LEASES

    def test_confirmed_rows_never_come_back(self):
        for number in range(3):
            self.first.send(self.bob_session.session.keys.public, f"m{number}", f"cid-{number}")
            self.bob_session.receive()
        self.bob_session.client.fence()
        self.first.send(self.bob_session.session.keys.public, "not confirmed", "cid-last")
        for _ in range(3):
            push = self.bob_session.client.wait_push()
            self.assertEqual(push["client_message_id"], "cid-last")
            self.bob_session.reconnect()


class ColdPathTest(InstallationTest):
    def test_send(self):
        """`claudemesh send` without daemon: list_peers to resolve the name, send, ack, close."""
        cold = cold_path(self, self.alice.member)
        target = next(row for row in cold.list_peers() if row["displayName"] == "bob-one")
        ack = cold.send(target["pubkey"], "cold hello")
        self.assert_accepted_ack(ack)
        cold.close()
        row = self.bob_session.receive()
        self.assertEqual((row["body"], row["sender_pubkey"]), ("cold hello", cold.routing_key))

    def test_status_of_a_message_by_prefix(self):
        message_id = self.first.send(self.bob_session.session.keys.public, "x", "cid-1")
        self.bob_session.receive()
        cold = cold_path(self, self.alice.member)
        self.eventually(lambda: cold.message_status(message_id[:16])["delivered"], what="delivered")

    def test_direct_message_is_readable_for_a_broker_client(self):
        cold = cold_path(self, self.bob.member)
        self.first.send(cold.routing_key, "to the command", "cid-1")
        self.assertEqual(broker_client_view(cold, cold.wait_push()), "to the command")

    def test_fire_and_forget_then_close(self):
        cold = cold_path(self, self.alice.member, name="short lived")
        fire_and_forget(cold, {"type": "set_status", "status": "dnd"},
                        {"type": "set_summary", "summary": "done and gone"},
                        {"type": "join_group", "name": "dev"})
        watch = self.bob.socket.client
        self.eventually(lambda: watch.peer(cold.routing_key)["summary"] == "done and gone", what="the summary")
        row = watch.peer(cold.routing_key)
        self.assertEqual((row["status"], row["groups"]), ("dnd", [{"name": "dev"}]))

    def test_inside_a_launched_session(self):
        """CLAUDEMESH_SESSION_ID is the session's own id: whoever is replaced reconnects, and nothing is lost."""
        cold = cold_path(self, self.alice.member, session_id=self.first_uuid)
        self.assert_accepted_ack(cold.send(self.bob_session.session.keys.public, "from inside"))
        cold.close()
        self.assertEqual(self.bob_session.receive()["body"], "from inside")
        self.first.reconnect()
        self.bob_session.send(self.first.session.keys.public, "to the session", "cid-1")
        self.assertEqual(self.first.receive()["body"], "to the session")

    def test_many_commands_in_a_row(self):
        for number in range(15):
            cold = cold_path(self, self.alice.member)
            cold.list_peers()
            cold.close()
        self.assertIsNotNone(self.bob.socket.client.peer(self.first.session.keys.public), number)


class RequestTableTest(InstallationTest):
    """Each documented request gets its documented reply, a documented error, or silence. The socket stays open."""

    def exchange(self, client, request):
        request_id = f"rq-{request.kind}-{next(self.alice.counter)}"
        client.socket.take()
        client.send_json({"type": request.kind, "_reqId": request_id, **request.fields})
        client.fence()
        self.assertTrue(client.socket.is_open)
        frames = client.socket.take(lambda f: f["type"] != "push")
        for frame in frames:
            self.check(frame, request, request_id)
        return bool(frames)

    def check(self, frame, request, request_id):
        if frame["type"] in request.also:
            return
        if frame["type"] == "error":
            self.assertIn(frame["code"], request.errors, f"undocumented error for {request.kind}: {frame}")
            self.assertIn(request_id, (frame.get("_reqId"), frame.get("id")), frame)
            return
        self.assertEqual(frame["type"], request.reply, f"wrong reply to {request.kind}: {frame}")
        if request.kind != "share_context":  # The one reply that never carries the id.
            self.assertEqual(frame.get("_reqId"), request_id, frame)
        self.assertIsNone(shape_error(frame, request), f"wrong shape of {frame}")

    def run_table(self, client, requests):
        unanswered = []
        for request in requests:
            with self.subTest(request.kind, **request.fields):
                if not self.exchange(client, request) and request.reply is not None:
                    unanswered.append(request.kind)
        return unanswered

    def test_reads_on_the_member_socket(self):
        self.assertNotIn("list_peers", self.run_table(self.alice.socket.client, READS))

    def test_reads_on_a_session_socket(self):
        self.assertNotIn("message_status", self.run_table(self.first.client, READS))

    def test_writes_on_a_cold_connection(self):
        unanswered = self.run_table(cold_path(self, self.alice.member), WRITES)
        self.assertNotIn("set_visible", unanswered)
        self.assertNotIn("set_profile", unanswered)

    def test_requests_without_a_request_id(self):
        """Replies then carry none; `set_stats` and others of 1.37.0 come without."""
        client = cold_path(self, self.alice.member)
        for request in READS:
            client.send_json({"type": request.kind, **request.fields})
        client.fence()
        for frame in client.socket.take(lambda f: f["type"] not in ("push", "error")):
            self.assertNotIn("_reqId", frame)

    def test_requests_without_fields(self):
        """A bare request must not hurt: an error, a reply or silence."""
        client = cold_path(self, self.alice.member)
        for request in READS + WRITES:
            with self.subTest(request.kind):
                client.send_json({"type": request.kind, "_reqId": f"bare-{request.kind}"})
                client.fence()
                self.assertTrue(client.socket.is_open)

    def test_daemon_rpc_ids(self):
        """One counter over all verbs; the exact id comes back, also when several are on the way."""
        client = self.alice.socket.client
        for number in range(20):
            client.send_json({"type": "list_peers", "_reqId": f"pl-{number}"})
        for number in reversed(range(20)):
            client.socket.wait_for(lambda f, wanted=f"pl-{number}": f.get("_reqId") == wanted)


if __name__ == "__main__":
    unittest.main()
