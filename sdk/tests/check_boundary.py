#!/usr/bin/env python3
"""No function of the C++ layer that the host or another plugin calls may let an exception of the author through: each
goes through HostApi::guarded or a function that does. Prints each finding as file:line: text. [12]

usage: check_boundary.py FOLDER       the folder claudemesh/cpp
       check_boundary.py --self-test  the check must be able to fail
"""
import re
import sys
from pathlib import Path

# A function or lambda that a C table or callback can point to: the arguments of C, and noexcept with a body.
FUNCTION = re.compile(r"(\w+|\[[^\]]*\])\s*\((?:void\* (?:user|instance)\b|cm_instance\* \w+|const cm_host\* host, cm_instance\*\*)"
                      r"[^()]*\)\s*noexcept\s*\{")
GUARDS = re.compile(r"\bguarded(_answer|_step)?\(|\brun_sql_work\(|\bcarried\.run\(|\btry \{")
# What calls nothing that an author wrote, and why the rest may stay as it is.
HARMLESS = {
    "table_network": "reads a text",
    "table_status": "copies numbers",
    "table_mappings": "calls a row of the C interface, which is noexcept",
    "table_unobserve": "erases an entry",
    "run_posted": "runs what post_to wrapped in guarded",
    "drop_posted": "destroys a function; destructors do not throw",
    "instance_destroy": "destroys an object; destructors do not throw",
    "owner_of": "casts",
    "host_of": "casts",
    "of": "casts",
    "as_instance": "casts",
}
HARMLESS_BODY = re.compile(r"\A\s*\*static_cast<bool\*>\(user\) = true;\s*\Z")


def body_of(text, start):
    """What is between the brace that ends at `start` and its partner."""
    depth = 1
    for at in range(start, len(text)):
        depth += {"{": 1, "}": -1}.get(text[at], 0)
        if depth == 0:
            return text[start:at]
    return text[start:]


def check(text):
    """The number of functions that were looked at, and the findings."""
    code = re.sub(r"//[^\n]*", lambda match: " " * len(match.group(0)), text)
    seen, findings = 0, []
    for match in FUNCTION.finditer(code):
        seen += 1
        name, body = match.group(1), body_of(code, match.end())
        if GUARDS.search(body) or name in HARMLESS or HARMLESS_BODY.match(body):
            continue
        findings.append((code.count("\n", 0, match.start()) + 1,
                         f"{name} is called from outside and is not guarded: wrap what the author wrote in "
                         "HostApi::guarded, or say in check_boundary.py why it cannot throw"))
    return seen, findings


def check_folder(folder):
    seen, failed = 0, 0
    for file in sorted(folder.glob("*.hpp")):
        count, findings = check(file.read_text(encoding="utf-8"))
        seen += count
        failed += len(findings)
        for line, text in findings:
            print(f"{file}:{line}: {text}")
    print(f"{seen} functions that are called from outside, {failed} findings")
    # Fewer than this means that the pattern no longer finds them.
    return 1 if failed or seen < 30 else 0


def self_test():
    good = ("static void fired(void* user) noexcept {\n  host->guarded(\"timer\", [&] { call(); });\n}\n"
            "way.offer = [](void* user, cm_handle) noexcept {\n  self->host_->guarded(\"offer\", [&] { call(); });\n};\n"
            "[](void* user) noexcept { *static_cast<bool*>(user) = true; }\n")
    cases = [(good, []),
             (good.replace('host->guarded("timer", [&] { call(); })', "call()", 1), [1]),
             (good.replace('self->host_->guarded("offer", [&] { call(); })', "self->on_offer()", 1), [4]),
             (good.replace("= true", "= call()"), [7]),
             (good.replace('host->guarded("timer", [&] { call(); })', "call();  // guarded(", 1), [1])]
    failed = [lines for text, lines in cases if [line for line, _ in check(text)[1]] != lines]
    print(f"{len(cases) - len(failed)} passed, {len(failed)} failed {failed}")
    return 1 if failed else 0


if __name__ == "__main__":
    if sys.argv[1:] == ["--self-test"]:
        sys.exit(self_test())
    if len(sys.argv) != 2:
        print(__doc__)
        sys.exit(3)
    sys.exit(check_folder(Path(sys.argv[1])))
