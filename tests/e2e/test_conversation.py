"""What users do all day: join, write, read, and the machines fail meanwhile."""
import json
import os
import re
import signal
import stat
import subprocess

from e2e_case import Case
from world import READY_TIMEOUT_S, SOURCES, free_port, read, wait_until


class Conversation(Case):
    def test_two_members_write_to_each_other(self):
        slug = self.world.mesh()
        alice, bob = self.world.members(slug, "alice", "bob")
        sent = alice.run("send", "--wait", "--json", "bob", "Hello", "Bob").json()
        self.assertTrue(sent["ok"], sent)
        self.assertEqual((sent["via"], sent["delivery"], sent["duplicate"]), ("daemon", "delivered", False), sent)
        bob.receives("Hello Bob")
        row = bob.inbox()[0]
        key = alice.key(slug)
        self.assertEqual((row["mesh"], row["sender_pubkey"]), (slug, key), row)
        # A push that was queued names no sender (1.37.0); the daemon then shows the beginning of the key.
        self.assertIn(row["sender_name"], ("alice", key[:8]), row)
        text = bob.run("inbox").out
        self.assertIn(f"alice ({key[:8]})", text)
        self.assertIn("    Hello Bob\n", text)
        self.assertEqual(bob.inbox("--unread"), [], "what was shown is not unread")
        status = alice.run("message", "status", sent["messageId"], "--json").json()
        self.assertTrue(status["delivered"], status)
        self.assertEqual(alice.run("msg-status", sent["messageId"][:10], "--json").json()["delivered"], True)
        bob.run("send", alice.key(slug)[:12], "-", stdin="a text\nof two lines")
        alice.receives("a text\nof two lines")

    def test_an_id_sends_once(self):
        slug = self.world.mesh()
        alice, bob = self.world.members(slug, "alice", "bob")
        first = alice.run("send", "--id", "order-1", "--wait", "--json", bob.key(slug), "once").json()
        again = alice.run("send", "--id", "order-1", "--json", bob.key(slug), "once").json()
        self.assertTrue(again["duplicate"], again)
        self.assertEqual(again["messageId"], first["messageId"])
        self.refused(alice, 1, "send", "--id", "order-1", bob.key(slug), "something else")
        alice.run("send", "--wait", bob.key(slug), "the end")
        bob.receives("once", "the end")

    def test_everybody_and_who_is_there(self):
        slug = self.world.mesh()
        alice, bob, carol = self.world.members(slug, "alice", "bob", "carol")
        peers = alice.run("peer", "list", "--all", "--json=name,isSelf").json()
        self.assertEqual({(peer["name"], peer["isSelf"]) for peer in peers},
                         {("alice", True), ("bob", False), ("carol", False)})
        self.assertEqual(alice.run("peers", "--json").json(), [], "daemons are hidden without --all")
        self.assertIn("3 control-plane hidden", alice.run("peers").out)
        alice.run("send", "*", "--", "--all hands--")
        bob.receives("--all hands--")
        carol.receives("--all hands--")
        members = self.world.operator.run("mesh", "members", slug, "--json").json()["members"]
        self.assertEqual({(member["display_name"], member["online"]) for member in members},
                         {("alice", True), ("bob", True), ("carol", True)})

    def test_following_the_inbox(self):
        slug = self.world.mesh()
        alice, bob = self.world.members(slug, "alice", "bob")
        alice.run("send", "--wait", "bob", "before")
        bob.receives("before")
        follower = bob.start("inbox", "--follow", "--json")
        try:
            self.assertEqual(json.loads(follower.stdout.readline())["body"], "before")
            alice.run("send", "bob", "while it follows")
            self.assertEqual(json.loads(follower.stdout.readline())["body"], "while it follows")
            follower.send_signal(signal.SIGINT)
            self.assertEqual(follower.wait(READY_TIMEOUT_S), 0)
            self.assertEqual(follower.stdout.read(), "")
        finally:
            follower.kill()
            follower.communicate()

    def test_the_inbox_can_be_emptied(self):
        slug = self.world.mesh()
        alice, bob = self.world.members(slug, "alice", "bob")
        for text in ("one", "two"):
            alice.run("send", "--wait", "bob", text)
        bob.receives("one", "two")
        row = bob.inbox()[0]
        self.assertEqual(bob.run("inbox", "delete", row["id"], "--json").json(), {"ok": True, "id": row["id"]})
        self.assertEqual(len(bob.inbox()), 1)
        self.refused(bob, 5, "inbox", "delete", row["id"])
        self.refused(bob, 1, "inbox", "flush")
        self.assertEqual(bob.run("inbox", "flush", "--all", "--json").json(), {"ok": True, "removed": 1})
        self.assertEqual(bob.inbox(), [])

    def test_the_files_of_a_member(self):
        slug = self.world.mesh()
        invite = self.world.invite(slug)
        home = self.world.home("member")
        joined = home.join(invite["url"])
        path = os.path.join(home.config_dir, "config.json")
        self.assertEqual(stat.S_IMODE(os.stat(path).st_mode), 0o600)
        with open(path, encoding="utf-8") as file:
            text = file.read()
        config = json.loads(text)
        self.assertEqual(text, json.dumps(config, indent=2, ensure_ascii=False) + "\n")
        self.assertEqual(config["version"], 1)
        self.assertEqual(set(config["meshes"][0]), {"meshId", "memberId", "slug", "name", "pubkey", "secretKey",
                                                    "brokerUrl", "joinedAt"})
        self.assertEqual(joined["memberId"], config["meshes"][0]["memberId"])
        link = os.path.join(home.config_dir, f"invite-{slug}.txt")
        self.assertEqual(stat.S_IMODE(os.stat(link).st_mode), 0o600)
        self.assertEqual(home.run("list", "--json").json()[0]["link"], None)
        home.up()
        self.assertEqual(home.run("list", "--json").json()[0]["link"], "open")
        for name in ("daemon.sock", "daemon.pid", "daemon.log"):
            mode = stat.S_IMODE(os.stat(os.path.join(home.daemon_dir, name)).st_mode)
            self.assertEqual(mode, 0o600, name)

    def test_a_running_daemon_takes_a_new_mesh_over(self):
        first, second = self.world.mesh(), self.world.mesh()
        (home,) = self.world.members(first, "alice")
        self.assertTrue(home.join(self.world.invite(second)["url"], "alice")["daemonReloaded"])
        wait_until(home.linked, "the link to the second mesh")
        health = home.run("daemon", "status", "--json").json()["health"]
        self.assertEqual(set(health["brokers"]), {first, second})
        self.refused(home, 3, "send", "*", "to which mesh?")
        self.assertEqual({group["mesh"] for group in home.run("peers", "--json").json()}, {first, second})


