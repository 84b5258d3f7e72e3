#!/usr/bin/env python3
"""Goal: rules of the ABI that only show in a running program (docs/rules).

Method: `claudemesh` as a process, with plugins that are compiled here by a C compiler against the headers alone.

usage: run_rules.py PROGRAM SOURCES
"""
import os
import select
import signal
import subprocess
import sys
import tempfile
import time
import unittest
from pathlib import Path

DEADLINE_S = 30
PROGRAM, SOURCES = "", Path()


class RuleTest(unittest.TestCase):
    def setUp(self):
        scratch = tempfile.TemporaryDirectory()
        self.addCleanup(scratch.cleanup)
        self.folder = Path(scratch.name)
        self.environment = {"HOME": scratch.name, "XDG_CACHE_HOME": scratch.name, "PATH": os.environ["PATH"]}
        self.environment.update({name: value for name, value in os.environ.items() if name.endswith("SAN_OPTIONS")})

    def compile(self, name, extra="", flags=()):
        """The example in C with other text behind it."""
        text = (SOURCES / "sdk/examples/c/word_guard.c").read_text(encoding="utf-8").replace("word_guard", name)
        library = self.folder / f"{name}.so"
        subprocess.run(["gcc", "-x", "c", "-std=c11", "-fPIC", "-shared", "-fvisibility=hidden", "-I", SOURCES / "sdk/include",
                        *flags, "-o", library, "-"], input=text + extra, text=True, check=True)
        library.chmod(0o755)
        return library

    def claudemesh(self, *arguments, cwd=None):
        return subprocess.run([PROGRAM, *arguments], cwd=cwd or self.folder, env=self.environment, capture_output=True, text=True,
                              timeout=DEADLINE_S)

    def start(self, config):
        process = subprocess.Popen([PROGRAM, "run", config], stderr=subprocess.PIPE, env=self.environment, cwd=self.folder)
        self.addCleanup(lambda: (process.kill(), process.wait(), process.stderr.close()))
        self.log = b""
        return process

    def wait_for(self, process, words):
        deadline = time.monotonic() + DEADLINE_S
        while words.encode() not in self.log:
            readable, _, _ = select.select([process.stderr], [], [], max(0.0, deadline - time.monotonic()))
            read = os.read(process.stderr.fileno(), 65536) if readable else b""
            self.assertTrue(read, f"expected '{words}' in the log, found:\n{self.log.decode()}")
            self.log += read
        self.log = self.log.split(words.encode(), 1)[1]

    def test_02_a_missing_symbol_shows_before_the_start(self):
        """Rule 2: RTLD_NOW. A plugin with a hole must not come as far as the first call into the hole."""
        library = self.compile("holey", "\nint cm_no_such_function(void);\n"
                                        "__attribute__((used)) static int hole(void) { return cm_no_such_function(); }\n")
        config = self.folder / "run.toml"
        config.write_text(f'[plugins.holey]\nfile = "{library}"\nword = "x"\n')
        result = self.claudemesh("run", str(config))
        self.assertNotEqual(result.returncode, 0)
        self.assertIn("cm_no_such_function", result.stderr)
        self.assertIn("holey", result.stderr)

    def test_02_a_second_symbol_is_a_problem(self):
        library = self.compile("chatty", "\nCM_EXPORT int chatty_helper = 1;\n")
        result = self.claudemesh("plugin", "inspect", str(library))
        self.assertIn("chatty_helper", result.stdout + result.stderr)
        self.assertNotEqual(result.returncode, 0)

    def test_03_reading_a_manifest_runs_no_code(self):
        """Rule 3: a constructor of the library would leave a file behind."""
        mark = self.folder / "mark"
        library = self.compile("eager", f'\n#include <stdio.h>\n__attribute__((constructor)) static void eager(void) {{\n'
                                        f'  FILE* file = fopen("{mark}", "w");\n  if (file != NULL) {{ fclose(file); }}\n}}\n')
        self.assertEqual(self.claudemesh("plugin", "inspect", str(library)).returncode, 0)
        config = self.folder / "run.toml"
        config.write_text(f'[plugins.eager]\nfile = "{library}"\nword = "x"\n')
        self.assertEqual(self.claudemesh("check", str(config)).returncode, 0)
        self.assertFalse(mark.exists(), "inspecting or checking ran code of the plugin")

    def test_15_code_stays_when_its_instance_is_gone(self):
        """A plugin that breaks the rules and leaves a thread running in its code must not bring the process down, neither
        when its instance goes nor at the end: RTLD_NODELETE keeps the code where it is."""
        # Where code is unloaded, the slow end of one library gives the thread of the other the time to fall into the hole.
        slow_end = "\n#include <poll.h>\n__attribute__((destructor)) static void slow_end(void) { poll(NULL, 0, 100); }\n"
        library = self.compile("stays", slow_end + "\n#include <pthread.h>\nstatic volatile unsigned spins;\n"
                                        "static void* spin(void* unused) {\n  (void)unused;\n  for (;;) { ++spins; }\n  return NULL;\n}\n"
                                        "__attribute__((constructor)) static void leave_a_thread(void) {\n"
                                        "  pthread_t thread;\n  pthread_create(&thread, NULL, spin, NULL);\n}\n")
        config = self.folder / "run.toml"
        other = f'[plugins.other]\nfile = "{self.compile("other", slow_end)}"\nword = "x"\n'
        config.write_text(other + f'[plugins.stays]\nfile = "{library}"\nword = "x"\n')
        process = self.start(config)
        self.wait_for(process, "started with 2 instances")
        config.write_text(other)
        process.send_signal(signal.SIGHUP)
        self.wait_for(process, "reloaded")
        self.assertIn(str(library), Path(f"/proc/{process.pid}/maps").read_text(encoding="utf-8"))
        process.send_signal(signal.SIGTERM)
        self.assertEqual(process.wait(timeout=DEADLINE_S), 0, "the process must end by itself, not by a crash")

    def test_17_the_current_folder_is_not_searched(self):
        self.compile("lurking")
        found = self.claudemesh("plugin", "list")
        self.assertNotIn("lurking", found.stdout)
        named = self.claudemesh("plugin", "list", "--plugin-path", str(self.folder), cwd="/")
        self.assertIn("lurking", named.stdout, "the plugin must be found where the search path says")

    def test_17_a_pin_that_differs_is_refused(self):
        library = self.compile("pinned")
        config = self.folder / "run.toml"
        config.write_text(f'[plugins.pinned]\nfile = "{library}"\nsha256 = "{"0" * 64}"\nword = "x"\n')
        result = self.claudemesh("run", str(config))
        self.assertNotEqual(result.returncode, 0)
        self.assertIn("sha256", result.stderr)


if __name__ == "__main__":
    if len(sys.argv) < 3:
        print(__doc__)
        sys.exit(3)
    PROGRAM, SOURCES = os.path.abspath(sys.argv[1]), Path(sys.argv[2])
    unittest.main(argv=[sys.argv[0], *sys.argv[3:]], verbosity=2)
