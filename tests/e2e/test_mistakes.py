"""Everything that people and machines do wrong: exit codes, three-part texts, and no damage."""
import base64
import contextlib
import json
import os
import resource
import shutil
import signal
import socket
import subprocess

from e2e_case import Case
from world import READY_TIMEOUT_S, SOURCES, read, wait_until


def tampered(token, **changes):
    payload = json.loads(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)))
    payload.update(changes)
    return base64.urlsafe_b64encode(json.dumps(payload).encode()).decode().rstrip("=")


class Invites(Case):
    def setUp(self):
        super().setUp()
        self.slug = self.world.mesh()
        self.home = self.world.home("guest")

    def tearDown(self):
        super().tearDown()
        if "joined" not in self.id():
            self.assertFalse(os.path.exists(os.path.join(self.home.config_dir, "config.json")), "a refusal left a file")

    def test_nonsense(self):
        for text in ("hello", "https://broker.example/join/", "ic://join/!!!", "x" * 9000):
            self.refused(self.home, 1, "join", text)

    def test_tampered(self):
        token = self.world.invite(self.slug)["token"]
        result = self.refused(self.home, 1, "join", tampered(token, role="admin"))
        self.assertIn("signature", result.err)
        self.refused(self.home, 1, "join", token[:-40])

    def test_expired(self):
        token = self.world.invite(self.slug, "--expires", "1s", "--uses", "1000")["token"]
        late = self.world.home("late")

        def expires():
            result = late.run("join", token, code=None)
            return result if result.code else None
        self.assertRegex(wait_until(expires, "the end of an invite of one second").err, "invite.expired")

    def test_revoked(self):
        for key in ("id", "code", "token", "url"):
            invite = self.world.invite(self.slug)
            word = "revoke" if key in ("id", "code") else "invite-revoke"
            self.assertEqual(self.world.operator.run("mesh", word, self.slug, invite[key], "--json").json()["id"],
                             invite["id"])
            self.assertIn("invite_revoked", self.refused(self.home, 1, "join", invite["url"]).err)

    def test_used_up(self):
        token = self.world.invite(self.slug)["token"]
        self.world.home("first").join(token)
        self.assertIn("invite_exhausted", self.refused(self.home, 1, "join", token).err)

    def test_no_broker(self):
        token = self.world.invite(self.slug)["token"]
        self.world.broker.kill()
        try:
            self.refused(self.home, 4, "join", token)
        finally:
            self.world.broker.start()
        self.world.home("after").join(token)

    def test_joined_at_the_same_time(self):
        slugs = [self.slug, self.world.mesh(), self.world.mesh()]
        joins = [self.home.start("join", self.world.invite(slug)["url"], "--name", "guest") for slug in slugs]
        for join in joins:
            out, err = join.communicate(timeout=READY_TIMEOUT_S)
            self.assertEqual(join.returncode, 0, out + err)
        self.assertEqual({mesh["slug"] for mesh in self.home.run("list", "--json").json()}, set(slugs))

    def test_joined_into_an_unreadable_configuration(self):
        path = os.path.join(self.home.config_dir, "config.json")
        for content in ("{ broken", "[]", '{"meshes": {}}'):
            with open(path, "w", encoding="utf-8") as file:
                file.write(content)
            invite = self.world.invite(self.slug)
            self.refused(self.home, 10, "join", invite["url"])
            self.assertEqual(read(path), content, "a file that cannot be read must not be replaced")
            used = self.world.operator.run("mesh", "invites", self.slug, "--json").json()["invites"]
            self.assertEqual({row["used_count"] for row in used}, {0}, "a refusal must not use an invite up")

    def test_read_only_home(self):
        home = "/proc/self" if os.geteuid() == 0 else self.home.path  # nothing is read-only to root but /proc
        if os.geteuid() != 0:
            os.chmod(self.home.config_dir, 0o500)
        token = self.world.invite(self.slug)["token"]
        try:
            self.refused(self.home, 10, "join", token, environment={"HOME": home})
        finally:
            os.chmod(self.home.config_dir, 0o700)
        self.world.home("after").join(token)