class Failures(Case):
    def setUp(self):
        super().setUp()
        if not self.world.broker.alive():
            self.world.broker.start()

    def test_the_broker_is_killed_between_messages(self):
        slug = self.world.mesh()
        alice, bob = self.world.members(slug, "alice", "bob")
        key = bob.key(slug)
        alice.run("send", "--wait", "bob", "before the kill")
        self.world.broker.kill()
        sent = alice.run("send", "--json", key, "while it is dead").json()
        self.assertEqual(sent["status"], "queued", sent)
        # The daemon remembers whom a name belonged to.
        alice.run("send", "bob", "by name")
        waiting = alice.run("send", "--wait=0.2", key, "nobody listens", code=4)
        self.assertIn("nothing is lost", waiting.err)
        pending = alice.run("daemon", "outbox", "list", "--json").json()
        self.assertEqual(len([row for row in pending if row["status"] in ("pending", "inflight")]), 3, pending)
        self.world.broker.start()
        expected = ["before the kill", "while it is dead", "by name", "nobody listens"]
        bob.receives(*expected)
        self.assertEqual(bob.bodies(), expected, "in this order")

    def test_a_recipient_that_is_away(self):
        slug = self.world.mesh()
        alice, bob = self.world.members(slug, "alice", "bob")
        key = bob.key(slug)
        alice.run("send", "--wait", "bob", "hello")
        self.assertTrue(bob.down()["stopped"])
        alice.run("send", "--id", "for-later", key, "for later")
        alice.until_accepted("for-later")
        sent = alice.run("send", "--id", "for-later", "--wait=1", "--json", key, "for later").json()
        self.assertEqual(sent["delivery"], "accepted", sent)
        self.world.broker.kill()
        self.world.broker.start()
        # The new broker has not seen bob yet; alice's daemon has.
        self.assertFalse(alice.run("send", "--json", "bob", "by name").json()["recipientOnline"])
        bob.up()
        bob.receives("hello", "for later", "by name")

    def test_the_daemon_is_killed_and_started_again(self):
        slug = self.world.mesh()
        alice, bob = self.world.members(slug, "alice", "bob")
        key = bob.key(slug)
        alice.run("send", "--wait", "bob", "kept")
        bob.receives("kept")
        self.world.broker.kill()
        alice.run("send", key, "in the outbox")
        for home in (alice, bob):
            pid = home.daemon_pid()
            self.kill(pid)
            self.assertEqual(home.run("daemon", "status", "--json", code=1).json(), {"running": False})
            self.assertEqual(home.run("daemon", "up", "--json").json()["ok"], True)
            self.assertNotEqual(home.daemon_pid(), pid)
        self.assertEqual(bob.bodies(), ["kept"])
        printed = alice.run("send", "bob", "by name").out
        shown = re.search(r"\(([0-9a-f]{8})\)", printed)
        self.assertIsNotNone(shown, printed)
        self.assertIn("waits in the daemon's outbox", alice.run("message", "status", shown.group(1)).out)
        self.world.broker.start()
        bob.receives("kept", "in the outbox", "by name")
        wait_until(lambda: "delivered" in alice.run("message", "status", shown.group(1)).out, "its delivery")

    def test_the_broker_ends_in_order(self):
        self.assertEqual(self.world.broker.stop(), 0)
        self.assertFalse(os.path.lexists(self.world.broker.socket), "the operator socket stays behind")
        self.world.broker.start()


