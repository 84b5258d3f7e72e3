#!/usr/bin/env python3
"""Each plugin must export cm_plugin_entry and nothing else; prints what else it found.

usage: check_symbols.py PLUGIN.so...
       check_symbols.py --self-test     libraries with a second symbol, and with none, must be found
"""
import subprocess
import sys
import tempfile

# What a compiler adds by itself under the sanitizers.
RUNTIME_PREFIXES = ("__asan_", "__ubsan_", "__tsan_", "__start_asan", "__stop_asan", "__odr_asan", "___asan_")


def exported(path):
    output = subprocess.run(["nm", "-D", "--defined-only", path], check=True, capture_output=True, text=True).stdout
    names = [line.split()[-1] for line in output.splitlines() if line.strip()]
    return [name for name in names if not name.startswith(RUNTIME_PREFIXES)]


def check(plugins):
    failed = 0
    for plugin in plugins:
        names = exported(plugin)
        if names != ["cm_plugin_entry"]:
            failed += 1
            print(f"{plugin}: exports {names}, expected exactly ['cm_plugin_entry']")
    print(f"{len(plugins) - failed} passed, {failed} failed")
    return 1 if failed or not plugins else 0


def self_test():
    sources = {"one": "int cm_plugin_entry;", "two": "int cm_plugin_entry; int helper;", "none": "static int x; int* f(void);"}
    wrong = []
    with tempfile.TemporaryDirectory() as folder:
        for name, text in sources.items():
            library = f"{folder}/{name}.so"
            subprocess.run(["gcc", "-x", "c", "-shared", "-fPIC", "-o", library, "-"], input=text, text=True, check=True)
            if (check([library]) == 0) != (name == "one"):
                wrong.append(name)
    print(f"self-test: {', '.join(wrong) if wrong else 'every library'} was judged {'wrongly' if wrong else 'rightly'}")
    return 1 if wrong else 0


sys.exit(self_test() if sys.argv[1:] == ["--self-test"] else check(sys.argv[1:]))