class Messages(Case):
    def test_unknown_and_impossible(self):
        slug = self.world.mesh()
        (alice,) = self.world.members(slug, "alice")
        self.refused(alice, 1, "send", "nobody", "hi")
        self.refused(alice, 1, "send", "0123456789", "hi")
        self.refused(alice, 1, "send", alice.key(slug), "to myself")
        self.refused(alice, 1, "send", "--mesh", "no-such-mesh", "*", "hi")
        self.refused(alice, 3, "send", "*", "-", stdin="")
        self.refused(alice, 3, "send", "", "to nobody")
        self.refused(alice, 3, "inbox", "flush", "--before", "yesterday")
        answer = self.refused(alice, 1, "send", "--json", "nobody", "hi")
        self.assertEqual((answer.json()["ok"], answer.json()["via"]), (False, "daemon"))
        self.refused(alice, 3, "message", "status", "short")
        self.refused(alice, 5, "message", "status", "A" * 32)

    def test_too_large(self):
        slug = self.world.mesh()
        alice, bob = self.world.members(slug, "alice", "bob")
        self.refused(alice, 1, "send", bob.key(slug), "-", stdin="x" * 200_000)
        self.refused(alice, 3, "send", bob.key(slug), "-", stdin="x" * 300_000)
        alice.run("send", "--wait", bob.key(slug), "-", stdin="y" * 30_000)
        bob.receives("y" * 30_000)

    def test_ctrl_c_while_waiting_says_that_nothing_is_lost(self):
        slug = self.world.mesh()
        alice, bob = self.world.members(slug, "alice", "bob")
        key = bob.key(slug)
        bob.down()
        self.world.broker.kill()
        try:
            wait_until(lambda: not alice.linked(), "the end of the link")
            waiting = alice.start("send", "--wait=60", "--id", "ctrl-c-1", key, "goes out all the same")
            wait_until(lambda: "ctrl-c-1" in alice.run("daemon", "outbox", "list", "--json").out, "the outbox row")
            waiting.send_signal(signal.SIGINT)
            out, err = waiting.communicate(timeout=READY_TIMEOUT_S)
        finally:
            self.world.broker.start()
        self.assertEqual((waiting.returncode, out), (1, ""), err)
        self.assertIn("stopped waiting for message ctrl-c-1", err)
        self.assertIn("claudemesh message status ctrl-c-1", err)
        bob.up()
        bob.receives("goes out all the same")

    def test_text_of_others_cannot_control_the_terminal(self):
        slug = self.world.mesh()
        alice, bob = self.world.members(slug, "alice", "bob")
        alice.run("send", "--wait", "bob", "-", stdin="\x1b[2J\x1b]0;title\x07 harmless")
        wait_until(bob.inbox, "the message")
        self.assertNotIn("\x1b", bob.run("inbox").out)


