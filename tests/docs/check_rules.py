#!/usr/bin/env python3
"""docs/rules: each rule has a page and a row in the table, both name the same tests, and each of these exists. A name is a
test of ctest, a case of GoogleTest (Suite.Case) or a script (with a slash).

usage: check_rules.py SOURCES BUILD
       check_rules.py --self-test
"""
import re
import subprocess
import sys
import tempfile
from pathlib import Path

RULES = 20
ROW = re.compile(r"^\| \[(\d+)\]\(([\w.-]+)\) \| ([^|]+) \| ([^|]+) \|$", re.M)
CASE = re.compile(r"\bTEST(?:_F|_P)?\(\s*(\w+),\s*(\w+)\)")
HEADING = "## Tests that fail when it is broken\n"
SECTIONS = ["## Why", "## What goes wrong without it", "## How it is kept", HEADING.strip()]


def known_tests(sources, build):
    listing = subprocess.run(["ctest", "--test-dir", str(build), "-N"], capture_output=True, text=True, check=True).stdout
    names = set(re.findall(r"^\s*Test\s+#\d+: (\S+)", listing, re.M))
    for file in sources.rglob("*_test.cpp"):
        if "build" not in file.relative_to(sources).parts:
            names |= {f"{suite}.{case}" for suite, case in CASE.findall(file.read_text(encoding="utf-8"))}
    return names


def check(folder, sources, names):
    findings, table = [], (folder / "README.md").read_text(encoding="utf-8")
    rows = {int(number): (page, title.strip(), re.findall(r"`([^`]+)`", tests)) for number, page, title, tests in ROW.findall(table)}
    for number in range(1, RULES + 1):
        if number not in rows:
            findings.append(f"README.md has no row for rule {number}")
            continue
        page, title, tests = rows[number]
        if not (folder / page).exists():
            findings.append(f"README.md names {page}, which does not exist")
            continue
        text = (folder / page).read_text(encoding="utf-8")
        if not text.startswith(f"# Rule {number}: {title}\n"):
            findings.append(f"{page} does not begin with '# Rule {number}: {title}'")
        findings += [f"{page} has no section '{section}'" for section in SECTIONS if section + "\n" not in text]
        on_page = re.findall(r"^- `([^`]+)`", text.split(HEADING)[-1], re.M)
        if on_page != tests or not tests:
            findings.append(f"{page} names {on_page}, the table {tests}")
        findings += [f"{page} names `{test}`, which does not exist" for test in tests
                     if test not in names and not ("/" in test and (sources / test).is_file())]
    return findings


def self_test():
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        rows = []
        for number in range(1, RULES + 1):
            body = "".join(f"{section}\n\ntext\n\n" for section in SECTIONS)
            (folder / f"{number}.md").write_text(f"# Rule {number}: title\n\n{body}- `a_test`: what\n")
            rows.append(f"| [{number}]({number}.md) | title | `a_test` |")
        table = folder / "README.md"
        table.write_text("\n".join(rows) + "\n")
        results = [check(folder, folder, {"a_test"}) == [], len(check(folder, folder, {"b_test"})) == RULES]
        table.write_text("\n".join(rows[:-1]) + "\n")
        results.append(check(folder, folder, {"a_test"}) == ["README.md has no row for rule 20"])
        table.write_text("\n".join(rows).replace("| `a_test` |", "| `b_test` |", 1) + "\n")
        results.append(any("the table" in text for text in check(folder, folder, {"a_test", "b_test"})))
    print(f"{results.count(True)} passed, {results.count(False)} failed")
    return 0 if all(results) else 1


def main(arguments):
    if arguments == ["--self-test"]:
        return self_test()
    if len(arguments) != 2:
        print(__doc__)
        return 3
    sources = Path(arguments[0])
    findings = check(sources / "docs/rules", sources, known_tests(sources, Path(arguments[1])))
    print("\n".join(findings + [f"{RULES} rules, {len(findings)} findings"]))
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
