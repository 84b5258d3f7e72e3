#!/usr/bin/env python3
"""The structs that the Rust SDK mirrors against the C headers: a C program and a Rust program print size, and offset and
size of every member, and the constants; both must print the same. Members are compared by position and by name.

usage: rust_layout.py HEADERS RUST_SOURCES   sdk/include, and the folder with ffi.rs
       rust_layout.py --self-test HEADERS RUST_SOURCES   each kind of drift must be found

Ends with 77 when there is no C compiler or no rustc.
"""
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

SKIPPED = 77
COMMENT = re.compile(r"/\*.*?\*/|//[^\n]*", re.S)
C_STRUCT = re.compile(r"typedef struct (cm_\w+) \{(.*?)\n\} \1;", re.S)
C_FUNCTION = re.compile(r"\(\*(\w+)\)\s*\((.*)\)", re.S)
RUST_STRUCT = re.compile(r"#\[repr\(C\)\]\s*(?:#\[derive\([^)]*\)\]\s*)?pub struct (\w+) \{(.*?)\n\}", re.S)
RUST_MEMBER = re.compile(r"pub (\w+): ([^\n]*?),?(?=\n|$)")
RUST_CONSTANT = re.compile(r"pub const (CM_\w+): (?:cm_status|u32|u64) =")
# The views have four names in C and one in Rust.
VIEWS = ("cm_text_hview", "cm_text_pview", "cm_bytes_hview", "cm_bytes_pview")
# Words of Rust, and what is one array in Rust and single members in C.
NAMES = {"self": "this", "type": "kind"}
# A pointer and a size in C, one View in Rust.
SPLIT = {("cm_value", "data"): [".data", ".size"]}


def parameters_of(text):
    """How many parameters are in `text`, a list without its outer parentheses."""
    depth, count = 0, 1
    for sign in text:
        depth += {"(": 1, "<": 1, "[": 1, ")": -1, ">": -1, "]": -1}.get(sign, 0)
        count += sign == "," and depth == 0
    return 0 if text.strip() in ("", "void") else count


def c_structs(headers):
    """Name -> [(member, parameters or None)]."""
    found, includes = {}, []
    for file in sorted((headers / "claudemesh").glob("*.h")) + sorted((headers / "claudemesh/ext").glob("*.h")):
        includes.append(file.relative_to(headers).as_posix())
        for name, body in C_STRUCT.findall(COMMENT.sub("", file.read_text(encoding="utf-8"))):
            members = []
            for statement in body.split(";"):
                function = C_FUNCTION.search(statement)
                if function:
                    members.append((function.group(1), parameters_of(function.group(2))))
                elif statement.strip() and not statement.strip().startswith("#"):
                    members.append((re.search(r"(\w+)\s*(?:\[\w+\])?\s*$", statement).group(1), None))
            found[name] = members
    return found, includes


def joined(text):
    """Declarations that rustfmt broke into lines, in one line each."""
    out, depth = [], 0
    for sign in COMMENT.sub("", text):
        depth += {"(": 1, ")": -1}.get(sign, 0)
        out.append(" " if sign == "\n" and depth > 0 else sign)
    return re.sub(r":\s*\n\s*", ": ", "".join(out))


def rust_structs(sources):
    """Name -> [(member, places of an array or of a split view, parameters or None)], and the names of the constants."""
    text = "\n".join(file.read_text(encoding="utf-8") for file in [sources / "ffi.rs", *sorted(sources.glob("ffi/*.rs"))])
    found = {}
    for name, body in RUST_STRUCT.findall(COMMENT.sub("", text)):
        members = []
        for member, kind in RUST_MEMBER.findall(joined(body) + "\n"):
            array = re.fullmatch(r"\[\w+; (\d+)\]", kind.strip())
            function = re.search(r"fn\s*\((.*?)\)(?:\s*->|>|\s*$)", kind)
            places = [f"[{index}]" for index in range(int(array.group(1)))] if array else SPLIT.get((name, member), [])
            members.append((member, places,
                            parameters_of(function.group(1).rstrip(", ")) if function else None))
        found[name] = members
    return found, RUST_CONSTANT.findall(text)