class Daemons(Case):
    def setUp(self):
        super().setUp()
        self.slug = self.world.mesh()
        self.home = self.world.home("user")

    def test_nothing_joined(self):
        for words in (("inbox",), ("peers",), ("send", "x", "y"), ("message", "status", "A" * 32)):
            self.refused(self.home, 1, *words)
        self.refused(self.home, 1, "daemon", "up")
        self.assertEqual(self.home.run("list", "--json").json(), [])

    def test_no_daemon_and_the_automatic_start(self):
        self.home.join(self.world.invite(self.slug)["url"])
        for words in (("inbox",), ("peers",), ("send", "x", "y")):
            self.refused(self.home, 4, *words, "--no-daemon")
            self.refused(self.home, 4, *words, environment={"CLAUDEMESH_INTERNAL_NO_AUTOSPAWN": "1"})
        self.assertEqual(self.home.run("daemon", "status", "--json", code=1).json(), {"running": False})
        self.assertEqual(self.home.run("daemon", "down", "--json").json()["reason"], "not_running")
        self.refused(self.home, 1, "daemon", "version")
        started = self.home.run("inbox", "--json")
        self.assertEqual(started.json(), [])
        self.assertIn("[claudemesh] info daemon started automatically", started.err)
        self.assertEqual(self.home.run("inbox", "--json").err, "", "only once")
        self.assertIn("(ipc v1, schema 1)", self.home.run("daemon", "version").out)

    def test_many_start_it_at_once(self):
        self.home.join(self.world.invite(self.slug)["url"])
        commands = [self.home.start(*words) for words in (("inbox",), ("daemon", "up"), ("peers",), ("daemon", "up"))]
        outputs = [command.communicate(timeout=READY_TIMEOUT_S) for command in commands]
        self.assertEqual([command.returncode for command in commands], [0] * len(commands), outputs)
        self.assertEqual(read(os.path.join(self.home.daemon_dir, "daemon.log")).count("daemon_started"), 1)

    def test_a_second_daemon(self):
        self.home.join(self.world.invite(self.slug)["url"])
        pid = self.home.up()
        again = self.home.run("daemon", "up", "--json").json()
        self.assertEqual((again["ok"], again["pid"]), (True, pid))
        self.refused(self.home, 1, "daemon", "up", "--foreground")

    def test_stale_files_of_a_dead_daemon(self):
        self.home.join(self.world.invite(self.slug)["url"])
        os.makedirs(self.home.daemon_dir, mode=0o700)
        bystander = subprocess.Popen(["sleep", "60"], env={"PATH": os.environ["PATH"]})
        self.addCleanup(bystander.wait)
        self.addCleanup(bystander.kill)
        with socket.socket(socket.AF_UNIX) as dead:
            dead.bind(os.path.join(self.home.daemon_dir, "daemon.sock"))
        with open(os.path.join(self.home.daemon_dir, "daemon.pid"), "w", encoding="utf-8") as file:
            file.write(str(bystander.pid))
        self.assertEqual(self.home.run("daemon", "status", "--json", code=1).json(), {"running": False})
        self.assertEqual(self.home.run("daemon", "down", "--json").json()["reason"], "not_running")
        self.assertIsNone(bystander.poll(), "a process that is no daemon was stopped")
        self.home.up()
        self.assertNotEqual(self.home.daemon_pid(), bystander.pid)

    def test_folders_from_the_environment(self):
        config, daemon = (os.path.join(self.home.path, name) for name in ("c", "d"))
        os.mkdir(config)
        environment = {"CLAUDEMESH_CONFIG_DIR": config, "CLAUDEMESH_DAEMON_DIR": daemon}
        self.home.run("join", self.world.invite(self.slug)["url"], environment=environment)
        with open(os.path.join(config, "daemon.toml"), "w", encoding="utf-8") as file:
            file.write(read(os.path.join(self.home.config_dir, "daemon.toml")))
        self.home.run("daemon", "up", environment=environment)
        self.assertTrue(os.path.exists(os.path.join(daemon, "daemon.sock")))
        self.assertFalse(os.path.exists(self.home.daemon_dir))
        self.home.run("daemon", "down", environment=environment)
        self.assertEqual(sorted(set(os.listdir(daemon)) & {"daemon.sock", "daemon.pid"}), [])


@contextlib.contextmanager
def full_disk(pid):
    """No file of the process grows any more: each such write fails, with the signal SIGXFSZ on top."""
    before = resource.prlimit(pid, resource.RLIMIT_FSIZE)
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (0, before[1]))
    try:
        yield
    finally:
        resource.prlimit(pid, resource.RLIMIT_FSIZE, before)


class Disks(Case):
    """Writes that fail: the process lives, says so, and loses nothing that it took."""

    def setUp(self):
        super().setUp()
        self.slug = self.world.mesh()

    def test_a_daemon_that_cannot_write(self):
        alice, bob = self.world.members(self.slug, "alice", "bob")
        alice.run("send", "--wait", "bob", "before")
        with full_disk(alice.daemon_pid()):
            refused = self.refused(alice, None, "send", "bob", "refused")
            self.assertNotEqual(refused.code, 0)
            self.assertRegex(refused.err, "storage_unavailable|cannot be written|disk")
            self.assertTrue(alice.linked(), "the daemon must live on")
        with full_disk(bob.daemon_pid()):
            alice.run("send", "--id", "kept-by-the-broker", "bob", "kept by the broker")
            alice.until_accepted("kept-by-the-broker")
            alice.run("send", "--id", "kept-by-the-broker", "--wait=0.5", "bob", "kept by the broker")
            self.assertEqual(bob.bodies(), ["before"])
            self.assertTrue(bob.linked(), "the daemon must live on")
        alice.run("send", "--wait", "bob", "after")
        bob.receives("before", "kept by the broker", "after")
        self.assertEqual(bob.bodies(), ["before", "kept by the broker", "after"], "nothing that was refused came")

    def test_a_broker_that_cannot_write(self):
        alice, bob = self.world.members(self.slug, "alice", "bob")
        alice.run("send", "--wait", "bob", "before")
        with full_disk(self.world.broker.child.pid):
            waiting = alice.run("send", "--wait=0.5", "bob", "waits in the outbox", code=None)
            self.assertNotEqual(waiting.code, 0, waiting)
            self.assertIn("nothing is lost", waiting.err)
            self.refused(self.world.operator, None, "mesh", "create", "Nowhere", "--slug", "nowhere")
            self.assertTrue(self.world.broker.ready(), "the broker must live on")
        bob.receives("before", "waits in the outbox")
        self.assertEqual(self.world.mesh(), f"mesh-{self.world.meshes}", "the broker works again")

    def test_a_database_that_cannot_be_opened(self):
        (alice,) = self.world.members(self.slug, "alice")
        alice.down()
        database = os.path.join(alice.daemon_dir, "daemon.db")
        kept = database + ".kept"
        os.rename(database, kept)
        os.mkdir(database)
        started = self.refused(alice, None, "daemon", "up")
        self.assertNotEqual(started.code, 0)
        self.assertIn(database, started.err)
        os.rmdir(database)
        os.rename(kept, database)
        alice.up()

    def test_a_read_only_database(self):
        """Root may write what is read-only, so the file system has to say it: a file in /proc."""
        (alice,) = self.world.members(self.slug, "alice")
        alice.down()
        if os.geteuid() == 0:
            database = "/proc/self/no.db"
        else:
            database = os.path.join(alice.path, "copy.db")
            shutil.copy(os.path.join(alice.daemon_dir, "daemon.db"), database)
            os.chmod(database, 0o400)
        config = os.path.join(alice.config_dir, "daemon.toml")
        usual = read(config)
        with open(config, "a", encoding="utf-8") as file:
            file.write(f'[plugins.store]\npath = "{database}"\n')
        started = self.refused(alice, None, "daemon", "up")
        self.assertNotEqual(started.code, 0)
        self.assertIn(database, started.err)
        with open(config, "w", encoding="utf-8") as file:
            file.write(usual)
        alice.up()


