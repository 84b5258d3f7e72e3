#!/usr/bin/env python3
"""Goal: plugins that were built from the recorded headers of an older revision run in the new host, unchanged.

Method: `claudemesh run` with the recorded probe, which uses every table of the host once, and the recorded hooks that it
asks. The probe logs one line at the end; the host must have seen no misbehaviour and must end cleanly.

usage: run_recorded.py PROGRAM RECORDED-PLUGIN-FOLDER PLUGIN-FOLDER
"""
import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import time

DEADLINE_S = 60

CONFIG = """
[host]
plugin_path = ["{recorded}", "{present}"]
data_dir = "{data}"
[log]
format = "json"
[plugins.store]
use = "storage_sqlite"
path = "{data}/store.db"
[plugins.word_guard]
word = "forbidden"
[plugins.pace]
gap = "50ms"
[plugins.probe]
guard = "word_guard"
pacer = "pace"
store = "store"
"""


def lines_until(process, deadline):
    """Lines of the host's log, until it ends or the deadline passes."""
    rest = b""
    while time.monotonic() < deadline:
        readable, _, _ = select.select([process.stderr], [], [], max(0.0, deadline - time.monotonic()))
        if not readable:
            return
        read = os.read(process.stderr.fileno(), 65536)
        if not read:
            return
        *lines, rest = (rest + read).split(b"\n")
        for line in lines:
            yield line.decode("utf-8", "replace")


def judge(line):
    """What a line says against the run: a failed check, misbehaviour of either side, any error."""
    try:
        record = json.loads(line)
    except ValueError:
        return line if "ERROR" in line else None
    return line if record.get("level") in ("error", "critical", "host-misbehaving", "plugin-misbehaving") else None


def run(program, recorded, present, folder):
    config = os.path.join(folder, "run.toml")
    with open(config, "w", encoding="utf-8") as file:
        file.write(CONFIG.format(recorded=os.path.abspath(recorded), present=os.path.abspath(present), data=folder))
    environment = {"HOME": folder, "XDG_CACHE_HOME": folder, "PATH": os.environ["PATH"]}
    environment.update({name: value for name, value in os.environ.items() if name.endswith("SAN_OPTIONS")})
    process = subprocess.Popen([program, "run", config], stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, env=environment)
    seen, wrong, passed, stopping = [], [], False, False
    deadline = time.monotonic() + DEADLINE_S
    try:
        for line in lines_until(process, deadline):
            seen.append(line)
            if judge(line):
                wrong.append(line)
            if "recorded probe: all" in line:
                passed = True
            if (passed or wrong) and not stopping:
                stopping = True  # a second signal would cut the drain short
                process.send_signal(signal.SIGTERM)
        code = process.wait(timeout=max(1.0, deadline - time.monotonic()))
    finally:
        process.kill()
    if passed and not wrong and code == 0:
        print(f"the plugins of {recorded} ran in this host")
        return 0
    print("\n".join(seen))
    print(f"expected the probe to pass, no error line and exit code 0; found passed={passed}, code={code}, {len(wrong)} errors")
    return 1


if __name__ == "__main__":
    if len(sys.argv) != 4:
        print(__doc__)
        sys.exit(3)
    with tempfile.TemporaryDirectory() as scratch:
        sys.exit(run(*sys.argv[1:], scratch))
