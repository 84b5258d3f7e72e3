#!/usr/bin/env python3
"""Runs seeds of the simulation with a plugin that is broken on purpose, until the checker finds a violation of the expected
kind. Passes when it does; fails when no seed shows it, for then the simulation proves nothing.

usage: expect_violation.py --binary PATH --plugins FOLDER (--broker-plugin NAME | --daemon-plugin NAME) --expect KIND[,KIND]
"""
import argparse
import json
import os
import subprocess
import sys

SEEDS_MAX = 400
SEEDS_AT_ONCE = 20


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binary", required=True)
    parser.add_argument("--plugins", required=True)
    parser.add_argument("--broker-plugin")
    parser.add_argument("--daemon-plugin")
    parser.add_argument("--expect", required=True)
    arguments = parser.parse_args()
    expected = arguments.expect.split(",")
    environment = dict(os.environ, CM_PLUGIN_PATH=arguments.plugins)
    command = [arguments.binary, "sim", "--json", "--runs", str(SEEDS_AT_ONCE)]
    for option in ("broker_plugin", "daemon_plugin"):
        name = getattr(arguments, option)
        if name:
            command += ["--" + option.replace("_", "-"), name]
    for first in range(1, SEEDS_MAX, SEEDS_AT_ONCE):
        done = subprocess.run(command + ["--seed", str(first)], env=environment, capture_output=True, text=True, check=False)
        reports = [json.loads(line) for line in done.stdout.splitlines()]
        if len(reports) != SEEDS_AT_ONCE:
            print(f"the simulation ended early with {done.returncode}: {done.stderr[-2000:]}")
            return 1
        for report in reports:
            for violation in report["violations"]:
                if violation.startswith("set-up"):
                    print(f"the broken plugin does not even start: {violation}")
                    return 1
                if any(violation.startswith(kind) for kind in expected):
                    print(f"caught by seed {report['seed']:.0f}: {violation}")
                    print("1 passed, 0 failed")
                    return 0
    print(f"no violation of the kind {arguments.expect} in {SEEDS_MAX} seeds")
    print("0 passed, 1 failed")
    return 1


if __name__ == "__main__":
    sys.exit(main())