class Configurations(Case):
    needs_broker = False

    CASES = {
        "malformed TOML": ("[plugins.store\nuse = 1", 2),
        "a wrong type": ('[plugins.store]\nuse = "storage_sqlite"\npath = 17\n', 2),
        "an unknown option": ('[plugins.store]\nuse = "storage_sqlite"\npath = "x.db"\npaht = "y"\n', 2),
        "a missing plugin": ('[plugins.a]\nuse = "no_such_plugin"\n', 2),
        "a missing include": ('include = ["no-such-file.toml"]\n', 2),
    }

    def test_run_refuses_and_says_why(self):
        home = self.world.home("user")
        path = os.path.join(home.path, "bad.toml")
        for name, (content, code) in self.CASES.items():
            with self.subTest(name):
                with open(path, "w", encoding="utf-8") as file:
                    file.write(content)
                result = home.run("run", path, code=code)
                self.assertIn("bad.toml", result.err)
                self.assertNotIn("terminate called", result.err)
        result = home.run("run", os.path.join(home.path, "none.toml"), code=2)
        self.assertIn("none.toml", result.err)

    def test_a_broker_on_all_interfaces_is_asked_for_its_address(self):
        home = self.world.home("user")
        path, log = (os.path.join(home.path, name) for name in ("everywhere.toml", "everywhere.log"))
        with open(path, "w", encoding="utf-8") as file:
            file.write(f'include = ["{SOURCES}/etc/broker.toml"]\n[host]\ndata_dir = "{home.path}/data"\n[plugins.store]\n'
                       f'path = "{home.path}/broker.db"\n[plugins.broker]\nlisten = "0.0.0.0:0"\npublic_url = ""\n')
        with open(log, "ab") as file:
            child = subprocess.Popen([self.world.binary, "run", path], stdin=subprocess.DEVNULL, stdout=file, stderr=file,
                                     env=home.environment)
        self.addCleanup(lambda: child.poll() is None and child.kill())
        wait_until(lambda: "set public_url before the first invite" in read(log), "the advice")
        child.terminate()
        self.assertEqual(child.wait(READY_TIMEOUT_S), 0)

    def test_daemon_up_shows_what_the_daemon_said(self):
        home = self.world.home("user")
        with open(os.path.join(home.config_dir, "config.json"), "w", encoding="utf-8") as file:
            json.dump({"version": 1, "meshes": [{"slug": "m"}]}, file)
        path = os.path.join(home.path, "bad.toml")
        with open(path, "w", encoding="utf-8") as file:
            file.write('[plugins.a]\nuse = "no_such_plugin"\n')
        result = self.refused(home, 1, "daemon", "up", "--config", path)
        self.assertIn("no_such_plugin", result.err)
        self.refused(home, 1, "daemon", "up", "--config", path + ".none")
        answer = home.run("daemon", "up", "--json", "--config", path, code=1).json()
        self.assertEqual((answer["ok"], answer["detached"]), (False, True))


