#!/usr/bin/env python3
"""What the public C headers must look like, beyond what a compiler says. Prints each finding as file:line: text.

usage: check_headers.py FOLDER       the folder with abi.h, plugin.h and ext/
       check_headers.py --self-test  every check must be able to fail

Names in brackets at a finding are the rules of docs/rules/.
"""
import re
import sys
from pathlib import Path

FREESTANDING = {"stdint.h", "stddef.h", "stdbool.h"}
TAGS = re.compile(r"\[(control|loop|any|worker)\]")
SINCE = re.compile(r"Since ABI (\d+)\.(\d+)\.")
STRUCT = re.compile(r"typedef struct (cm_\w+) \{\n(.*?)\n\} \1;", re.S)
FUNCTION_MEMBER = re.compile(r"\(\*(\w+)\)\s*\(")
CALLBACK_TYPE = re.compile(r"typedef\s+[\w\s*]+?\(\*(cm_\w+)\)\s*\(", re.S)
# Widths that differ between compilers or platforms, and what C++ or C alone knows.
BANNED_TYPES = re.compile(r"\b(long|short|int|unsigned|signed|size_t|ssize_t|wchar_t|enum|union|va_list|float|time_t)\b")
COMMENT = re.compile(r"/\*.*?\*/", re.S)
# A function that waits would hold up a loop; what takes time ends with a callback.
WAITING = re.compile(r"(^|_)(wait|join|sleep|block|sync|flush_and_wait)(_|$)")
# Memory that may be answered: views, numbers, and what nobody can change or free.
CHANGEABLE_RESULT = re.compile(r"(?:typedef )?(?!const )\w[\w ]*\*\s*\(\*")
# Takes part on either side: a post, a timer, a job.
GENERAL_CALLBACK = "cm_callback"
# Objects that are passed by pointer because they belong to the side that is called back.
OPAQUE = {"cm_instance", "cm_storage_transaction"}


def without_comments(text):
    """The same text with blanks for comments, so that offsets stay."""
    blank = lambda match: re.sub(r"[^\n]", " ", match.group(0))
    return re.sub(r'"(\\.|[^"\\\n])*"', lambda m: '"' + " " * (len(m.group(0)) - 2) + '"', COMMENT.sub(blank, text))