def c_program(structs, includes, wanted, constants):
    lines = [f"#include <{name}>" for name in includes] + ["#include <stdio.h>", "int main(void) {"]
    for name in wanted:
        for c_name in VIEWS if name == "View" else (name,):
            members = [("data", None), ("size", None)] if name == "View" else structs.get(c_name, [])
            lines.append(f'  printf("{name} %zu\\n", sizeof({c_name}));')
            for index, (member, _) in enumerate(members):
                lines.append(f'  printf("{name}.{index} at %zu of %zu\\n", offsetof({c_name}, {member}), '
                             f"sizeof((({c_name}*)0)->{member}));")
    lines += [f'  printf("{name} = %llu\\n", (unsigned long long){name});' for name in constants]
    return "\n".join(lines + ["  return 0;", "}", ""])


def rust_program(structs, constants):
    lines = ["#![allow(dead_code, unused_imports)]", "mod ffi;", "use ffi::*;",
             "use std::mem::{size_of, size_of_val, MaybeUninit};", "fn main() {"]
    for name, members in structs.items():
        lines.append("    unsafe {")
        lines.append(f"        let value = MaybeUninit::<{name}>::zeroed();")
        lines.append("        let base = value.as_ptr();")
        body, index = [], 0
        for member, places, _ in members:
            for part in places or [""]:
                place = f"(*base).{member}{part}"
                body.append(f'        println!("{name}.{index} at {{}} of {{}}", '
                            f"std::ptr::addr_of!({place}) as usize - base as usize, size_behind(std::ptr::addr_of!({place})));")
                index += 1
        for _ in VIEWS if name == "View" else (name,):
            lines.append(f'        println!("{name} {{}}", size_of::<{name}>());')
            lines += body
        lines.append("    }")
    lines += [f'    println!("{name} = {{}}", {name});' for name in constants]
    return "\n".join(lines + ["}", "fn size_behind<T>(_: *const T) -> usize {", "    size_of::<T>()", "}", ""])


def names_differ(c_side, rust_side):
    """Findings of the members' names and the numbers of parameters."""
    findings = []
    for name, members in rust_side.items():
        if name == "View":
            continue
        if name not in c_side:
            findings.append(f"{name} is in Rust and not in the C headers")
            continue
        expanded = [(member, parameters) for member, places, parameters in members for _ in places or [""]]
        arrays = [bool(places) for _, places, _ in members for _ in places or [""]]
        for index, (member, parameters) in enumerate(c_side[name]):
            if index >= len(expanded):
                findings.append(f"{name}.{member} is missing in Rust")
            elif not arrays[index] and expanded[index][0] != NAMES.get(member, member):
                findings.append(f"{name}.{member} is called {expanded[index][0]} in Rust")
            # What Rust does not use is a function without parameters.
            elif parameters is not None and expanded[index][1] not in (parameters, 0):
                findings.append(f"{name}.{member} has {parameters} parameters, in Rust {expanded[index][1]}")
        if len(expanded) > len(c_side[name]):
            findings.append(f"{name} has {len(expanded) - len(c_side[name])} more members in Rust")
    return findings


def output_of(words, folder):
    done = subprocess.run(words, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(map(str, words))} ended with {done.returncode}:\n{done.stderr[:1500]}")
    return done.stdout.splitlines()