class Standalone(Case):
    """A broker and a daemon in one process (etc/standalone.toml)."""

    needs_broker = False

    def test_it_serves_and_ends_without_complaint(self):
        home = self.world.home("both")
        config, log = (os.path.join(self.world.folder, name) for name in ("standalone.toml", "standalone.log"))
        address, socket = f"127.0.0.1:{free_port()}", os.path.join(home.config_dir, "operator.sock")
        with open(config, "w", encoding="utf-8") as file:
            file.write(f'include = ["{SOURCES}/etc/standalone.toml"]\n[plugins.broker]\nlisten = "{address}"\n'
                       f'operator_socket = "{socket}"\npublic_url = "ws://{address}/ws"\n')
        with open(log, "ab") as file:
            child = subprocess.Popen([self.world.binary, "run", config], stdin=subprocess.DEVNULL, stdout=file,
                                     stderr=file, env=home.environment)
        self.addCleanup(lambda: child.poll() is None and child.kill())
        wait_until(lambda: home.run("daemon", "status", code=None).code == 0, "the daemon")
        home.run("mesh", "create", "Both", "--slug", "both", "--socket", socket)
        home.join(home.run("mesh", "invite", "both", "--socket", socket, "--json").json()["token"], "me")
        wait_until(home.linked, "the link to the broker in the same process")
        child.terminate()
        self.assertEqual(child.wait(READY_TIMEOUT_S), 0)
        # The daemon answers the broker's close frame at once: what its end writes meets a store that is ending too.
        self.assertNotIn(" error ", read(log))
