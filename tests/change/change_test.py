#!/usr/bin/env python3
"""Changes a broker under load: reloads it again and again, and upgrades it into a new process, while daemons send messages over
their WebSockets and HTTP clients connect all the time. Nobody may be refused, no message may be lost, and descriptors and
memory may not grow.

usage: change_test.py --binary PATH [--reloads N] [--upgrades N] [--json] [--keep]

Every 20th reload restarts the broker's instance; the others change options of the database in place.
Prints what was measured and "N passed, N failed"; exits with 0 when all holds.
"""
import argparse
import ctypes
import json
import os
import re
import shutil
import signal
import socket
import sys
import tempfile
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "faults"))
from kill_test import DELIVERY_TIMEOUT_S, Sender, check  # noqa: E402
from mesh_processes import Broker, Daemon, READY_TIMEOUT_S, call, wait_until  # noqa: E402

STEP_TIMEOUT_S = 60
# Both are asserted on the part of the run behind the warm-up, in which caches and pools fill.
WARM_UP = 100
DESCRIPTOR_GROWTH_MAX = 8
MEMORY_GROWTH_MAX_KIB = 3 * 1024
PR_SET_CHILD_SUBREAPER = 36


class Manager:
    """What a service manager is to the process: a socket for its messages."""

    def __init__(self, folder):
        self.path = os.path.join(folder, "notify.sock")
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(self.path)
        self.socket.settimeout(STEP_TIMEOUT_S)

    def wait_ready(self):
        """Waits for READY=1; the process that is the main one from then on, or None."""
        while True:
            text = self.socket.recv(4096).decode()
            if text.startswith("READY=1"):
                main = re.search(r"MAINPID=(\d+)", text)
                return int(main[1]) if main else None


class ManagedBroker(Broker):
    """A broker whose process may be replaced by its successor."""

    def __init__(self, binary, folder, manager):
        super().__init__(binary, folder)
        self.environment["NOTIFY_SOCKET"] = manager.path
        self.manager = manager
        self.pid = None
        with open(self.command[2], encoding="utf-8") as text:
            self.template = text.read()

    def start(self):
        super().start()
        self.pid = self.child.pid

    def configure(self, batch_max, burst, cache):
        text = self.template.replace(f'path = "{self.folder}/broker.db"\n',
                                     f'path = "{self.folder}/broker.db"\nbatch_max = {batch_max}\nqueue_max = {cache}\n')
        text = text.replace("rate_limit_burst = 10000", f"rate_limit_burst = {burst}")
        with open(self.command[2] + ".new", "w", encoding="utf-8") as out:
            out.write(text)
        os.rename(self.command[2] + ".new", self.command[2])

    def reload(self):
        os.kill(self.pid, signal.SIGHUP)
        self.manager.wait_ready()

    def upgrade(self):
        """True when another process has taken over."""
        os.kill(self.pid, signal.SIGUSR2)
        successor = self.manager.wait_ready()
        if successor is None:
            return False
        _, status = os.waitpid(self.pid, 0)
        if self.child is not None:
            self.child.returncode = os.waitstatus_to_exitcode(status)
            self.child = None
        if os.waitstatus_to_exitcode(status) != 0:
            raise RuntimeError(f"the replaced process ended with {os.waitstatus_to_exitcode(status)}, expected 0")
        self.pid = successor
        return True

    def stop(self, timeout_s=20):
        os.kill(self.pid, signal.SIGTERM)
        _, status = os.waitpid(self.pid, 0)
        self.pid = None
        if self.child is not None:
            self.child.returncode = os.waitstatus_to_exitcode(status)
        return os.waitstatus_to_exitcode(status)

    def alive(self):
        return self.pid is not None

    def kill(self):
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        self.pid = None

    def descriptors(self):
        return len(os.listdir(f"/proc/{self.pid}/fd"))

    def memory_kib(self):
        with open(f"/proc/{self.pid}/status", encoding="ascii") as text:
            return int(re.search(r"VmRSS:\s+(\d+)", text.read())[1])


