#!/usr/bin/env python3
"""The house rules that no compiler checks: who may include whom, words that do not belong in a room, sizes of files,
leftovers. Prints each finding as file:line: text; exit code 1 when there is one.

usage: scripts/lint.py [--self-test]
"""
import re
import subprocess
import sys
from pathlib import Path

SOURCE_SUFFIXES = {".h", ".hpp", ".c", ".cpp", ".rs"}
FILE_LINES_MAX = 500
LINE_COLUMNS_MAX = 120
# What `plugin new` writes is the author's: its names are filled in later, and rustfmt with their settings has the word.
COLUMNS_EXEMPT = "sdk/template/rust/"

# room -> prefixes of project headers that it may include besides its own folder
ALLOWED = {
    "sdk/include": [],
    "sdk/tools": ["sdk/tools/"],
    "sdk/simhost": ["sdk/", "host/config/", "host/loader/", "host/net/router.hpp", "host/services/process_text.hpp",
                    "host/services/processes.hpp"],
    "sdk/checker": ["sdk/checker/", "sdk/simhost/", "host/config/", "host/loader/", "host/services/host.hpp"],
    "sdk/examples": [],
    "sdk/examples/simhost": ["sdk/simhost/"],
    "protocol": [],
    "host/net": [],
    "host/config": ["host/config/", "sdk/tools/"],
    "host/loader": ["host/config/", "sdk/tools/"],
    "host/isolation": ["host/net/", "host/config/", "host/loader/", "sdk/tools/"],
    "host/services": ["host/", "sdk/tools/"],
    "plugins": ["protocol/"],
    "cli": ["protocol/", "host/net/"],
    "sim": ["sim/", "sdk/simhost/", "protocol/"],
}
# What nobody but host/net may include.
NETWORK_ONLY = re.compile(r'#\s*include\s*[<"](boost/(asio|beast)|openssl/)')
INCLUDE = re.compile(r'#\s*include\s*"([^"]+)"')
# A WebSocket has messages too, and an error has one: the rule is about the mesh's.
HOST_WORDS_STRICT = re.compile(r"\b(presences?|inbox(es)?|outbox|mesh(es)?|client_message_id|session_pubkey)\b", re.IGNORECASE)
LEFTOVERS = re.compile(r"\b(TODO|FIXME|XXX|HACK)\b|not implemented", re.IGNORECASE)


def room_of(path: str) -> str | None:
    for room in sorted(ALLOWED, key=len, reverse=True):
        if path.startswith(room + "/"):
            return room
    return None


def plugin_of(path: str) -> str | None:
    parts = path.split("/")
    return parts[1] if len(parts) > 2 and parts[0] == "plugins" else None


def check_include(path: str, included: str) -> str | None:
    room = room_of(path)
    if room is None or "/" not in included:
        return None
    target_plugin = plugin_of(included)
    if target_plugin is not None:
        if plugin_of(path) == target_plugin:
            return None
        return f"includes {included}: two plugins meet only through a header in sdk/include"
    own = room + "/"
    if included.startswith(own) or any(included.startswith(prefix) for prefix in ALLOWED[room]):
        return None
    top = included.split("/")[0]
    if top not in {"host", "sdk", "protocol", "plugins", "cli", "sim", "app"}:
        return None
    return f"includes {included}: {room} may know only {', '.join(ALLOWED[room]) or 'the SDK headers'}"


def check_file(path: str, text: str) -> list[tuple[int, str]]:
    findings = []
    lines = text.split("\n")
    is_test = "/tests/" in path or path.startswith("tests/")
    if len(lines) - 1 > FILE_LINES_MAX:
        findings.append((len(lines), f"has {len(lines) - 1} lines, the limit is {FILE_LINES_MAX}"))
    for number, line in enumerate(lines, 1):
        if len(line) > LINE_COLUMNS_MAX and "http" not in line and not path.startswith(COLUMNS_EXEMPT):
            findings.append((number, f"is {len(line)} columns wide, the limit is {LINE_COLUMNS_MAX}"))
        if LEFTOVERS.search(line.replace('"Not Implemented"', "")):  # the reason phrase of status 501 (RFC 9110)
            findings.append((number, "holds a leftover marker"))
        if NETWORK_ONLY.search(line) and not path.startswith("host/net/"):
            findings.append((number, "includes Asio, Beast or OpenSSL outside host/net"))
        match = INCLUDE.search(line)
        problem = check_include(path, match.group(1)) if match and not is_test else None
        if problem:
            findings.append((number, problem))
        # The copying of an extension's fields from process to process names them; it gives them no meaning.
        if path.startswith("host/") and not path.startswith("host/isolation/extensions/") and not is_test:
            word = HOST_WORDS_STRICT.search(re.sub(r"claudemesh", "", line, flags=re.IGNORECASE))
            if word:
                findings.append((number, f"the host knows nothing of '{word.group(0)}'"))
    return findings


def is_source(name: str) -> bool:
    return Path(name).suffix in SOURCE_SUFFIXES


def tracked_sources(root: Path) -> list[str]:
    listing = subprocess.run(["git", "ls-files", "-z"], cwd=root, check=True, capture_output=True, text=True).stdout
    return [name for name in listing.split("\0") if is_source(name)]


def run(root: Path) -> int:
    count = 0
    names = tracked_sources(root)
    for name in names:
        for line, text in check_file(name, (root / name).read_text(encoding="utf-8")):
            print(f"{name}:{line}: {text}")
            count += 1
    print(f"{len(names)} files, {count} findings")
    return 1 if count else 0


def self_test() -> int:
    """Each rule must be able to fail."""
    cases = [
        ("plugins/a/src/x.cpp", '#include "plugins/b/src/y.hpp"\n', True),
        ("plugins/a/src/x.cpp", '#include "plugins/a/src/y.hpp"\n', False),
        ("plugins/a/src/x.cpp", '#include "host/net/loop.hpp"\n', True),
        ("plugins/a/src/x.cpp", "#include <boost/asio.hpp>\n", True),
        ("protocol/x.cpp", '#include "host/net/loop.hpp"\n', True),
        ("host/services/x.cpp", "// keeps the inbox\n", True),
        ("host/services/x.cpp", "// claudemesh\n", False),
        ("cli/x.cpp", '#include "plugins/a/src/y.hpp"\n', True),
        ("cli/x.cpp", "\n" * 501, True),
        ("sdk/rust/x.rs", "\n" * 501, True),
        ("sdk/rust/x.rs", "// " + "x" * 120 + "\n", True),
        ("sdk/template/rust/x.rs", "// " + "x" * 120 + "\n", False),
        ("cli/x.cpp", "// TO" + "DO\n", True),
    ]
    if not is_source("sdk/rust/x.rs") or not is_source("cli/x.cpp") or is_source("docs/x.md"):
        print("self-test: the wrong files are looked at")
        return 1
    failed = [(path, text) for path, text, expected in cases if bool(check_file(path, text)) != expected]
    for path, text in failed:
        print(f"self-test: {path}: {text!r} was judged wrongly")
    print(f"{len(cases) - len(failed)} passed, {len(failed)} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    if sys.argv[1:] == ["--self-test"]:
        sys.exit(self_test())
    if sys.argv[1:]:
        print(__doc__)
        sys.exit(3)
    sys.exit(run(Path(__file__).resolve().parent.parent))
