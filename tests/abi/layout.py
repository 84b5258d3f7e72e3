#!/usr/bin/env python3
"""The layout of everything public, as the compiler sees it: written down for a revision, and compared with that later.

usage: layout.py record INCLUDE FOLDER    copies the headers below INCLUDE to FOLDER/include; their layout: FOLDER/abi.xml
       layout.py compare FOLDER INCLUDE   fails unless the headers below INCLUDE only add to what was recorded in FOLDER
       layout.py self-test INCLUDE        changes copies of the headers: each bad change must be found, each good one not

Needs gcc and abigail-tools (abidw, abidiff); exit code 77 when the tools are not there.
"""
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

STRUCT = re.compile(r"typedef struct (cm_\w+) \{\n\s*([^;]+);")
BODY = re.compile(r"typedef struct (cm_\w+) \{\n(.*?)\n\} \1;", re.S)
CALLBACK = re.compile(r"typedef\s+[\w\s*]+?\(\*(cm_\w+)\)\s*\(", re.S)
COMMENT = re.compile(r"/\*.*?\*/", re.S)
SKIPPED = 77


def headers_of(include):
    base = include / "claudemesh"
    return sorted(base.glob("*.h")) + sorted(base.glob("ext/*.h"))


def scan(include):
    """Names of all structs, of those that begin with their size, and of all callback types."""
    structs, sized, callbacks = [], set(), []
    for header in headers_of(include):
        text = COMMENT.sub("", header.read_text(encoding="utf-8"))
        for name, first in STRUCT.findall(text):
            structs.append(name)
            if first.split() == ["uint32_t", "size"] or name == "cm_plugin_entry_v1":
                sized.add(name)
        callbacks += CALLBACK.findall(text)
    return structs, sized, callbacks


def build(include, folder):
    """A library with one function for each public type, so that its debug information holds them all."""
    structs, _, callbacks = scan(include)
    lines = [f"#include <{header.relative_to(include)}>" for header in headers_of(include)]
    lines += [f"CM_EXPORT void use_{name}(const {name}* value);\nvoid use_{name}(const {name}* value) {{ (void)value; }}"
              for name in structs]
    lines += [f"CM_EXPORT void use_{name}({name} value);\nvoid use_{name}({name} value) {{ (void)value; }}" for name in callbacks]
    source, library = folder / "types.c", folder / "libtypes.so"
    source.write_text("\n".join(lines) + "\n", encoding="utf-8")
    subprocess.run(["gcc", "-std=c11", "-g", "-O0", "-fPIC", "-shared", "-Wl,-soname,libtypes.so", "-I", str(include),
                    "-o", str(library), str(source)], check=True)
    return library


def record(include, folder):
    shutil.rmtree(folder / "include", ignore_errors=True)
    shutil.copytree(include, folder / "include")
    with tempfile.TemporaryDirectory() as name:
        library = build(include, Path(name))
        subprocess.run(["abidw", "--no-corpus-path", "--no-comp-dir-path", "--no-show-locs",
                        "--out-file", str(folder / "abi.xml"), str(library)], check=True)
    return 0


def members(body):
    """The statements of a struct's body, as (begin, end) within it."""
    code = COMMENT.sub(lambda match: re.sub(r"[^\n]", " ", match.group(0)), body)
    return [(m.start(), m.end()) for m in re.finditer(r"[^;]+;", code)]


def without_growth(recorded, include, folder):
    """A copy of the headers whose structs with a `size` are cut to as many members as they had: growing at the end is
    allowed there, and nothing else is."""
    copy = copy_without_assertions(include, folder / "cut")
    _, sized, _ = scan(include)
    before = {}
    for header in headers_of(recorded):
        for name, body in BODY.findall(header.read_text(encoding="utf-8")):
            before[name] = len(members(body))
    for header in headers_of(copy):
        def cut(match):
            name, body = match.groups()
            kept = members(body)[:before.get(name, 0) if name in sized else None]
            return match.group(0) if name not in before else f"typedef struct {name} {{\n{body[:kept[-1][1]]}\n}} {name};"
        header.write_text(BODY.sub(cut, header.read_text(encoding="utf-8")), encoding="utf-8")
    return copy


