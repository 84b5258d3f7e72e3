"""One broker and any number of homes on this machine, played with the real program. Standard library only."""
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request

SOURCES = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(SOURCES, "tests", "support"))
from ports import free_port  # noqa: E402  pylint: disable=wrong-import-position
COMMAND_TIMEOUT_S = 60
READY_TIMEOUT_S = 60
# What the caller's own mesh, service manager or session might have set.
FOREIGN_VARIABLES = re.compile(r"^(CLAUDEMESH_.*|CM_PLUGIN_PATH|NOTIFY_SOCKET|NO_COLOR|.*_proxy|.*_PROXY)$")


def wait_until(condition, what, timeout_s=READY_TIMEOUT_S):
    """Asks until `condition` gives something true, and returns that; AssertionError names what was waited for."""
    deadline = time.monotonic() + timeout_s
    pause = threading.Event()
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"{what} did not happen within {timeout_s} s")
        pause.wait(0.02)


def has_ended(pid):
    """Gone, or dead and not yet collected by its parent."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as stat:
            return stat.read().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def read(path):
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        return ""


class Result:
    """What a command answered."""

    def __init__(self, words, code, out, err):
        self.words = words
        self.code = code
        self.out = out
        self.err = err

    def json(self):
        try:
            return json.loads(self.out)
        except ValueError as error:
            raise AssertionError(f"{self}: the output is no JSON") from error

    def __repr__(self):
        return f"claudemesh {' '.join(self.words)[:200]}\nexit code {self.code}\n{self.out}{self.err}"


class Home:
    """A user: a home directory of its own, and the commands typed in it."""

    def __init__(self, world, name):
        self.world = world
        self.name = name
        self.path = os.path.join(world.folder, name)
        self.config_dir = os.path.join(self.path, ".claudemesh")
        self.daemon_dir = os.path.join(self.config_dir, "daemon")
        os.makedirs(self.config_dir, mode=0o700)
        with open(os.path.join(self.config_dir, "daemon.toml"), "w", encoding="utf-8") as file:
            file.write(f'include = ["{SOURCES}/etc/daemon.toml"]\n')
        self.environment = world.environment(self.path)

    def run(self, *words, code=0, stdin="", environment=None):
        """Runs one command; AssertionError unless it ends with this exit code (None: any)."""
        done = subprocess.run([self.world.binary, *words], input=stdin, capture_output=True, text=True,
                              env={**self.environment, **(environment or {})}, timeout=COMMAND_TIMEOUT_S, check=False)
        result = Result(words, done.returncode, done.stdout, done.stderr)
        if code is not None and result.code != code:
            raise AssertionError(f"expected exit code {code}: {result}\n{self.log_tail()}")
        return result

    def start(self, *words):
        return subprocess.Popen([self.world.binary, *words], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                stderr=subprocess.PIPE, text=True, env=self.environment)

    def join(self, invite, name=None):
        return self.run("join", invite, "--name", name or self.name, "--json").json()

    def up(self):
        started = self.run("daemon", "up", "--json").json()
        wait_until(self.linked, f"the link of {self.name}'s daemon")
        return started["pid"]

    def linked(self):
        status = self.run("daemon", "status", "--json", code=None)
        states = status.json()["health"]["brokers"].values() if status.code == 0 else []
        return bool(states) and all(state == "open" for state in states)

    def down(self):
        return self.run("daemon", "down", "--json").json()

    def inbox(self, *flags):
        """Newest first."""
        return self.run("inbox", "--json", "--limit", "1000", *flags).json()

    def bodies(self):
        return [row["body"] for row in reversed(self.inbox())]

    def receives(self, *bodies):
        """Waits until each of the texts stands in the inbox exactly once."""
        wait_until(lambda: set(bodies) <= set(self.bodies()), f"the arrival of {bodies} at {self.name}")
        counts = {body: self.bodies().count(body) for body in bodies}
        assert set(counts.values()) == {1}, counts

    def until_accepted(self, client_id):
        """Waits until the broker has a message that its recipient does not have yet."""
        wait_until(lambda: "held at the broker" in self.run("message", "status", client_id).out,
                   f"the acceptance of {client_id}")

    def key(self, slug):
        with open(os.path.join(self.config_dir, "config.json"), encoding="utf-8") as file:
            return next(mesh["pubkey"] for mesh in json.load(file)["meshes"] if mesh["slug"] == slug)

    def daemon_pid(self):
        text = read(os.path.join(self.daemon_dir, "daemon.pid"))
        return int(text) if text else None

    def log_tail(self):
        lines = read(os.path.join(self.daemon_dir, "daemon.log")).splitlines()[-15:]
        return "\n".join(["--- daemon.log ---", *lines]) if lines else ""


class Broker:
    """The broker's process, with the files that come with the program."""

    def __init__(self, world):
        self.world = world
        self.folder = os.path.join(world.folder, "broker")
        self.port = free_port()
        self.socket = os.path.join(world.folder, "operator.sock")
        self.config = os.path.join(world.folder, "broker.toml")
        self.log = os.path.join(world.folder, "broker.log")
        self.child = None
        with open(self.config, "w", encoding="utf-8") as file:
            file.write(f"""include = ["{SOURCES}/etc/broker.toml"]
[host]
data_dir = "{self.folder}"
[plugins.store]
path = "{self.folder}/broker.db"
[plugins.broker]
listen = "127.0.0.1:{self.port}"
public_url = "ws://127.0.0.1:{self.port}/ws"
operator_socket = "{self.socket}"
rate_limit_per_min = 60000
rate_limit_burst = 1000
""")

    def start(self):
        with open(self.log, "ab") as log:
            self.child = subprocess.Popen([self.world.binary, "run", self.config], stdin=subprocess.DEVNULL, stdout=log,
                                          stderr=log, env=self.world.environment(self.world.folder))
        wait_until(self.ready, "an answer of the broker's /health")

    def ready(self):
        if self.child.poll() is not None:
            raise AssertionError(f"the broker ended with {self.child.returncode}:\n{read(self.log)[-3000:]}")
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/health", timeout=2) as response:
                return response.status == 200
        except OSError:
            return False

    def alive(self):
        return self.child is not None and self.child.poll() is None

    def kill(self):
        self.child.send_signal(signal.SIGKILL)
        self.child.wait()

    def stop(self):
        self.child.terminate()
        return self.child.wait(READY_TIMEOUT_S)