class Adopted:
    """A process that became a child of this one when its parent ended; as much of Popen as is needed."""

    def __init__(self, pid):
        self.pid = pid
        self.returncode = None

    def poll(self):
        return self.returncode

    def send_signal(self, number):
        os.kill(self.pid, number)

    def terminate(self):
        self.send_signal(signal.SIGTERM)

    def wait(self, _timeout_s=None):
        if self.returncode is None:
            self.returncode = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        return self.returncode


def upgrade_daemon(daemon):
    """The daemon's own way: its socket and its pid file pass on."""
    daemon.child.send_signal(signal.SIGUSR2)
    code = daemon.child.wait(STEP_TIMEOUT_S)
    with open(os.path.join(daemon.home, "daemon", "daemon.pid"), encoding="ascii") as text:
        daemon.child = Adopted(int(text.read()))
    wait_until(daemon.linked, READY_TIMEOUT_S, f"the link of {daemon.name} after its upgrade")
    return [] if code == 0 else [f"the replaced {daemon.name} ended with {code}, expected 0"]


class Visitor(threading.Thread):
    """Connects, asks once, reads the answer to its end, and begins again."""

    def __init__(self, family, address, target):
        super().__init__(daemon=True)
        self.family = family
        self.address = address
        self.request = f"GET {target} HTTP/1.1\r\nHost: visitor\r\nConnection: close\r\n\r\n".encode()
        self.answers = 0
        self.longest_s = 0.0
        self.problems = []
        self.stopping = threading.Event()

    def run(self):
        while not self.stopping.is_set():
            began = time.monotonic()
            try:
                answer = self.visit()
            except OSError as error:
                self.problems.append(f"{self.address}: {error!r}")
                continue
            self.longest_s = max(self.longest_s, time.monotonic() - began)
            if answer.startswith(b"HTTP/1.1 200 "):
                self.answers += 1
            else:
                self.problems.append(f"{self.address}: answered {answer[:80]!r}")
            self.stopping.wait(0.001)

    def visit(self):
        with socket.socket(self.family, socket.SOCK_STREAM) as peer:
            peer.settimeout(STEP_TIMEOUT_S)
            peer.connect(self.address)
            peer.sendall(self.request)
            answer = b""
            while part := peer.recv(65536):
                answer += part
            return answer

    def take_longest_s(self):
        longest, self.longest_s = self.longest_s, 0.0
        return longest