class CommandLine(Case):
    needs_broker = False

    def test_wrong_words(self):
        home = self.world.home("user")
        self.assertIn("did you mean `claudemesh send`", self.refused(home, 3, "snd", "bob", "hi").err)
        for words in ((), ("send",), ("send", "a", "b", "--nope"), ("inbox", "--limit", "many"), ("mesh",),
                      ("mesh", "invite", "m", "--role", "king"), ("mesh", "invite", "m", "--expires", "soon")):
            self.refused(home, 3, *words)
        self.refused(home, 2, "daemon", "fly")

    def test_the_operator_without_a_broker(self):
        home = self.world.home("user")
        for words in (("list",), ("create", "x"), ("invite", "x"), ("backup", "/tmp/never-written")):
            self.refused(home, 4, "mesh", *words)
        self.assertFalse(os.path.exists("/tmp/never-written"))

    def test_colour_is_for_people_only(self):
        home = self.world.home("user")
        for setting, coloured in (({}, True), ({"NO_COLOR": "1"}, False), ({"TERM": "dumb"}, False)):
            leader, terminal = os.openpty()
            subprocess.run([self.world.binary, "snd"], stdin=terminal, stdout=terminal, stderr=terminal, check=False,
                           env={**home.environment, "TERM": "xterm", **setting}, timeout=READY_TIMEOUT_S)
            os.close(terminal)
            shown = os.read(leader, 4096)
            os.close(leader)
            self.assertIn(b"Unknown command: snd", shown)
            self.assertEqual(b"\x1b[31m" in shown, coloured, (setting, shown))

    def test_help(self):
        home = self.world.home("user")
        for words in ((), ("join",), ("send",), ("inbox",), ("peer", "list"), ("daemon", "up"), ("mesh", "invite")):
            self.assertIn("Usage:", home.run(*words, "--help").out)
            self.assertEqual(home.run("help", *words).out, home.run(*words, "--help").out)
        self.refused(home, 3, "help", "daemon", "fly")
        self.assertRegex(home.run("--version").out, r"^claudemesh \d+\.\d+\.\d+")
        self.assertEqual({home.run(word).out for word in ("version", "-V")}, {home.run("--version").out})

    def test_output_that_is_lost_is_no_success(self):
        home = self.world.home("user")
        for words, code in ((("list", "--json"), 10), (("--help",), 10), (("send", "--help"), 10), (("daemon",), 1)):
            with open("/dev/full", "w", encoding="utf-8") as full:
                done = subprocess.run([self.world.binary, *words], stdout=full, stderr=subprocess.PIPE, text=True,
                                      env=home.environment, timeout=READY_TIMEOUT_S, check=False)
            self.assertEqual(done.returncode, code, (words, done.stderr))
            self.assertIn("not all of the output could be written", done.stderr)

    def test_a_reader_that_goes_ends_the_command_quietly(self):
        """As with other programs: `claudemesh list | head -1` says nothing on its error stream."""
        home = self.world.home("user")
        for words in (("list", "--json"), ("--help",), ("daemon",)):
            reader, writer = os.pipe()
            os.close(reader)
            done = subprocess.run([self.world.binary, *words], stdout=writer, stderr=subprocess.PIPE, text=True,
                                  env=home.environment, timeout=READY_TIMEOUT_S, check=False, restore_signals=True)
            os.close(writer)
            self.assertEqual((done.returncode, done.stderr), (-signal.SIGPIPE, ""), words)


class Operator(Case):
    def test_names_that_clash_or_are_unknown(self):
        slug = self.world.mesh()
        operator = self.world.operator
        self.refused(operator, 6, "mesh", "create", "again", "--slug", slug)
        self.refused(operator, 5, "mesh", "invite", "no-such-mesh")
        self.refused(operator, 5, "mesh", "members", "no-such-mesh")
        self.refused(operator, 5, "mesh", "revoke", slug, "nothing1")
        self.assertIn(slug, {mesh["slug"] for mesh in operator.run("mesh", "list", "--json").json()["meshes"]})
        self.assertIn(slug, operator.run("mesh", "list").out)

    def test_backup(self):
        operator = self.world.operator
        path = os.path.join(self.world.folder, "backup.db")
        answer = operator.run("mesh", "backup", path, "--json").json()
        self.assertEqual((answer["path"], answer["bytes"]), (path, os.path.getsize(path)))
        result = operator.run("mesh", "backup", path, code=None)
        self.assertIn(result.code, (3, 6), result)
        self.assert_three_parts(result)
