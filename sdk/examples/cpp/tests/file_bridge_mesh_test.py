#!/usr/bin/env python3
"""file_bridge, and with it claudemesh/cpp/bridge.hpp, in a real daemon with a real broker: both ways, echo, loops, and what
a restart and a kill leave. Asserts at the far end: in inboxes and in files.

usage: file_bridge_mesh_test.py --binary CLAUDEMESH --plugin FILE_BRIDGE.so
"""
import argparse
import os
import signal
import sys
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "..", "..", "..", "tests", "e2e"))
import world  # pylint: disable=wrong-import-position

ARGUMENTS = None
TRAIL = "\n-- via file:main"
LINES_BEFORE = 200
LINES_AFTER = 20


class FileBridgeTest(unittest.TestCase):
    def setUp(self):
        """A mesh of bob and eve."""
        self.world = world.World(ARGUMENTS.binary)
        self.addCleanup(self.world.close)
        self.world.broker.start()
        slug = self.world.mesh()
        self.bob, self.eve = self.world.members(slug, "bob", "eve")
        self.slug = slug
        self.bridge = self.world.home("bridge")
        self.files = os.path.join(self.world.folder, "files")
        os.makedirs(self.files)

    def map_alerts_to(self, target):
        """A third home, whose daemon has the bridge."""
        with open(os.path.join(self.bridge.config_dir, "daemon.toml"), "w", encoding="utf-8") as file:
            file.write(f"""include = ["{world.SOURCES}/etc/daemon.toml"]
[plugins.files]
file = "{ARGUMENTS.plugin}"
peer = "daemon"
folder = "{self.files}"
every = "20ms"
mappings = ["alerts={target}"]
""")
        self.bridge.join(self.world.invite(self.slug)["url"], "bridge")
        self.bridge.up()

    def write(self, channel, *lines):
        with open(os.path.join(self.files, f"{channel}.in"), "a", encoding="utf-8") as file:
            file.write("".join(f"{line}\n" for line in lines))

    def written(self, channel):
        return world.read(os.path.join(self.files, f"{channel}.out")).splitlines()

    def alerts(self):
        """What bob has of the file, oldest first, without name and trail."""
        bodies = self.bob.bodies()
        for body in bodies:
            self.assertTrue(body.startswith("alerts: ") and body.endswith(TRAIL), body)
        return [body[len("alerts: "):-len(TRAIL)] for body in bodies]

    def test_carries_both_ways_once(self):
        self.map_alerts_to("bob")
        self.write("alerts", "the disk is full", "größer als erlaubt \"90 %\"")
        self.write("hall", "nobody is mapped to this")
        world.wait_until(lambda: len(self.alerts()) == 2, "the arrival of two lines")
        self.assertCountEqual(self.alerts(), ["the disk is full", "größer als erlaubt \"90 %\""])
        self.eve.run("send", "bridge", "eve is not mapped")
        self.bob.run("send", "bridge", "thank you")
        self.bob.run("send", "bridge", "schöner Text \"mit\" \\ allem")
        world.wait_until(lambda: len(self.written("alerts")) == 2, "two lines in alerts.out")
        self.assertCountEqual(self.written("alerts"), ["bob: thank you", "bob: schöner Text \"mit\" \\ allem"])
        self.assertEqual(sorted(os.listdir(self.files)), ["alerts.in", "alerts.out", "hall.in"])

    def test_nothing_runs_in_circles(self):
        self.map_alerts_to("bob")
        self.bob.run("send", "bridge", "I was here before\n-- via slack:acme file:main")
        self.bob.run("send", "bridge", "I come from elsewhere\n-- via slack:acme")
        self.bob.run("send", "bridge", "and this is the last")
        world.wait_until(lambda: "bob: and this is the last" in self.written("alerts"), "the last line")
        self.assertEqual(self.written("alerts"), ["bob: I come from elsewhere", "bob: and this is the last"])
        self.assertEqual(self.bob.bodies(), [])

    def test_a_restart_loses_and_repeats_nothing(self):
        self.map_alerts_to(self.bob.key(self.slug))
        self.write("alerts", "one")
        self.bob.run("send", "bridge", "first")
        world.wait_until(lambda: self.alerts() == ["one"] and self.written("alerts") == ["bob: first"], "the first of both ways")
        self.bridge.down()
        self.write("alerts", "two")
        self.bob.run("send", "bridge", "second")
        self.bridge.up()
        self.write("alerts", "three")
        self.bob.run("send", "bridge", "third")
        world.wait_until(lambda: "three" in self.alerts(), "the third line")

        def texts():  # bob's name may not be known at once
            return [line.partition(": ")[2] for line in self.written("alerts")]

        world.wait_until(lambda: "third" in texts(), "the third message")
        self.assertEqual(self.alerts(), ["one", "two", "three"])
        self.assertEqual(texts(), ["first", "second", "third"])

    def test_a_kill_loses_and_repeats_no_line(self):
        self.map_alerts_to(self.bob.key(self.slug))
        lines = [f"line {number}" for number in range(LINES_BEFORE)]
        self.write("alerts", *lines)
        world.wait_until(self.alerts, "the first line")
        pid = self.bridge.daemon_pid()
        os.kill(pid, signal.SIGKILL)
        world.wait_until(lambda: world.has_ended(pid), "the end of the daemon")
        more = [f"more {number}" for number in range(LINES_AFTER)]
        self.write("alerts", *more)
        self.bridge.up()
        world.wait_until(lambda: more[-1] in self.alerts(), "the last line", 60)
        self.assertCountEqual(self.alerts(), lines + more)

    def tearDown(self):
        for home in self.world.homes:
            if home.daemon_pid() is not None:
                home.run("daemon", "down", code=None)


def main():
    global ARGUMENTS  # pylint: disable=global-statement
    parser = argparse.ArgumentParser(description="file_bridge in a real daemon.")
    parser.add_argument("--binary", required=True)
    parser.add_argument("--plugin", required=True)
    ARGUMENTS, rest = parser.parse_known_args()
    ARGUMENTS.plugin = os.path.abspath(ARGUMENTS.plugin)
    unittest.main(argv=[sys.argv[0], *rest])


if __name__ == "__main__":
    main()
