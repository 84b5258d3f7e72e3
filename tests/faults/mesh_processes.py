"""Real processes of a small mesh on this machine: a broker and daemons, each in its own folder. Standard library and
PyNaCl only."""
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request

import nacl.signing

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
from ports import free_port  # noqa: E402

READY_TIMEOUT_S = 60


class UnixConnection(http.client.HTTPConnection):
    def __init__(self, path, timeout):
        super().__init__("localhost", timeout=timeout)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)


def call(path, method, target, body=None, timeout=10):
    """One HTTP exchange over a Unix socket: (status, parsed JSON or None). OSError when nobody answers."""
    connection = UnixConnection(path, timeout)
    try:
        payload = None if body is None else json.dumps(body)
        connection.request(method, target, payload, {"Content-Type": "application/json"})
        response = connection.getresponse()
        text = response.read()
        return response.status, json.loads(text) if text else None
    except http.client.HTTPException as error:
        raise OSError(str(error)) from error
    finally:
        connection.close()


def wait_until(condition, timeout_s, what):
    """Polls `condition` until it is true; a failure names what was waited for."""
    deadline = time.monotonic() + timeout_s
    pause = threading.Event()
    while time.monotonic() < deadline:
        if condition():
            return
        pause.wait(0.02)
    raise TimeoutError(f"{what} did not happen within {timeout_s} s")


class Process:
    """One claudemesh process that can be killed and started again."""

    def __init__(self, binary, config, log, environment=None):
        self.command = [binary, "run", config]
        self.log = log
        self.environment = dict(os.environ, **(environment or {}))
        self.child = None
        self.kills = 0

    def start(self):
        with open(self.log, "ab") as out:
            self.child = subprocess.Popen(self.command, stdout=out, stderr=out, stdin=subprocess.DEVNULL,
                                          env=self.environment)

    def kill(self):
        self.child.send_signal(signal.SIGKILL)
        self.child.wait()
        self.kills += 1

    def stop(self, timeout_s=READY_TIMEOUT_S):
        if self.child is None or self.child.poll() is not None:
            return self.child.returncode if self.child else 0
        self.child.terminate()
        try:
            return self.child.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self.child.kill()
            self.child.wait()
            raise

    def alive(self):
        return self.child is not None and self.child.poll() is None


class Broker(Process):
    def __init__(self, binary, folder, options=""):
        os.makedirs(folder, mode=0o700, exist_ok=True)
        self.folder = folder
        self.port = free_port()
        self.operator = os.path.join(folder, "operator.sock")
        config = os.path.join(folder, "broker.toml")
        with open(config, "w", encoding="utf-8") as out:
            out.write(f"""
[host]
data_dir = "{folder}"
[log]
level = "info"
format = "json"
[plugins.store]
use = "storage_sqlite"
path = "{folder}/broker.db"
[plugins.broker]
use = "ws_broker"
store = "store"
listen = "127.0.0.1:{self.port}"
operator_socket = "{self.operator}"
public_url = "ws://127.0.0.1:{self.port}/ws"
rate_limit_per_min = 60000
rate_limit_burst = 10000
{options}
""")
        super().__init__(binary, config, os.path.join(folder, "log"))

    def ready(self):
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/health", timeout=2) as response:
                return response.status == 200
        except OSError:
            return False

    def create_mesh(self, slug):
        status, mesh = call(self.operator, "POST", "/v1/meshes", {"name": slug, "slug": slug})
        assert status == 201, (status, mesh)
        return mesh

    def invite(self, slug, uses):
        status, invite = call(self.operator, "POST", f"/v1/meshes/{slug}/invites", {"max_uses": uses})
        assert status == 201, (status, invite)
        return invite["token"]


class Daemon(Process):
    def __init__(self, binary, folder, name):
        self.name = name
        self.home = os.path.join(folder, name)
        self.socket = os.path.join(self.home, "daemon", "daemon.sock")
        os.makedirs(self.home, mode=0o700, exist_ok=True)
        config = os.path.join(self.home, "daemon.toml")
        with open(config, "w", encoding="utf-8") as out:
            out.write(f"""
[log]
level = "info"
format = "json"
[plugins.store]
use = "storage_sqlite"
path = "{self.home}/daemon/daemon.db"
[plugins.link]
use = "broker_link"
[plugins.daemon]
use = "peer_daemon"
store = "store"
transports = ["link"]
home = "{self.home}"
""")
        super().__init__(binary, config, os.path.join(self.home, "log"))
        self.pubkey = None

    def join(self, broker, token):
        """What `claudemesh join` does, done by hand (wire protocol: invite v1)."""
        import base64
        payload = json.loads(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)))
        key = nacl.signing.SigningKey.generate()
        self.pubkey = key.verify_key.encode().hex()
        body = json.dumps({"invite_token": token, "invite_payload": payload, "peer_pubkey": self.pubkey,
                           "display_name": self.name}).encode()
        request = urllib.request.Request(f"http://127.0.0.1:{broker.port}/join", body,
                                         {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=10) as response:
            answer = json.loads(response.read())
        entry = {"meshId": payload["mesh_id"], "memberId": answer["memberId"], "slug": payload["mesh_slug"],
                 "name": payload["mesh_slug"], "pubkey": self.pubkey,
                 "secretKey": key.encode().hex() + self.pubkey, "brokerUrl": payload["broker_url"],
                 "joinedAt": "2026-01-01T00:00:00.000Z"}
        path = os.path.join(self.home, "config.json")
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as out:
            json.dump({"version": 1, "meshes": [entry], "displayName": self.name}, out)

    def ready(self):
        try:
            return call(self.socket, "GET", "/v1/version", timeout=2)[0] == 200
        except OSError:
            return False

    def linked(self):
        try:
            status, health = call(self.socket, "GET", "/v1/health", timeout=2)
            return status == 200 and all(state == "open" for state in health["brokers"].values())
        except OSError:
            return False

    def inbox(self):
        """Oldest first, all pages' worth a test needs (1,000 rows)."""
        status, answer = call(self.socket, "GET", "/v1/inbox?limit=1000&mark_seen=false")
        assert status == 200, (status, answer)
        return list(reversed(answer["items"]))
