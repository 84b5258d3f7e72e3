#!/usr/bin/env python3
"""Runs the interop suite: `python3 tests/interop/run.py --binary build/claudemesh [-k pattern]`.

Without --binary only the tests that need no broker run. Exit code: 0 all passed, 1 something failed, 2 bad usage.
Needs Python 3.11 with `websockets` 10 and `nacl` (Debian: python3-websockets, python3-nacl).
"""

import argparse
import importlib.util
import os
import sys
import time
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
SYSTEM_PYTHON = "/usr/bin/python3"
PURE = ("test_meshclient",)
WIRE = ("test_harness", "test_join", "test_hello", "test_frames", "test_send", "test_presence", "test_idempotency",
        "test_delivery", "test_client_1_37", "test_client_flows", "test_legacy_broker", "test_attack")


def ensure_packages():
    """The packages belong to the system's Python; another python3 that comes first in PATH hands over to it."""
    missing = [name for name in ("websockets", "nacl") if importlib.util.find_spec(name) is None]
    if not missing:
        return
    if os.path.realpath(sys.executable) != os.path.realpath(SYSTEM_PYTHON) and os.path.exists(SYSTEM_PYTHON):
        os.execv(SYSTEM_PYTHON, [SYSTEM_PYTHON, *sys.argv])
    sys.exit(f"missing Python packages: {', '.join(missing)}; install python3-websockets and python3-nacl")


class Result(unittest.TextTestResult):
    """Counts tests, not subtests, and shows the end of the broker's log when a broker died."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.failed = set()
        self.slow = []
        self._started_at = 0.0

    def startTest(self, test):
        self._started_at = time.monotonic()
        super().startTest(test)

    def stopTest(self, test):
        self.slow.append((time.monotonic() - self._started_at, str(test)))
        super().stopTest(test)

    def addFailure(self, test, err):
        super().addFailure(test, err)
        self._note(test)

    def addError(self, test, err):
        super().addError(test, err)
        self._note(test)

    def addSubTest(self, test, subtest, err):
        super().addSubTest(test, subtest, err)
        if err is not None:
            self._note(test)

    def _note(self, test):
        self.failed.add(test.id())
        broker = getattr(test, "broker", None)
        if broker is not None and not broker.alive():
            self.stream.writeln(f"\nbroker died with code {broker.process.returncode}:\n{broker.log_tail()}")


def main():
    parser = argparse.ArgumentParser(description="interop tests of the wire protocol")
    parser.add_argument("--binary", help="the claudemesh executable; without it only the pure tests run")
    parser.add_argument("-k", dest="patterns", action="append",
                        help="run only tests whose full name contains this; * is a wildcard, repeatable")
    parser.add_argument("-v", "--verbose", action="store_true", help="one line per test")
    parser.add_argument("-x", "--failfast", action="store_true", help="stop at the first failure")
    parser.add_argument("--keep", action="store_true", help="keep the brokers' directories with database and log")
    parser.add_argument("--slowest", type=int, default=0, metavar="N", help="print the N slowest tests")
    options = parser.parse_args()
    ensure_packages()
    names = list(PURE)
    if options.binary:
        binary = os.path.abspath(options.binary)
        if not os.access(binary, os.X_OK):
            print(f"--binary {options.binary}: not an executable file", file=sys.stderr)
            return 2
        os.environ["CLAUDEMESH_BINARY"] = binary
        names += WIRE
    if options.keep:
        os.environ["CLAUDEMESH_INTEROP_KEEP"] = "1"
    sys.path.insert(0, HERE)
    sys.dont_write_bytecode = True
    loader = unittest.TestLoader()
    if options.patterns:
        loader.testNamePatterns = [f"*{pattern}*" for pattern in options.patterns]
    suite = loader.loadTestsFromNames(names)
    runner = unittest.TextTestRunner(resultclass=Result, verbosity=2 if options.verbose else 1,
                                     failfast=options.failfast)
    result = runner.run(suite)
    for seconds, name in sorted(result.slow, reverse=True)[:options.slowest]:
        print(f"{seconds:6.2f} s  {name}")
    if result.testsRun == 0 and not result.errors:
        print("no test fits the pattern", file=sys.stderr)
        return 2
    # A module that cannot be imported is an error without a test that ran.
    failed = max(len(result.failed), 0 if result.wasSuccessful() else 1)
    print(f"{result.testsRun - len(result.skipped) - failed} passed, {failed} failed"
          + (f", {len(result.skipped)} skipped" if result.skipped else ""))
    return 0 if result.wasSuccessful() else 1


if __name__ == "__main__":
    sys.exit(main())