def compare(recorded, include, quiet=False):
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        library = build(without_growth(recorded / "include", include, folder), folder)
        # Added functions of this library are added types.
        result = subprocess.run(["abidiff", "--no-added-syms", str(recorded / "abi.xml"), str(library)],
                                capture_output=True, text=True)
    if result.returncode != 0 and not quiet:
        print(result.stdout + result.stderr)
        print(f"the layout is not that of {recorded}: a table may only grow at its end, anything else needs a new table id")
    return 1 if result.returncode != 0 else 0


def copy_without_assertions(include, copy):
    """The headers without the assertions that would notice a change before us."""
    shutil.copytree(include, copy)
    for header in headers_of(copy):
        text = header.read_text(encoding="utf-8")
        text = re.sub(r"^CM_STATIC_ASSERT\((sizeof\(cm_|offsetof).*\n(?: .*\n)?", "", text, flags=re.M)
        header.write_text(text, encoding="utf-8")
    return copy


def changed(include, copy, file, old, new):
    """A copy of the headers with one change."""
    copy_without_assertions(include, copy)
    path = copy / "claudemesh" / file
    text = path.read_text(encoding="utf-8")
    if old not in text:
        raise SystemExit(f"self-test: {file} has no '{old}'")
    path.write_text(text.replace(old, new, 1), encoding="utf-8")
    return copy


def self_test(include):
    cases = [  # what, file, old, new, must be found
        ("nothing", "abi.h", "CM_OK", "CM_OK", False),
        ("a function at the end of a table", "ext/host.h", "} cm_clock_v1;",
         "  uint64_t (*boot_us)(cm_handle self) CM_NOEXCEPT;\n} cm_clock_v1;", False),
        ("a new struct", "ext/host.h", "#define CM_BUFFER_ID", "typedef struct cm_new {\n  uint32_t size;\n} cm_new;\n#define CM_BUFFER_ID", False),
        ("a function in the middle of a table", "ext/host.h", "  bool (*enabled)(",
         "  void (*flush)(cm_handle self) CM_NOEXCEPT;\n  bool (*enabled)(", True),
        ("a member at the end of a struct without a size", "abi.h", "} cm_hbuf;", "  uint64_t capacity;\n} cm_hbuf;", True),
        ("a narrower number", "ext/hook.h", "uint32_t timeout_ms;", "uint16_t timeout_ms;", True),
        ("another type of the same width", "ext/hook.h", "  int32_t order;", "  uint32_t order;", True),
        ("another argument", "ext/websocket.h", "cm_handle socket, uint32_t code, cm_text_hview reason, bool clean)",
         "cm_handle socket, uint32_t code, cm_text_hview reason)", True),
        ("a function that is gone", "ext/host.h", "  bool (*on_loop)(cm_handle self) CM_NOEXCEPT;", "", True),
        ("two functions that changed places", "plugin.h", "(*stop)(cm_instance* self)", "(*destroy_)(cm_instance* self, int x)", True),
    ]
    failed = 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        record(include, folder)
        for number, (what, file, old, new, must_be_found) in enumerate(cases):
            found = compare(folder, changed(include, folder / str(number), file, old, new), quiet=True) != 0
            if found != must_be_found:
                failed += 1
                print(f"self-test: {what}: {'was' if found else 'was not'} reported as a change")
    print(f"{len(cases) - failed} passed, {failed} failed")
    return 1 if failed else 0


def main(arguments):
    if not all(shutil.which(tool) for tool in ("gcc", "abidw", "abidiff")):
        print("found no abidw, abidiff or gcc; scripts/install-dependencies --test installs abigail-tools")
        return SKIPPED
    match arguments:
        case ["record", include, folder]:
            return record(Path(include), Path(folder))
        case ["compare", folder, include]:
            return compare(Path(folder), Path(include))
        case ["self-test", include]:
            return self_test(Path(include))
    print(__doc__)
    return 3


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