class Header:
    def __init__(self, name, text):
        self.name, self.text, self.code = name, text, without_comments(text)
        self.comments = [(m.start(), m.end(), m.group(0)) for m in COMMENT.finditer(text)]
        self.findings = []

    def find(self, offset, text):
        self.findings.append((self.text.count("\n", 0, offset) + 1, text))

    def comment_of(self, start, end):
        """The comment that ends right above `start` (only white space between), and the one behind `end` on its line."""
        found = ""
        line_end = self.text.find("\n", end)
        for begin, stop, text in self.comments:
            if stop <= start and not self.text[stop:start].strip():
                # A comment behind the member before belongs to that one.
                line_begin = self.text.rfind("\n", 0, begin) + 1
                if not self.text[line_begin:begin].strip():
                    found += text
            # One that begins inside the statement or behind it, on the same line.
            if start <= begin < max(line_end, end):
                found += text
        return found

    def check_words(self):
        for match in re.finditer(r'#\s*include\s*[<"]([^>"]+)[>"]', self.text):
            if match.group(1) not in FREESTANDING and not match.group(1).startswith("claudemesh/"):
                self.find(match.start(), f"includes {match.group(1)}, expected a freestanding header [01]")
            if match.group(1).startswith("claudemesh/cpp/"):
                self.find(match.start(), f"includes {match.group(1)}: a C header knows nothing of the C++ layer [01]")
        for offset, line in line_offsets(self.code):
            if line.lstrip().startswith("#"):
                continue
            for match in BANNED_TYPES.finditer(line):
                self.find(offset + match.start(), f"uses '{match.group(1)}', expected a type of fixed width [01]")
            if "..." in line:
                self.find(offset, "has variable arguments [01]")
            if re.search(r"^\s*\w+ \w+ : \d+;", line):
                self.find(offset, "has a bit-field [01]")

    def check_struct(self, match):
        name, body, at = match.group(1), match.group(2), match.start()
        comment = self.comment_of(at, at + len("typedef struct"))
        if f"sizeof({name}) ==" not in self.code:
            self.find(at, f"{name} has no CM_STATIC_ASSERT on its size [20]")
        functions = FUNCTION_MEMBER.search(without_comments(body)) is not None
        if functions or name.endswith("_v1"):
            since = SINCE.search(comment)
            if since is None:
                self.find(at, f"{name} does not say since when: expected 'Since ABI 1.0.' in the comment above it [04]")
            first = without_comments(body).strip().split(";")[0].split()
            if first != ["uint32_t", "size"] and name != "cm_plugin_entry_v1":
                self.find(at, f"{name} does not begin with its size: found '{' '.join(first)}' [04]")
        self.check_later_members(name, SINCE.search(comment), match.start(2), match.group(2))
        start = match.start(2)
        code = self.code[start:match.end(2)]
        for statement in re.finditer(r"[^;]+;", code):
            text = statement.group(0)
            member = FUNCTION_MEMBER.search(text)
            begin = start + statement.start() + len(text) - len(text.lstrip())
            if member:
                self.check_function(name, member.group(1), text, begin, start + statement.end())

    def check_later_members(self, name, since, start, body):
        """What came after its table is hidden from plugins that were written for an older revision."""
        for later in SINCE.finditer(body):
            if since is not None and tuple(map(int, later.groups())) <= tuple(map(int, since.groups())):
                continue
            before = body[:later.start()]
            guard = f"#if CM_TARGET_ABI >= CM_ABI_VERSION_{later.group(1)}_{later.group(2)}\n"
            if before.rfind(guard) <= before.rfind("#endif"):
                self.find(start + later.start(), f"{name} shows a later member to everybody, expected '{guard.strip()}' [04]")

    def check_function(self, owner, name, declaration, begin, end):
        self.check_tag(f"{owner}.{name}", self.comment_of(begin, end), begin)
        self.check_arguments(f"{owner}.{name}", declaration, begin)
        self.check_ownership(f"{owner}.{name}", declaration, begin)
        if WAITING.search(name):
            self.find(begin, f"{owner}.{name} sounds like waiting: nothing blocks a loop, end with a callback [09]")

    def check_tag(self, title, comment, begin):
        tags = sorted(set(TAGS.findall(comment)))
        if not tags:
            self.find(begin, f"{title} has no thread tag, expected [control], [loop], [any] or [worker] [07]")
        elif len(tags) > 1 and title != GENERAL_CALLBACK:
            self.find(begin, f"{title} has {len(tags)} thread tags ({', '.join(tags)}), expected one [07]")

    def check_ownership(self, title, declaration, begin):
        """Whose memory it is: arguments belong to who calls, answers to who is called; a callback is the other way round."""
        arguments = declaration[declaration.find("(", declaration.find("(*") + 2):]
        called_back = re.match(r"\(\s*void\* user\b", arguments) is not None
        given, expected = ("pview", "hview") if called_back else ("hview", "pview")
        if re.search(rf"\bcm_(text|bytes)_{given} \w+", arguments):
            self.find(begin, f"{title} is given a cm_*_{given}, expected cm_*_{expected}: the memory is the caller's [11]")
        answered = "hview" if called_back else "pview"
        if re.search(rf"\bcm_(text|bytes)_{answered}\s*\*", arguments) or re.match(rf"\s*cm_(text|bytes)_pview\b", declaration):
            self.find(begin, f"{title} answers a view of the caller's memory, expected cm_*_hview [11]")
        if CHANGEABLE_RESULT.match(declaration.strip()):
            self.find(begin, f"{title} answers memory that can be changed or freed: the side that allocated frees [11]")

    def check_arguments(self, title, declaration, begin):
        arguments = declaration[declaration.find("(", declaration.find("(*") + 2):]
        for pointee in re.findall(r"(?<!const )\b(cm_\w+)\s*\*(?!\*)", re.sub(r"const (cm_\w+)", r"\1 const", arguments)):
            if pointee in OPAQUE or re.search(rf"\b{pointee}\*+ out", arguments):
                continue
            self.find(begin, f"{title} takes a pointer to a changeable {pointee}: host objects are handles [10]")
        if re.search(r"\bconst char\s*\*", arguments) and not re.search(r"const char\* \w*id\b", arguments):
            self.find(begin, f"{title} takes a bare string, expected cm_text_pview or cm_text_hview [11]")
        if not re.search(r"CM_NOEXCEPT\s*;", declaration):
            self.find(begin, f"{title} is not CM_NOEXCEPT [12]")

    def check_callbacks(self):
        for match in CALLBACK_TYPE.finditer(self.code):
            end = self.code.find(";", match.start()) + 1
            name = match.group(1)
            self.check_tag(name, self.comment_of(match.start(), end), match.start())
            declaration = self.code[match.start():end]
            self.check_arguments(name, declaration, match.start())
            self.check_ownership(name, declaration, match.start())
            arguments = declaration[declaration.find("(", declaration.find("(*") + 2):]
            if not re.match(r"\(void\* user\b", arguments):
                self.find(match.start(), f"{name} does not begin with 'void* user' [16]")

    def check_macros(self):
        for match in re.finditer(r'#define (CM_\w+_ID) "([^"]*)"', self.text):
            if not re.fullmatch(r"cm(\.[a-z]+)+/[1-9]\d*", match.group(2)):
                self.find(match.start(), f"{match.group(1)} is '{match.group(2)}', expected 'cm.name/REVISION' [05]")

    def run(self):
        self.check_words()
        for match in STRUCT.finditer(self.text):
            self.check_struct(match)
        self.check_callbacks()
        self.check_macros()
        return sorted(set(self.findings))


