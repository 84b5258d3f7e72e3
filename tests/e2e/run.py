#!/usr/bin/env python3
"""Plays users of claudemesh with real processes: a broker, daemons, and the command line. Needs only Python's standard
library. Everything lives in temporary folders; nothing stays behind.

usage: tests/e2e/run.py --binary build/release/app/claudemesh [NAME ...]

NAME is a module, class or test as `python3 -m unittest` takes it, for example test_conversation.Failures.
"""
import argparse
import os
import sys
import time
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import e2e_case  # pylint: disable=wrong-import-position

MODULES = ("test_conversation", "test_mistakes")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binary", required=True, help="the claudemesh program; its plugins lie beside it")
    parser.add_argument("--verbose", action="store_true", help="name each test")
    parser.add_argument("names", nargs="*", default=MODULES, metavar="NAME")
    arguments = parser.parse_args()
    if not os.access(arguments.binary, os.X_OK):
        parser.error(f"found no program {arguments.binary}; expected a built claudemesh; build it first")
    e2e_case.BINARY = arguments.binary
    started = time.monotonic()
    suite = unittest.defaultTestLoader.loadTestsFromNames(arguments.names)
    result = unittest.TextTestRunner(verbosity=2 if arguments.verbose else 1).run(suite)
    print(f"end to end: {result.testsRun} tests in {time.monotonic() - started:.1f} s")
    return 0 if result.wasSuccessful() and result.testsRun else 1


if __name__ == "__main__":
    sys.exit(main())
