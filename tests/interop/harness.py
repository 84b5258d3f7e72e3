"""Starts brokers as subprocesses and gives each test a fresh mesh.

One broker serves all tests that need the same options, because starting one costs more than most tests do. A test that
kills its broker fails, and the next test gets a new one.
"""

import atexit
import json
import os
import re
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import unittest

import meshclient
from mesh_admin import AdminError, MeshAdmin
from mesh_socket import DEFAULT_TIMEOUT_S, HandshakeRefused, MeshSocket, WaitTimeout
from meshclient import MeshClient, Session

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
from ports import free_port  # noqa: E402

START_TIMEOUT_S = 30
STOP_TIMEOUT_S = 30
HOST = "127.0.0.1"
ISO_TIME = re.compile(r"^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}\.\d{3}Z$")

# Leases so short that their ends can be waited for, and so long that what a test does within one is done in time, also on
# a busy machine.
SHORT_LEASES = {"lease_grace_ms": 1500, "ping_interval_ms": 300, "stale_after_ms": 2000, "claim_lease_ms": 1000}


def broker_config(directory, port, overrides):
    """The one place that knows the shape of the broker's configuration file."""
    lines = [
        "[host]",
        f'data_dir = "{directory}"',
        "[log]",
        'level = "info"',
        'format = "json"',
        "[plugins.store]",
        'use = "storage_sqlite"',
        f'path = "{directory}/broker.db"',
        "[plugins.broker]",
        'use = "ws_broker"',
        'store = "store"',
        f'listen = "{HOST}:{port}"',
        f'operator_socket = "{directory}/operator.sock"',
        f'public_url = "ws://{HOST}:{port}/ws"',
    ]
    lines += [f"{name} = {json.dumps(value)}" for name, value in overrides.items()]
    return "\n".join(lines) + "\n"