def line_offsets(text):
    offset = 0
    for line in text.split("\n"):
        yield offset, line
        offset += len(line) + 1


def check_folder(folder):
    files = sorted(folder.glob("*.h")) + sorted(folder.glob("ext/*.h"))
    ids, findings = {}, []
    for file in files:
        header = Header(file, file.read_text(encoding="utf-8"))
        findings += [(file, line, text) for line, text in header.run()]
        for table in re.findall(r'#define CM_\w+_ID "([^"]*)"', header.text):
            if ids.setdefault(table, file) != file:
                findings.append((file, 1, f"defines {table}, which {ids[table].name} has already [05]"))
    for file, line, text in findings:
        print(f"{file}:{line}: {text}")
    print(f"{len(files)} headers, {len(ids)} tables by id, {len(findings)} findings")
    return 1 if findings or not files else 0


GOOD = """/* A table. Since ABI 1.0. */
#define CM_A_ID "cm.a/1"
typedef void (*cm_a_done)(void* user, cm_status status) CM_NOEXCEPT; /* [loop] */
/* A table. Since ABI 1.0. */
typedef struct cm_a_v1 {
  uint32_t size;
  uint32_t reserved;
  /* Does it. [loop] */
  cm_status (*run)(cm_handle self, cm_text_pview text, const cm_b* options,
                   cm_handle* out_run) CM_NOEXCEPT;
  void (*end)(cm_handle self) CM_NOEXCEPT; /* [any] */
} cm_a_v1;
CM_STATIC_ASSERT(sizeof(cm_a_v1) == 24, "layout");
"""


