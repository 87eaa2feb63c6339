# SPDX-License-Identifier: MIT
"""Many small programs as one source: a compiler reads the headers once for all of them."""
import pathlib
import re


def included(path):
    for line in path.read_text().splitlines():
        if match := re.match(r'#include (?:(<.*>)|"(.*)")', line):
            yield match[1] or f'"{path.resolve().parent / match[2]}"'


def one_source(paths, folder):
    """A file in `folder` that includes each of `paths` in a namespace of its own. What they include themselves stands
    before them, so that their own lines of it do nothing."""
    includes = [f"#include {each}" for each in sorted({each for path in paths for each in included(path)})]
    parts = [f'namespace file_{path.stem} {{\n#include "{path.resolve()}"\n}}' for path in paths]
    source = pathlib.Path(folder, f"{len(paths)}.cpp")
    source.write_text("\n".join([*includes, *parts, ""]))
    return source
