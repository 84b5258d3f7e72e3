"""The base of all cases: a world shared by a module, and the checks that are always the same."""
import os
import re
import signal
import unittest

import world

BINARY = None  # set by run.py


class Case(unittest.TestCase):
    """Each class has one broker; each test makes its own mesh and homes, and leaves no daemon behind."""

    needs_broker = True

    @classmethod
    def setUpClass(cls):
        cls.world = world.World(BINARY)
        cls.addClassCleanup(cls.world.close)
        if cls.needs_broker:
            cls.world.broker.start()

    def setUp(self):
        self.first_home = len(self.world.homes)

    def tearDown(self):
        for home in self.world.homes[self.first_home:]:
            if home.daemon_pid() is not None:
                home.run("daemon", "down", code=None)
        self.assertEqual(self.world.processes(), [], "processes stayed behind")
        if not getattr(self, "keeps_files", False):
            self.assertEqual(self.world.leftovers(), [], "files stayed behind")

    def assert_three_parts(self, result):
        """Found and expected in one line, the next step in another; nothing else that claims to be an error."""
        self.assertRegex(result.err, re.compile(r"^  ✘ .+; expected .+$", re.MULTILINE), result)
        self.assertRegex(result.err, re.compile(r"^    → .+", re.MULTILINE), result)
        self.assertNotIn("\x1b", result.err, result)

    def refused(self, home, code, *words, **options):
        """Runs a command that must fail with this code and the three parts."""
        result = home.run(*words, code=code, **options)
        self.assert_three_parts(result)
        return result

    def kill(self, pid):
        os.kill(pid, signal.SIGKILL)
        world.wait_until(lambda: world.has_ended(pid), f"the end of process {pid}")