def self_test():
    """Each row changes the good header in one way; the words must be in a finding. An empty word: no finding at all."""
    cases = [
        ("", "", ""),
        ("#define CM_A_ID", "#include <stdio.h>\n#define CM_A_ID", "freestanding"),
        ("uint32_t reserved", "long reserved", "uses 'long'"),
        ("uint32_t reserved", "uint32_t reserved : 3", "bit-field"),
        ("cm_handle self) CM_NOEXCEPT; /* [any] */", "cm_handle self, ...) CM_NOEXCEPT; /* [any] */", "variable arguments"),
        ("CM_STATIC_ASSERT(sizeof(cm_a_v1) == 24", "CM_STATIC_ASSERT(sizeof(cm_c) == 24", "no CM_STATIC_ASSERT"),
        ("/* A table. Since ABI 1.0. */\ntypedef struct", "/* A table. */\ntypedef struct", "since when"),
        ("uint32_t size;\n  uint32_t reserved;", "uint32_t reserved;\n  uint32_t size;", "begin with its size"),
        ("/* Does it. [loop] */", "/* Does it. */", "cm_a_v1.run has no thread tag"),
        (" /* [any] */", "", "cm_a_v1.end has no thread tag"),
        (" /* [loop] */\n/* A", "\n/* A", "cm_a_done has no thread tag"),
        ("const cm_b* options", "cm_b* options", "changeable cm_b"),
        ("cm_text_pview text", "const char* text", "bare string"),
        ("cm_handle self) CM_NOEXCEPT", "cm_handle self)", "not CM_NOEXCEPT"),
        ("const cm_b* options", "const char* table_id", ""),
        ("/* [any] */", "/* [any] or [loop] */", "2 thread tags (any, loop)"),
        ("/* Does it. [loop] */", "/* Does it. [main] */", "cm_a_v1.run has no thread tag"),
        ("cm_text_pview text", "cm_text_hview text", "is given a cm_*_hview"),
        ("void* user, cm_status", "void* user, cm_bytes_pview bytes, cm_status", "cm_a_done is given a cm_*_pview"),
        ("void* user, cm_status", "void* user, cm_bytes_hview bytes, cm_status", ""),
        ("cm_handle* out_run", "cm_text_pview* out_text", "answers a view of the caller's memory"),
        ("cm_handle* out_run", "cm_text_hview* out_text", ""),
        ("void (*end)", "cm_text_pview (*end)", "answers a view of the caller's memory"),
        ("void (*end)", "cm_text_hview (*end)", ""),
        ("void (*end)", "void* (*end)", "can be changed or freed"),
        ("void (*end)", "uint8_t* (*end)", "can be changed or freed"),
        ("void (*end)", "const void* (*end)", ""),
        ("(*run)", "(*wait_for_run)", "sounds like waiting"),
        ("(*end)", "(*join)", "sounds like waiting"),
        ("void* user, cm_status", "cm_status status, void* user, cm_status", "void* user"),
        ("/* [any] */", "/* [any] Since ABI 1.1. */", "shows a later member"),
        ("  void (*end)(cm_handle self) CM_NOEXCEPT; /* [any] */",
         "#if CM_TARGET_ABI >= CM_ABI_VERSION_1_1\n  void (*end)(cm_handle self) CM_NOEXCEPT; /* [any] Since ABI 1.1. */\n#endif", ""),
        ('"cm.a/1"', '"cm.a"', "expected 'cm.name/REVISION'"),
    ]
    failed = 0
    for old, new, words in cases:
        assert old in GOOD, old
        found = [text for _, text in Header("self-test", GOOD.replace(old, new, 1) if old else GOOD).run()]
        if (not words and found) or (words and not any(words in text for text in found)):
            failed += 1
            print(f"self-test: '{old}' -> '{new}': expected '{words}', found {found}")
    print(f"{len(cases) - failed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    if sys.argv[1:] == ["--self-test"]:
        sys.exit(self_test())
    if len(sys.argv) != 2:
        print(__doc__)
        sys.exit(3)
    sys.exit(check_folder(Path(sys.argv[1])))
