#!/usr/bin/env python3
"""Kills broker and daemons with SIGKILL at random moments while both sides send, then checks every inbox: each message that
a daemon answered with 202 is there exactly once, in its sender's order, and nothing else is.

usage: kill_test.py --binary PATH [--kills N] [--seed N] [--keep]
Prints "N passed, N failed" and exits with 0 when all holds.
"""
import argparse
import os
import random
import shutil
import sys
import tempfile
import threading
import time

SYSTEM_PYTHON = "/usr/bin/python3"
try:
    import nacl  # noqa: F401
except ImportError:
    if os.path.realpath(sys.executable) == os.path.realpath(SYSTEM_PYTHON):
        sys.exit("kill_test: the Python package nacl is missing; install python3-nacl (scripts/install-dependencies --test)")
    os.execv(SYSTEM_PYTHON, [SYSTEM_PYTHON] + sys.argv)

from mesh_processes import Broker, Daemon, READY_TIMEOUT_S, call, wait_until

DELIVERY_TIMEOUT_S = 150
MESSAGES_MAX = 900  # one page of an inbox


class Sender(threading.Thread):
    """Posts one message after the other; a message that was not answered is repeated under its id until it is."""

    def __init__(self, daemon, recipient, pace_s):
        super().__init__(daemon=True)
        self.daemon_process = daemon
        self.recipient = recipient
        self.pace_s = pace_s
        self.accepted = []
        self.unexpected = []
        self.stopping = threading.Event()

    def run(self):
        number = 0
        while not self.stopping.is_set() and number < MESSAGES_MAX:
            number += 1
            self.send(f"{self.daemon_process.name}-{number}", f"message {number} of {self.daemon_process.name}")
            self.stopping.wait(self.pace_s)

    def send(self, client_id, text):
        body = {"to": self.recipient.pubkey, "message": text, "client_message_id": client_id}
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline:
            try:
                status, answer = call(self.daemon_process.socket, "POST", "/v1/send", body, timeout=5)
            except (OSError, ValueError):
                if self.stopping.wait(0.02) and not self.daemon_process.alive():
                    return
                continue
            if status in (200, 202):
                self.accepted.append((client_id, text))
                return
            if status < 500:
                self.unexpected.append((client_id, status, answer))
                return
        self.unexpected.append((client_id, 0, "no answer within 120 s"))


def check(recipient, sender):
    """Violations of one direction, as sentences."""
    problems = [f"{client_id}: answered {status} {answer}" for client_id, status, answer in sender.unexpected]
    got = [item["body"] for item in recipient.inbox()]
    expected = [text for _, text in sender.accepted]
    for text in expected:
        count = got.count(text)
        if count != 1:
            problems.append(f"{recipient.name} has '{text}' {count} times, expected once")
    for text in set(got) - set(expected):
        problems.append(f"{recipient.name} has '{text}', which no caller was told is accepted")
    known = [text for text in got if text in set(expected)]
    if not problems and known != expected:
        problems.append(f"{recipient.name} has the messages of {sender.daemon_process.name} out of order")
    return problems


def run(binary, kills, seed, folder):
    chance = random.Random(seed)
    broker = Broker(binary, f"{folder}/broker")
    alice, bob = (Daemon(binary, folder, name) for name in ("alice", "bob"))
    processes = [broker, alice, bob]
    try:
        broker.start()
        wait_until(broker.ready, READY_TIMEOUT_S, "the broker's start")
        broker.create_mesh("kill")
        token = broker.invite("kill", 2)
        for daemon in (alice, bob):
            daemon.join(broker, token)
            daemon.start()
        for daemon in (alice, bob):
            wait_until(daemon.linked, READY_TIMEOUT_S, f"the link of {daemon.name}")
        # The senders shall last as long as the kills do, whatever the machine's speed.
        senders = [Sender(alice, bob, 0.05), Sender(bob, alice, 0.05)]
        for sender in senders:
            sender.start()
        between = threading.Event()
        for _ in range(kills):
            between.wait(chance.uniform(0.0, 0.15))
            victim = chance.choice(processes)
            victim.kill()
            between.wait(chance.choice([0.0, 0.0, chance.uniform(0.0, 0.1)]))
            victim.start()
        for process in processes:
            wait_until(process.ready, READY_TIMEOUT_S, "the last restart")
        for sender in senders:
            sender.stopping.set()
        for sender in senders:
            sender.join(130)

        def all_there():
            return all(len(recipient.inbox()) >= len(sender.accepted)
                       for recipient, sender in ((bob, senders[0]), (alice, senders[1])))

        try:
            wait_until(all_there, DELIVERY_TIMEOUT_S, "the delivery of everything that was accepted")
        except TimeoutError as late:
            print(late)
        problems = check(bob, senders[0]) + check(alice, senders[1])
        for process in processes:
            code = process.stop()
            if code != 0:
                problems.append(f"{process.log}: exit code {code} after SIGTERM, expected 0")
        accepted = sum(len(sender.accepted) for sender in senders)
        print(f"{kills} kills (broker {broker.kills}, alice {alice.kills}, bob {bob.kills}), "
              f"{accepted} messages accepted, {len(problems)} violations, seed {seed}")
        return problems
    finally:
        for process in processes:
            if process.alive():
                process.kill()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binary", required=True)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--keep", action="store_true", help="keep the folder with databases and logs")
    arguments = parser.parse_args()
    seed = arguments.seed if arguments.seed is not None else random.SystemRandom().randrange(1 << 32)
    folder = tempfile.mkdtemp(prefix="claudemesh-kill-")
    problems = run(arguments.binary, arguments.kills, seed, folder)
    for problem in problems[:50]:
        print(f"  {problem}")
    if problems or arguments.keep:
        print(f"databases and logs: {folder}")
    else:
        shutil.rmtree(folder)
    print(f"{0 if problems else 1} passed, {1 if problems else 0} failed")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
