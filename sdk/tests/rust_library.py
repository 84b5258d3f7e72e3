#!/usr/bin/env python3
"""Goal: plugins in Rust as the host meets them, a shared library through the real loader.

Method: cargo builds what `claudemesh plugin new` writes, and a plugin that panics (rust_panics), against the SDK of the
sources; `claudemesh` inspects, checks and runs the libraries.

usage: rust_library.py PROGRAM CM_MANIFEST SOURCES
Ends with 77 when there is no cargo.
"""
import os
import re
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import unittest
import urllib.error
import urllib.request
from pathlib import Path

SKIPPED = 77
DEADLINE_S = 60
KINDS = ("hook", "transport", "storage", "bridge")
PROGRAM, MANIFEST, SOURCES = "", "", Path()


class RustLibraryTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.scratch = tempfile.TemporaryDirectory()
        cls.folder = Path(cls.scratch.name)
        cls.environment = {name: value for name, value in os.environ.items()
                           if name in ("PATH", "CARGO_HOME", "RUSTUP_HOME", "RUSTUP_TOOLCHAIN") or name.endswith("SAN_OPTIONS")}
        cls.environment["CARGO_HOME"] = os.environ.get("CARGO_HOME", str(Path.home() / ".cargo"))
        cls.environment["RUSTUP_HOME"] = os.environ.get("RUSTUP_HOME", str(Path.home() / ".rustup"))
        cls.environment.update({"HOME": cls.scratch.name, "XDG_CACHE_HOME": cls.scratch.name, "CM_MANIFEST": MANIFEST,
                                "CARGO_TARGET_DIR": str(cls.folder / "target")})

    @classmethod
    def tearDownClass(cls):
        cls.scratch.cleanup()

    def run_words(self, *words, cwd=None):
        done = subprocess.run(words, cwd=cwd or self.folder, env=self.environment, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True, timeout=300, check=False)
        shown = "\n".join(line for line in done.stdout.splitlines() if not line.startswith(("ok ", "skipped ")))
        self.assertEqual(done.returncode, 0, f"{' '.join(map(str, words))}:\n{shown[-3000:]}")
        return done.stdout

    def build(self, place):
        """The library of the package in `place`, against the SDK of the sources."""
        cargo = place / "Cargo.toml"
        text = re.sub(r'claudemesh-plugin = \{ path = "[^"]*" \}',
                      f'claudemesh-plugin = {{ path = "{SOURCES}/sdk/rust/claudemesh-plugin" }}', cargo.read_text("utf-8"))
        cargo.write_text(text, encoding="utf-8")
        self.run_words("cargo", "build", "--offline", cwd=place)
        library = self.folder / "target" / "debug" / f"lib{place.name}.so"
        # What others can write, the host does not load; cargo keeps the mask of whoever runs it.
        library.chmod(0o755)
        return library

    def test_the_checker_takes_what_plugin_new_writes(self):
        for kind in KINDS:
            with self.subTest(kind=kind):
                name = f"new_{kind}"
                self.run_words(PROGRAM, "plugin", "new", kind, name, "--lang", "rust")
                library = self.build(self.folder / name)
                told = self.run_words(PROGRAM, "plugin", "inspect", library)
                self.assertIn(name, told)
                self.assertNotIn("problem", told)
                self.run_words(PROGRAM, "plugin", "check", library, "--config", self.folder / name / "check.toml",
                               "--slowness", "20")

    # --- panics -----------------------------------------------------------------------------------------------------

    def start(self, library, place):
        config = self.folder / f"{place}.toml"
        config.write_text(f'[plugins.panics]\nfile = "{library}"\nwhere = "{place}"\n', encoding="utf-8")
        process = subprocess.Popen([PROGRAM, "run", config], stderr=subprocess.PIPE, env=self.environment, cwd=self.folder)
        self.addCleanup(lambda: (process.kill(), process.wait(), process.stderr.close()))
        self.log = ""
        return process

    def wait_for(self, process, pattern):
        deadline = time.monotonic() + DEADLINE_S
        while True:
            found = re.search(pattern, self.log)
            if found:
                return found
            readable, _, _ = select.select([process.stderr], [], [], max(0.0, deadline - time.monotonic()))
            read = os.read(process.stderr.fileno(), 65536) if readable else b""
            self.assertTrue(read, f"expected '{pattern}' in the log, found:\n{self.log}")
            self.log += read.decode()

    @staticmethod
    def ask(address):
        try:
            with urllib.request.urlopen(f"http://{address}/", timeout=DEADLINE_S) as response:
                return response.status
        except urllib.error.HTTPError as error:
            return error.code

    def test_a_panic_stops_at_the_boundary(self):
        place = self.folder / "rust_panics"
        shutil.copytree(SOURCES / "sdk/tests/rust_panics", place)
        shutil.copy(SOURCES / "sdk/template/rust/common/build.rs", place)
        library = self.build(place)
        for where in ("post", "timer", "request", "stop"):
            with self.subTest(where=where):
                process = self.start(library, where)
                address = self.wait_for(process, r"listens on (\S+)").group(1)
                named = rf"plugin-misbehaving \[panics\] a panic ended at the plugin's boundary: on purpose in {where}\n"
                if where in ("post", "timer"):
                    self.wait_for(process, named)
                self.assertEqual(self.ask(address), 500 if where == "request" else 200)
                if where == "request":
                    self.wait_for(process, named)
                process.send_signal(signal.SIGTERM)
                if where == "stop":
                    self.wait_for(process, named)
                self.assertEqual(process.wait(DEADLINE_S), 0)

    def test_a_start_that_panics_fails_and_names_it(self):
        place = self.folder / "rust_panics"
        if not place.exists():
            shutil.copytree(SOURCES / "sdk/tests/rust_panics", place)
            shutil.copy(SOURCES / "sdk/template/rust/common/build.rs", place)
        process = self.start(self.build(place), "start")
        self.wait_for(process, r'instance "panics": start failed \(internal\)')
        self.assertNotEqual(process.wait(DEADLINE_S), 0)


if __name__ == "__main__":
    if len(sys.argv) != 4:
        print(__doc__)
        sys.exit(3)
    if shutil.which("cargo") is None:
        print("skipped: needs cargo")
        sys.exit(SKIPPED)
    PROGRAM, MANIFEST, SOURCES = sys.argv[1], sys.argv[2], Path(sys.argv[3])
    unittest.main(argv=sys.argv[:1], verbosity=2)
