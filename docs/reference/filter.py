#!/usr/bin/env python3
"""Shows the headers of the SDK to Doxygen. They are written for people who read them in an editor, so their comments are
plain; this filter marks those that document something. Doxygen runs it for each file and reads what it prints.

usage: filter.py HEADER
"""
import re
import sys

SIZE = "/**< The size of this struct in bytes, as whoever filled it knows it. */"
RESERVED = "/**< 0. */"


def mark_block(text):
    """C: the file's own comment, comments above declarations, comments behind members and macros."""
    text = re.sub(r"\A/\* ", "/** @file\n * ", text)
    # Titles of sections stay plain.
    text = re.sub(r"^( *)/\* (?!---)", r"\1/** ", text, flags=re.M)
    text = re.sub(r"(?<=\S)( +)/\* (?!---)(.*?\*/)", r"\1/**< \2", text)
    text = re.sub(r"^(  uint32_t size;)$", rf"\1 {SIZE}", text, flags=re.M)
    return re.sub(r"^(  uint32_t reserved;)$", rf"\1 {RESERVED}", text, flags=re.M)


def mark_lines(text):
    """C++: the same for // comments."""
    text = re.sub(r"\A// ", "/// @file\n/// ", text)
    text = re.sub(r"^(\s*)// (?!---)", r"\1/// ", text, flags=re.M)
    return re.sub(r"(?<=[;,{}\w)])(  +)// (.*)$", r"\1///< \2", text, flags=re.M)


def escape(text):
    """Words that Doxygen would take for commands: @group and #topic are targets of messages."""
    return re.sub(r"(?<![\\\w/])([@#])(?=(group|topic|k3v)\b)", r"\\\1", text)


def main(path):
    with open(path, encoding="utf-8") as file:
        text = file.read()
    print(mark_block(escape(text)) if path.endswith(".h") else mark_lines(escape(text)), end="")


if __name__ == "__main__":
    main(sys.argv[1])
