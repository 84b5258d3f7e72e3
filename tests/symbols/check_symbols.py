#!/usr/bin/env python3
"""usage: check_symbols.py PLUGIN.so...
Each plugin must export cm_plugin_entry and nothing else; prints what else it found."""
import subprocess
import sys

# What a compiler adds by itself under the sanitizers.
RUNTIME_PREFIXES = ("__asan_", "__ubsan_", "__tsan_", "__start_asan", "__stop_asan", "__odr_asan", "___asan_")


def exported(path):
    output = subprocess.run(["nm", "-D", "--defined-only", path], check=True, capture_output=True, text=True).stdout
    names = [line.split()[-1] for line in output.splitlines() if line.strip()]
    return [name for name in names if not name.startswith(RUNTIME_PREFIXES)]


failed = 0
for plugin in sys.argv[1:]:
    names = exported(plugin)
    if names != ["cm_plugin_entry"]:
        failed += 1
        print(f"{plugin}: exports {names}, expected exactly ['cm_plugin_entry']")
print(f"{len(sys.argv) - 1 - failed} passed, {failed} failed")
sys.exit(1 if failed or len(sys.argv) == 1 else 0)
