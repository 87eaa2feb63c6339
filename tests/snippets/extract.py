#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""extract.py FOLDER FILE.md...: writes each C++ block with an `int main` to FOLDER and prints the paths.

The build compiles and runs them, so that no document shows a program that does not work."""

import pathlib
import re
import sys

# With a line number of another file g++ 12 takes the program for a header, and warns that a lambda in a coroutine's
# frame has no linkage.
PREFIX = """#ifndef __clang__
#pragma GCC diagnostic ignored "-Wsubobject-linkage"
#endif
"""

BLOCK = re.compile(r"^```cpp\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def write_if_changed(path, text):
    """Keeps the time of a file that stays the same, so that it is not built again."""
    if not path.exists() or path.read_text(encoding="utf-8") != text:
        path.write_text(text, encoding="utf-8")


def main(folder, *documents):
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for document in map(pathlib.Path, documents):
        text = document.read_text(encoding="utf-8")
        for block in BLOCK.finditer(text):
            if not re.search(r"^int main\(", block.group(1), re.MULTILINE):
                continue
            line = text.count("\n", 0, block.start()) + 2
            name = re.sub(r"\W+", "_", document.stem.lower())
            path = folder / f"{name}_{sum(1 for other in written if other.stem.startswith(name)) + 1}.cpp"
            # Messages then name the document.
            write_if_changed(path, f'{PREFIX}#line {line} "{document.name}"\n{block.group(1)}')
            written.append(path)
    for old in set(folder.glob("*.cpp")) - set(written):
        old.unlink()
    print(";".join(path.as_posix() for path in written))


if __name__ == "__main__":
    main(*sys.argv[1:])
