#!/usr/bin/env python3
"""Each public C header compiles alone, freestanding, as C11 and as C++20, with every warning an error; and a plugin that says
for which revision it is written (CM_TARGET_ABI) cannot call what came later.

usage: compile_alone.py INCLUDE         the folder that holds claudemesh/
       compile_alone.py self-test INCLUDE
"""
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

LANGUAGES = {
    "C11": [os.environ.get("CC", "gcc"), "-x", "c", "-std=c11", "-ffreestanding"],
    "C++20": [os.environ.get("CXX", "g++"), "-x", "c++", "-std=c++20", "-ffreestanding"],
}
WARNINGS = ["-Wall", "-Wextra", "-Wpedantic", "-Wshadow", "-Wconversion", "-Werror"]


def compiles(include, language, text, *flags):
    command = [*LANGUAGES[language], *WARNINGS, "-fsyntax-only", "-I", str(include), *flags, "-"]
    return subprocess.run(command, input=text, capture_output=True, text=True)


def check(include, quiet=False):
    headers = sorted((include / "claudemesh").glob("*.h")) + sorted((include / "claudemesh").glob("ext/*.h"))
    failed = 0
    for header in headers:
        for language in LANGUAGES:
            # Twice, because an include guard that is missing shows only then.
            line = f"#include <{header.relative_to(include)}>\n"
            result = compiles(include, language, line + line)
            if result.returncode != 0:
                failed += 1
                if not quiet:
                    print(f"{header} does not compile alone as {language} [01]:\n{result.stderr}")
    if not quiet:
        print(f"{len(headers)} headers as {' and '.join(LANGUAGES)}, {failed} findings")
    return 1 if failed or not headers else 0


def copy_with(include, folder, file, old, new):
    copy = folder / f"include-{len(list(folder.iterdir()))}"
    shutil.copytree(include, copy)
    path = copy / "claudemesh" / file
    text = path.read_text(encoding="utf-8")
    if old not in text:
        raise SystemExit(f"self-test: {file} has no '{old}'")
    path.write_text(text.replace(old, new, 1), encoding="utf-8")
    return copy


def self_test(include):
    results = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        breaks = [
            ("a type that only C++ has", "ext/peer.h", "  cm_text_pview to;", "  std::string to;"),
            ("a header that needs another one", "ext/peer.h", "#include <claudemesh/abi.h>", ""),
            ("a library that is not freestanding", "abi.h", "#include <stdint.h>", "#include <stdint.h>\n#include <no_such.h>"),
            ("no include guard", "ext/peer.h", "#ifndef CLAUDEMESH_EXT_PEER_H", "#if 1"),
            ("a layout that differs", "ext/peer.h", "sizeof(cm_peer_v1) == 32", "sizeof(cm_peer_v1) == 40"),
        ]
        results += [(what, check(copy_with(include, folder, *change), quiet=True) != 0) for what, *change in breaks]
        results.append(("the headers as they are", check(include, quiet=True) == 0))
        # A function of a later revision, guarded as the headers do it: visible to those who ask for it only.
        copy = copy_with(include, folder, "ext/host.h", "} cm_clock_v1;",
                         "#if CM_TARGET_ABI >= UINT32_C(0x00010001)\n  uint64_t (*boot_us)(cm_handle self) CM_NOEXCEPT;\n#endif\n} cm_clock_v1;")
        path = copy / "claudemesh" / "ext" / "host.h"
        path.write_text(path.read_text().replace('CM_STATIC_ASSERT(sizeof(cm_clock_v1) == 24, "layout of cm_clock_v1");', ""))
        call = "#include <claudemesh/ext/host.h>\nuint64_t f(const cm_clock_v1* c);\nuint64_t f(const cm_clock_v1* c) { return c->boot_us(1); }\n"
        for language in LANGUAGES:
            results.append((f"a call of what is too new, {language}", compiles(copy, language, call).returncode != 0))
            newer = compiles(copy, language, call, "-DCM_TARGET_ABI=UINT32_C(0x00010001)")
            results.append((f"a call of what is asked for, {language}", newer.returncode == 0))
    failed = [what for what, right in results if not right]
    for what in failed:
        print(f"self-test: {what}: was judged wrongly")
    print(f"{len(results) - len(failed)} passed, {len(failed)} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    if len(sys.argv) == 3 and sys.argv[1] == "self-test":
        sys.exit(self_test(Path(sys.argv[2])))
    if len(sys.argv) != 2:
        print(__doc__)
        sys.exit(3)
    sys.exit(check(Path(sys.argv[1])))