class Broker:
    """One running broker with its own data directory."""

    def __init__(self, options):
        self.binary = os.environ["CLAUDEMESH_BINARY"]
        self.directory = tempfile.mkdtemp(prefix="cm-interop-")
        self.port = free_port()
        self.config_path = os.path.join(self.directory, "broker.toml")
        self.log_path = os.path.join(self.directory, "broker.log")
        with open(self.config_path, "w", encoding="utf-8") as file:
            file.write(broker_config(self.directory, self.port, options))
        self.admin = MeshAdmin(self.binary, os.path.join(self.directory, "operator.sock"), HOST, self.port)
        self.process = None
        try:
            self.start()
        except AssertionError:
            self.dispose()
            raise

    def start(self):
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen([self.binary, "run", self.config_path], stdout=log, stderr=log,
                                            stdin=subprocess.DEVNULL)
        deadline = time.monotonic() + START_TIMEOUT_S
        while True:
            if not self.alive():
                code = self.process.returncode
                raise AssertionError(f"the broker ended with code {code} at start:\n{self.log_tail()}")
            try:
                if meshclient.http_request(HOST, self.port, "GET", "/health", timeout_s=1).status == 200:
                    return
            except OSError:
                pass
            if time.monotonic() > deadline:
                self.kill()
                raise AssertionError(f"GET /health did not answer within {START_TIMEOUT_S} s:\n{self.log_tail()}")
            time.sleep(0.02)

    def alive(self):
        return self.process is not None and self.process.poll() is None

    def kill(self):
        """SIGKILL: nothing can be written or said any more."""
        self.process.kill()
        self.process.wait(STOP_TIMEOUT_S)

    def terminate(self):
        """SIGTERM and the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(STOP_TIMEOUT_S)

    def dispose(self):
        if self.alive():
            try:
                self.terminate()
            except subprocess.TimeoutExpired:
                self.kill()
        if not os.environ.get("CLAUDEMESH_INTEROP_KEEP"):
            shutil.rmtree(self.directory, ignore_errors=True)

    def log_tail(self, lines=25):
        try:
            with open(self.log_path, encoding="utf-8", errors="replace") as file:
                return "".join(file.readlines()[-lines:])
        except OSError:
            return "(no log)"


class BrokerPool:
    """Brokers by options. All end with the process."""

    def __init__(self):
        self._brokers = {}
        atexit.register(self.dispose)

    def get(self, options):
        key = json.dumps(options, sort_keys=True)
        broker = self._brokers.get(key)
        if broker is None or not broker.alive():
            if broker is not None:
                broker.dispose()
            broker = self._brokers[key] = Broker(options)
        return broker

    def dispose(self):
        for broker in self._brokers.values():
            broker.dispose()
        self._brokers.clear()


POOL = BrokerPool()


class BrokerTest(unittest.TestCase):
    """Base of all wire tests: self.broker, a fresh self.mesh, and makers of members and connections."""

    options = {}
    _meshes = 0

    def setUp(self):
        self.broker = self.make_broker()
        self._invites = {}
        self._clients = []
        self._witnesses = {}
        self._newcomers = set()
        self.mesh = self.new_mesh()

    def tearDown(self):
        violations = [text for client in self._clients for text in client.violations]
        for client in self._clients:
            client.close()
        if not self.broker.alive():
            self.fail(f"the broker died with code {self.broker.process.returncode}:\n{self.broker.log_tail()}")
        self.assertEqual(violations, [], "the broker broke the framing rules")

    def make_broker(self):
        return POOL.get(self.options)

    # --- identities ---

    def new_mesh(self):
        BrokerTest._meshes += 1
        return self.broker.admin.create_mesh(f"interop {BrokerTest._meshes}")

    def member(self, name, mesh=None, role="member"):
        """A member that joined over POST /join and has never connected."""
        mesh = mesh or self.mesh
        key = (mesh.id, role)
        if key not in self._invites:
            self._invites[key] = self.broker.admin.invite(mesh, role=role, uses=50)
        return meshclient.join(mesh, self._invites[key], name)

    def session(self, member, **fields):
        return Session.launch(member, **fields)

    def revoke_member(self, member):
        """Bans through the operator's command line, or else as an admin over the socket."""
        try:
            self.broker.admin.ban(member.mesh, member)
        except AdminError as refused:
            admin = self.connect(self.member("the-admin", member.mesh, role="admin"))
            reply = admin.request("ban", target=member.keys.public)
            self.assertEqual(reply["type"], "ban_ack", f"no way to ban a member: {reply}; {refused}")

    # --- connections ---

    def open(self, member=None, session=None, mesh=None, **fields):
        """A connection before its hello."""
        client = MeshClient(mesh or (member or (session and session.member) or self).mesh, member, session, **fields)
        self._clients.append(client.socket)
        return client

    def connect(self, member, session_keys=None, **overrides):
        """An accepted member connection (`hello`)."""
        client = self.open(member)
        client.hello(session_keys, **overrides)
        return client

    def connect_session(self, session, **overrides):
        """An accepted session connection (`session_hello`)."""
        client = self.open(session=session)
        client.session_hello(**overrides)
        return client

    def raw_socket(self, path="/ws", **fields):
        opened = MeshSocket(HOST, self.broker.port, path, **fields)
        self._clients.append(opened)
        return opened

    # --- assertions ---

    def assert_rejected(self, client, frame, code, message=None, close=None):
        """The hello is answered by an error frame with that code, then closed with the code as reason."""
        try:
            client.handshake(frame)
        except meshclient.Rejected as rejected:
            self.assertEqual(rejected.code, code)
            if message is not None:
                self.assertEqual(rejected.message, message)
            self.assertEqual(rejected.close, close or (1008, code))
            return
        self.fail(f"the hello was accepted; expected {code}")

    def assert_accepted_ack(self, ack):
        self.assertIs(ack.get("queued"), True, ack)
        self.assertNotIn("error", ack)
        self.assertTrue(isinstance(ack.get("messageId"), str) and ack["messageId"], ack)
        return ack["messageId"]

    def assert_refused_ack(self, ack, text=None):
        self.assertIs(ack.get("queued"), False, ack)
        self.assertIsInstance(ack.get("messageId"), str, ack)
        self.assertTrue(isinstance(ack.get("error"), str) and ack["error"], ack)
        if text is not None:
            self.assertEqual(ack["error"], text)

    def assert_no_push(self, *clients):
        """No message push is on its way to any of the clients: what was sent last comes, and nothing else before it."""
        for client in clients:
            client.fence()
        for client in clients:
            text = f"the last word {secrets.token_hex(8)}"
            self.assert_accepted_ack(self.witness(client.mesh).send(client.routing_key, text, priority="now"))
            client.client_ack(client.wait_push(text))
            client.fence()
            pushes = client.take_pushes()
            self.assertEqual(pushes, [], f"unexpected push: {[client.read(push) for push in pushes]}")

    def assert_no_event(self, *clients, events=("peer_joined", "peer_returned", "peer_left")):
        """No such event is on its way to any of the clients: they hear of somebody who comes now, of nobody before."""
        for client in clients:
            client.fence()
        for mesh in {client.mesh.id: client.mesh for client in clients}.values():
            newcomer = self.connect(self.member("newcomer", mesh))
            self._newcomers.add(newcomer.routing_key)
            for client in clients:
                if client.mesh.id == mesh.id:
                    client.wait_event("peer_joined", pubkey=newcomer.routing_key)
        for client in clients:
            heard = [push for push in client.take_events(*events)
                     if push.get("eventData", {}).get("pubkey") not in self._newcomers]
            self.assertEqual(heard, [])

    def witness(self, mesh):
        """A member of the mesh that has nothing to do with the test but to send the last word."""
        if mesh.id not in self._witnesses:
            self._witnesses[mesh.id] = self.connect(self.member("witness", mesh))
            self._newcomers.add(self._witnesses[mesh.id].routing_key)
        return self._witnesses[mesh.id]

    def eventually(self, check, timeout_s=DEFAULT_TIMEOUT_S, what="the condition"):
        """Polls `check` until it returns something true; returns that."""
        deadline = time.monotonic() + timeout_s
        while True:
            value = check()
            if value:
                return value
            if time.monotonic() > deadline:
                raise WaitTimeout(f"{what} did not become true within {timeout_s} s")
            time.sleep(0.02)


class OwnBrokerTest(BrokerTest):
    """For tests that kill or restart their broker."""

    def make_broker(self):
        broker = Broker(self.options)
        self.addCleanup(broker.dispose)
        return broker


__all__ = ["ABSENT", "BrokerTest", "HandshakeRefused", "HOST", "ISO_TIME", "OwnBrokerTest", "POOL",
           "SHORT_LEASES", "WaitTimeout"]
ABSENT = meshclient.ABSENT