class World:
    """A folder with a broker in it and all homes; knows every process that it caused."""

    def __init__(self, binary):
        self.binary = os.path.abspath(binary)
        self.folder = tempfile.mkdtemp(prefix="cm-e2e-", dir="/tmp")  # short: a socket's path holds 107 bytes
        self.homes = []
        self.broker = Broker(self)
        self.operator = self.home("operator")
        self.meshes = 0

    def environment(self, home):
        clean = {name: value for name, value in os.environ.items() if not FOREIGN_VARIABLES.match(name)}
        return {**clean, "HOME": home, "XDG_CACHE_HOME": os.path.join(self.folder, "cache"), "LC_ALL": "C.UTF-8",
                "CLAUDEMESH_OPERATOR_SOCKET": self.broker.socket, "CM_E2E_FOLDER": self.folder}

    def home(self, name):
        home = Home(self, f"{name}{len(self.homes)}" if self.homes else name)
        self.homes.append(home)
        return home

    def mesh(self):
        """A fresh mesh; its slug."""
        self.meshes += 1
        return self.operator.run("mesh", "create", f"Mesh {self.meshes}", "--slug", f"mesh-{self.meshes}",
                                 "--json").json()["slug"]

    def invite(self, slug, *flags):
        return self.operator.run("mesh", "invite", slug, "--json", *flags).json()

    def members(self, slug, *names):
        """Homes that have joined, with running daemons."""
        token = self.invite(slug, "--uses", str(len(names)))["url"]
        homes = [self.home(name) for name in names]
        for home, name in zip(homes, names):
            home.join(token, name)
            home.up()
        return homes

    def processes(self):
        """Every process that was started below this world's folder and still runs, but the broker."""
        found = []
        marker = f"CM_E2E_FOLDER={self.folder}".encode()
        for entry in os.listdir("/proc"):
            if not entry.isdigit() or (self.broker.child and int(entry) == self.broker.child.pid):
                continue
            try:
                with open(f"/proc/{entry}/environ", "rb") as file:
                    mine = marker in file.read().split(b"\0")
            except OSError:
                continue
            if mine and not has_ended(entry):
                found.append(int(entry))
        return found

    def leftovers(self):
        """Sockets and pid files in the homes."""
        names = []
        for home in self.homes:
            for name in ("daemon.sock", "daemon.pid"):
                path = os.path.join(home.daemon_dir, name)
                if os.path.lexists(path):
                    names.append(path)
        return names

    def close(self):
        for pid in self.processes():
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        if self.broker.alive():
            self.broker.kill()
        shutil.rmtree(self.folder, ignore_errors=True)