def reloads(broker, count, problems):
    """Reloads `count` times; what was measured."""
    times = []
    burst, cache = 10000, 100000
    base = None
    for number in range(1, count + 1):
        if number % 20 == 0:
            burst += 1
        broker.configure(64 + number % 2, burst, cache + number % 3)
        began = time.monotonic()
        broker.reload()
        times.append(time.monotonic() - began)
        if number == min(WARM_UP, count // 2):
            base = (broker.descriptors(), broker.memory_kib())
    grown = (broker.descriptors() - base[0], broker.memory_kib() - base[1])
    if grown[0] > DESCRIPTOR_GROWTH_MAX:
        problems.append(f"{grown[0]} descriptors more after {count} reloads, expected at most {DESCRIPTOR_GROWTH_MAX}")
    if grown[1] > MEMORY_GROWTH_MAX_KIB:
        problems.append(f"{grown[1]} KiB more after {count} reloads, expected at most {MEMORY_GROWTH_MAX_KIB}")
    times.sort()
    return {"reload_p50_ms": times[len(times) // 2] * 1000, "reload_max_ms": times[-1] * 1000,
            "reload_descriptors_grown": grown[0], "reload_kib_grown": grown[1]}


def upgrades(broker, count, visitors, problems):
    """Upgrades `count` times; what was measured."""
    gaps = []
    first = None
    for number in range(count):
        for visitor in visitors:
            visitor.take_longest_s()
        if not broker.upgrade():
            problems.append(f"upgrade {number + 1} did not take place; see {broker.log}")
            continue
        # The visit that waited has ended when one more was answered.
        for visitor in visitors:
            seen = visitor.answers
            wait_until(lambda v=visitor, s=seen: v.answers > s + 1 or v.problems, STEP_TIMEOUT_S, "an answer")
        gaps.append(max(visitor.take_longest_s() for visitor in visitors))
        if first is None:
            first = (broker.descriptors(), broker.memory_kib())
    grown = (broker.descriptors() - first[0], broker.memory_kib() - first[1]) if first else (0, 0)
    if grown[0] > DESCRIPTOR_GROWTH_MAX:
        problems.append(f"{grown[0]} descriptors more after {count} upgrades, expected at most {DESCRIPTOR_GROWTH_MAX}")
    if grown[1] > MEMORY_GROWTH_MAX_KIB:
        problems.append(f"{grown[1]} KiB more after {count} upgrades, expected at most {MEMORY_GROWTH_MAX_KIB}")
    gaps.sort()
    return {"upgrade_gap_p50_ms": gaps[len(gaps) // 2] * 1000 if gaps else 0,
            "upgrade_gap_max_ms": gaps[-1] * 1000 if gaps else 0,
            "upgrade_descriptors_grown": grown[0], "upgrade_kib_grown": grown[1]}


def start_all(binary, folder):
    manager = Manager(folder)
    broker = ManagedBroker(binary, f"{folder}/broker", manager)
    alice, bob = (Daemon(binary, folder, name) for name in ("alice", "bob"))
    broker.start()
    manager.wait_ready()
    broker.create_mesh("change")
    token = broker.invite("change", 2)
    for daemon in (alice, bob):
        daemon.join(broker, token)
        daemon.start()
    for daemon in (alice, bob):
        wait_until(daemon.linked, READY_TIMEOUT_S, f"the link of {daemon.name}")
    return broker, alice, bob


def run(arguments, folder):
    problems = []
    broker, alice, bob = start_all(arguments.binary, folder)
    try:
        senders = [Sender(alice, bob, 0.02), Sender(bob, alice, 0.02)]
        visitors = [Visitor(socket.AF_INET, ("127.0.0.1", broker.port), "/health"),
                    Visitor(socket.AF_INET, ("127.0.0.1", broker.port), "/health"),
                    Visitor(socket.AF_UNIX, broker.operator, "/v1/meshes")]
        for thread in senders + visitors:
            thread.start()
        measured = {}
        if arguments.reloads:
            measured.update(reloads(broker, arguments.reloads, problems))
        if arguments.upgrades:
            measured.update(upgrades(broker, arguments.upgrades, visitors, problems))
            problems += upgrade_daemon(alice)
        for thread in senders + visitors:
            thread.stopping.set()
        for thread in senders + visitors:
            thread.join(130)
        wait_until(lambda: len(bob.inbox()) >= len(senders[0].accepted) and len(alice.inbox()) >= len(senders[1].accepted),
                   DELIVERY_TIMEOUT_S, "the delivery of everything that was accepted")
        for visitor in visitors:
            problems += visitor.problems
        problems += check(bob, senders[0]) + check(alice, senders[1])
        for process in (alice, bob, broker):
            code = process.stop()
            if code != 0:
                problems.append(f"{process.log}: exit code {code} after SIGTERM, expected 0")
        measured["answers"] = sum(visitor.answers for visitor in visitors)
        measured["messages"] = sum(len(sender.accepted) for sender in senders)
        return measured, problems
    finally:
        for process in (broker, alice, bob):
            if process.alive():
                process.kill()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binary", required=True)
    parser.add_argument("--reloads", type=int, default=1000)
    parser.add_argument("--upgrades", type=int, default=20)
    parser.add_argument("--json", action="store_true", help="print what was measured as JSON")
    parser.add_argument("--keep", action="store_true", help="keep the folder with databases and logs")
    arguments = parser.parse_args()
    # The process that takes over becomes a child of this one, so that its end can be waited for.
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    folder = tempfile.mkdtemp(prefix="claudemesh-change-")
    measured, problems = run(arguments, folder)
    if arguments.json:
        print(json.dumps(measured))
    else:
        print(f"{arguments.reloads} reloads, {arguments.upgrades} upgrades: " +
              ", ".join(f"{key} {value:.1f}" if isinstance(value, float) else f"{key} {value}"
                        for key, value in measured.items()))
    for problem in problems[:50]:
        print(f"  {problem}", file=sys.stderr)
    if problems or arguments.keep:
        print(f"databases and logs: {folder}", file=sys.stderr)
    else:
        shutil.rmtree(folder)
    if not arguments.json:
        print(f"{0 if problems else 1} passed, {1 if problems else 0} failed")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
