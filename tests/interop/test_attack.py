"""Attacks on the broker's front: whatever one client does, the others are served and memory stays bounded."""

import json
import os
import resource
import select
import socket
import sqlite3
import threading
import unittest

from harness import HOST, BrokerTest, OwnBrokerTest
from mesh_socket import DEFAULT_TIMEOUT_S, build_frame
from meshclient import hello_frame, http_request
from websockets.frames import Opcode

UPGRADE = {"Host": "h", "Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Version": "13",
           "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ=="}
BLOCKED_S = 0.5  # a write that takes so long is held up by the broker
MEMORY_MAX_MB = 96


def upgrade_text(method="GET", version="1.1", more="", **changes):
    headers = {name: value for name, value in {**UPGRADE, **changes}.items() if value is not None}
    lines = [f"{method} /ws HTTP/{version}"] + [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join(lines) + "\r\n" + more + "\r\n"


class AttackTest(BrokerTest):
    """Base: alice and bob are honest; raw() is anybody."""

    def setUp(self):
        super().setUp()
        self.alice = self.connect(self.member("alice"))
        self.bob = self.connect(self.member("bob"))

    def raw(self, data=b""):
        peer = socket.create_connection((HOST, self.broker.port), timeout=DEFAULT_TIMEOUT_S)
        self.addCleanup(peer.close)
        if data:
            peer.sendall(data)
        return peer

    def upgraded(self, member=None):
        peer = self.raw(upgrade_text().encode())
        head = b""
        while b"\r\n\r\n" not in head:
            head += peer.recv(4096)
        if member:
            peer.sendall(build_frame(Opcode.TEXT, json.dumps(hello_frame(member)).encode()))
        return peer

    def status_of(self, request):
        """The status of the answer, None for an end without one."""
        answer = self.raw(request.encode("latin-1")).recv(4096)
        return int(answer.split(b" ")[1]) if answer.startswith(b"HTTP/1.1 ") else None

    def flood(self, peer, data, bytes_max):
        """Writes until the broker holds it up, ends the connection, or has taken `bytes_max`."""
        peer.settimeout(BLOCKED_S)
        sent = 0
        try:
            while sent < bytes_max:
                peer.sendall(data)
                sent += len(data)
        except OSError:
            pass
        return sent

    def memory_mb(self):
        with open(f"/proc/{self.broker.process.pid}/status", encoding="ascii") as file:
            return next(int(line.split()[1]) // 1024 for line in file if line.startswith("VmRSS"))

    def assert_others_are_served(self):
        for client in (self.alice, self.bob):
            self.assertTrue(client.socket.is_open, client.socket.close_info)
            client.fence()
        self.assertLess(self.memory_mb(), MEMORY_MAX_MB)


class UpgradeTest(AttackTest):
    def test_wrong_upgrades_are_refused(self):
        for name, text, status in (
                ("no host", upgrade_text(Host=None), 400),
                ("two hosts", upgrade_text(more="Host: g\r\n"), 400),
                ("no key", upgrade_text(**{"Sec-WebSocket-Key": None}), 400),
                ("short key", upgrade_text(**{"Sec-WebSocket-Key": "abc"}), 400),
                ("two keys", upgrade_text(more="Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"), 400),
                ("old version", upgrade_text(**{"Sec-WebSocket-Version": "8"}), 426),
                ("POST", upgrade_text("POST", more="Content-Length: 0\r\n"), 404),
                ("HTTP/1.0", upgrade_text(version="1.0"), 400),
                ("body", upgrade_text(more="Content-Length: 5\r\n") + "hello", 400),
                ("no upgrade", upgrade_text(Upgrade=None), 404),
                ("h2c", upgrade_text(Upgrade="h2c"), 404)):
            with self.subTest(name):
                self.assertEqual(self.status_of(text), status)
        self.assert_others_are_served()

    def test_requests_that_confuse_proxies_are_refused(self):
        post = "POST /join HTTP/1.1\r\nHost: h\r\n"
        for name, text, status in (
                ("length and chunks", post + "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
                ("negative length", post + "Content-Length: -5\r\n\r\n", 400),
                ("length beyond 64 bits", post + "Content-Length: 99999999999999999999\r\n\r\n", 400),
                ("length beyond the limit", post + "Content-Length: 9999999999\r\n\r\n", 413),
                ("bytes", "\0\1\2\r\n\r\n", 400),
                ("NUL in a header", "GET / HTTP/1.1\r\nHost: h\r\nX: a\0b\r\n\r\n", 400),
                ("HTTP/2", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
                ("tunnel", "CONNECT h:1 HTTP/1.1\r\nHost: h\r\n\r\n", 501)):
            with self.subTest(name):
                self.assertEqual(self.status_of(text), status)
        self.assert_others_are_served()

    def test_the_operator_is_not_reached_over_the_network(self):
        for path in ("/v1/meshes", "//v1/meshes", "/health/../v1/meshes", "/v1%2fmeshes", "/%2e%2e/v1/meshes",
                     "/../../etc/passwd", "/ws/../v1/meshes", "http://localhost/v1/meshes"):
            with self.subTest(path):
                request = f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
                self.assertEqual(self.status_of(request), 404)


class FloodTest(AttackTest):
    def test_requests_whose_answers_are_not_read(self):
        peer = self.upgraded(self.member("eve"))
        self.flood(peer, build_frame(Opcode.TEXT, b'{"type":"list_peers"}') * 500, 20_000_000)
        self.assert_others_are_served()

    def test_pings_whose_pongs_are_not_read(self):
        peer = self.upgraded(self.member("eve"))
        self.flood(peer, build_frame(Opcode.PING, b"x" * 125) * 500, 50_000_000)
        self.assert_others_are_served()

    def test_http_pipeline_whose_answers_are_not_read(self):
        self.flood(self.raw(), b"GET /health HTTP/1.1\r\nHost: h\r\n\r\n" * 100, 50_000_000)
        self.assert_others_are_served()

    def test_fragments_without_end(self):
        for payload in (b"", b"x"):
            peer = self.upgraded(self.member("eve"))
            peer.sendall(build_frame(Opcode.TEXT, b"", fin=False))
            self.flood(peer, build_frame(Opcode.CONT, payload, fin=False) * 10_000, 5_000_000)
            self.assert_others_are_served()

    def test_hellos_without_end(self):
        member = self.member("eve")
        self.flood(self.upgraded(member), build_frame(Opcode.TEXT, json.dumps(hello_frame(member)).encode()) * 100,
                   2_000_000)
        self.assert_others_are_served()

    def test_joins_without_an_invite(self):
        body = json.dumps({"invite_token": "x" * 1000, "invite_payload": {"v": 1}, "peer_pubkey": "a" * 64,
                           "display_name": "eve"}).encode()
        head = f"POST /join HTTP/1.1\r\nHost: h\r\nContent-Length: {len(body)}\r\n\r\n".encode()
        self.flood(self.raw(), (head + body) * 10, 5_000_000)
        self.assert_others_are_served()

    def test_presences_that_say_too_much(self):
        """The answer to list_peers has all of it, and must fit into the buffers of those who ask."""
        for name in ("eve", "mallory"):
            client = self.connect(self.member(name))
            for number in range(256):
                client.send_json({"type": "join_group", "name": str(number) + "g" * 60_000})
            client.fence()
        self.assert_others_are_served()
        self.assertLess(len(json.dumps(self.alice.request("list_peers"))), 1_000_000)


class NoDescriptorsTest(AttackTest, OwnBrokerTest):
    def test_more_connections_than_descriptors(self):
        pid = self.broker.process.pid
        in_use = len(os.listdir(f"/proc/{pid}/fd"))
        hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)[1]
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (in_use + 20, hard))
        peers = [self.raw() for _ in range(200)]
        before = os.times().elapsed, self.cpu_s()
        self.assert_others_are_served()
        self.assertEqual(select.select(peers[-1:], [], [], BLOCKED_S)[0], [], "it waits for a descriptor")
        self.assertLess(self.cpu_s() - before[1], 0.5 * (os.times().elapsed - before[0]), "it spins on accept")
        for peer in peers:
            peer.close()
        self.eventually(lambda: http_request(HOST, self.broker.port, "GET", "/health").status == 200, what="/health")

    def cpu_s(self):
        with open(f"/proc/{self.broker.process.pid}/stat", encoding="ascii") as file:
            fields = file.read().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class SlowStoreTest(AttackTest, OwnBrokerTest):
    options = {"open_requests_max": 16, "rate_limit_per_min": 1_000_000, "rate_limit_burst": 1_000_000}

    def test_a_flood_is_slowed_down_and_accepted_in_order(self):
        carol_member = self.member("carol")
        carol = self.connect(carol_member)
        carol.socket.auto_pong = False  # another thread writes
        count = 1200
        frames = [build_frame(Opcode.TEXT, json.dumps(self.message(number)).encode()) for number in range(count)]
        memory_before = self.memory_mb()
        store = sqlite3.connect(f"{self.broker.directory}/broker.db", isolation_level=None)
        store.execute("BEGIN IMMEDIATE")  # nobody else writes now
        sent, written = [], threading.Event()

        def write():
            for frame in frames:
                carol.socket.send_raw(frame)
                sent.append(frame)
                written.set()

        writer = threading.Thread(target=write)
        writer.start()
        while written.wait(2 * BLOCKED_S):  # until TCP lets nothing more through
            written.clear()
        self.assertLess(len(sent), count, "the sender was never slowed down")
        self.assertTrue(carol.socket.is_open, carol.socket.close_info)
        self.assertLess(self.memory_mb() - memory_before, 16)
        self.assertEqual(carol.socket.take(lambda f: f["type"] == "ack"), [])
        store.execute("ROLLBACK")
        store.close()
        writer.join(30)
        acks = [carol.socket.wait_for(lambda f: f["type"] == "ack", 30) for _ in range(count)]
        self.assertEqual([ack["id"] for ack in acks], [f"f{number}" for number in range(count)])
        for ack in acks:
            self.assert_accepted_ack(ack)
        self.assert_others_are_served()

    def message(self, number):
        return {"type": "send", "id": f"f{number}", "targetSpec": self.bob.member.keys.public, "priority": "low",
                "nonce": "n", "ciphertext": "c" * 40_000}


if __name__ == "__main__":
    unittest.main()