def compare(headers, sources):
    c_side, includes = c_structs(headers)
    rust_side, constants = rust_structs(sources)
    findings = names_differ(c_side, rust_side)
    if findings:
        return findings, len(rust_side)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        shutil.copy(sources / "ffi.rs", folder / "ffi.rs")
        shutil.copytree(sources / "ffi", folder / "ffi")
        (folder / "c.c").write_text(c_program(c_side, includes, rust_side, constants), encoding="utf-8")
        (folder / "rust.rs").write_text(rust_program(rust_side, constants), encoding="utf-8")
        output_of([os.environ.get("CC", "cc"), "-std=c11", "-I", str(headers.resolve()), "c.c", "-o", "c"], folder)
        try:
            output_of(["rustc", "--edition", "2021", "-A", "warnings", "rust.rs", "-o", "rust"], folder)
        except RuntimeError as error:  # the sizes are asserted at every build
            return [str(error)], len(rust_side)
        c_lines, rust_lines = output_of(["./c"], folder), output_of(["./rust"], folder)
    differences = [f"C has '{ours}', Rust '{theirs}'" for ours, theirs in zip(c_lines, rust_lines) if ours != theirs]
    if len(c_lines) != len(rust_lines):
        differences.append(f"C printed {len(c_lines)} lines, Rust {len(rust_lines)}")
    return differences, len(rust_side)


def self_test(headers, sources):
    """Each row changes one source in one way; the words must be in a finding."""
    cases = [("", "", ""),
             ("pub priority: u32,\n    pub mesh", "pub priority: u16,\n    pub mesh", "cm_peer_message"),
             ("pub order: i32,\n    pub timeout_ms: u32", "pub timeout_ms: u32,\n    pub order: i32", "cm_hook_v1.order is called"),
             ("pub on_loop:", "pub on_another_loop:", "cm_loop_v1.on_loop is called on_another_loop"),
             ("pub status: cm_status,\n    pub http_status: u32,", "pub status: u64,", "cm_http_result"),
             ("pub observe: unsafe extern \"C\" fn(cm_handle, u32, u64),", "", "cm_metrics_v1.observe is missing"),
             ("fn(cm_handle, u32, i64),\n    pub set:", "fn(cm_handle, i64),\n    pub set:", "cm_metrics_v1.add has 3 parameters"),
             ("pub integer: i64,\n    pub real: f64,", "pub integer: f64,\n    pub real: u32,\n    pub more: u32,", "cm_value"),
             ("CM_BUSY: cm_status = 4", "CM_BUSY: cm_status = 5", "C has 'CM_BUSY = 4', Rust 'CM_BUSY = 5'"),
             ("CM_PLUGIN_MAGIC: u64 = 0x31", "CM_PLUGIN_MAGIC: u64 = 0x32", "CM_PLUGIN_MAGIC")]
    failed = 0
    for old, new, words in cases:
        with tempfile.TemporaryDirectory() as name:
            copy = Path(name)
            shutil.copy(sources / "ffi.rs", copy / "ffi.rs")
            shutil.copytree(sources / "ffi", copy / "ffi")
            changed = [file for file in [copy / "ffi.rs", *copy.glob("ffi/*.rs")]
                       if old and old in file.read_text(encoding="utf-8")]
            assert len(changed) == (1 if old else 0), old
            for file in changed:
                file.write_text(file.read_text(encoding="utf-8").replace(old, new, 1), encoding="utf-8")
            findings, _ = compare(headers, copy)
        if (not words and findings) or (words and not any(words in text for text in findings)):
            failed += 1
            print(f"self-test: '{old}' -> '{new}': expected '{words}', found {findings[:3]}")
    print(f"{len(cases) - failed} passed, {failed} failed")
    return 1 if failed else 0


def main(arguments):
    tests = arguments[:1] == ["--self-test"]
    folders = [Path(word) for word in arguments[1 if tests else 0:]]
    if len(folders) != 2:
        print(__doc__)
        return 3
    if shutil.which(os.environ.get("CC", "cc")) is None or shutil.which("rustc") is None:
        print("skipped: needs a C compiler and rustc")
        return SKIPPED
    if tests:
        return self_test(*folders)
    findings, count = compare(*folders)
    for text in findings:
        print(text)
    print(f"{count} structs, {len(findings)} findings")
    return 1 if findings or count < 40 else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
