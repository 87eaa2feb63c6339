#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Tests tools/check_coroutines.py: its table (cases.py), and how it is called."""

import pathlib
import subprocess
import sys
import tempfile
import unittest

HERE = pathlib.Path(__file__).resolve().parent
LINT = HERE.parent.parent / "tools" / "check_coroutines.py"
sys.path[:0] = [str(HERE), str(LINT.parent)]
sys.dont_write_bytecode = True

import cases  # noqa: E402
import check_coroutines  # noqa: E402


def program(code):
    """The whole file for a row of the table, its @ still in it."""
    if code.startswith("file: "):
        return cases.PRELUDE + code.removeprefix("file: ") + "\n"
    return f"{cases.PRELUDE}Coro<void> body(bool c) {{\n{code}\n}}\n"


def place_of_mark(text):
    before = text[:text.index("@")]
    return before.count("\n") + 1, len(before) - before.rfind("\n")


def found_in(text):
    linter = check_coroutines.Linter([])
    return [finding[:3] for finding in linter.check_text(text, HERE)]


def lint(*arguments):
    command = [sys.executable, str(LINT), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


class Table(unittest.TestCase):
    def test_what_gcc_12_breaks_is_found_where_it_stands(self):
        for kind, code in cases.FOUND:
            with self.subTest(kind=kind, code=code):
                text = program(code)
                self.assertEqual(found_in(text.replace("@", "", 1)), [(*place_of_mark(text), kind)])

    def test_what_is_fine_is_not_reported(self):
        for code in cases.SILENT:
            with self.subTest(code=code):
                self.assertEqual(found_in(program(code)), [])


class Unfinished(unittest.TestCase):
    def test_code_that_breaks_off_anywhere_is_read_to_its_end(self):
        closing = {"(": ")", "[": "]", "{": "}"}
        rows = [code.removeprefix("file: ") for _, code in cases.FOUND]
        rows += ["void f() try { g(); } catch (int) { if (a) do h(); while (b); }", "void f() { try { g(); } catch }"]
        for code in rows:
            words = check_coroutines.TOKEN.findall(code.replace("@", ""))
            words = [next(filter(None, groups)) for groups in words]
            for end in range(len(words)):
                open_brackets = []
                for word in words[:end]:
                    if word in closing:
                        open_brackets.append(closing[word])
                    elif open_brackets and word == open_brackets[-1]:
                        open_brackets.pop()
                found_in("".join(words[:end] + open_brackets[::-1]))


class Comments(unittest.TestCase):
    LINE = "co_await takes_request(Request{1, Alive()});"

    def kinds(self, code):
        return [kind for _, _, kind in found_in(program(code))]

    def test_a_reason_silences_its_line(self):
        self.assertEqual(self.kinds(f"{self.LINE}  // weft-lint: fine, because built with clang alone"), [])

    def test_a_reason_on_a_line_of_its_own_silences_the_next(self):
        self.assertEqual(self.kinds(f"// weft-lint: fine, because it is a test\n// and more\n{self.LINE}"), [])

    def test_it_silences_that_line_alone(self):
        code = f"{self.LINE}  // weft-lint: fine, because it is a test\n{self.LINE}"
        self.assertEqual(self.kinds(code), ["aggregate"])

    def test_without_a_reason_it_silences_nothing(self):
        self.assertEqual(self.kinds(f"{self.LINE}  // weft-lint: fine"), ["no-reason", "aggregate"])

    def test_one_that_silences_nothing_is_reported(self):
        self.assertEqual(self.kinds("co_await ready();  // weft-lint: fine, because it was broken once"), ["unused"])


class CommandLine(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)

    def write(self, name, text):
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return path

    def test_nothing_found_is_0_and_silence(self):
        result = lint(self.write("a.cpp", "int main() {}\n"))
        self.assertEqual((result.returncode, result.stdout), (0, ""))

    def test_something_found_is_1_and_says_file_line_and_column(self):
        path = self.write("a.cpp", "Coro<void> f() {\n    co_await g(Agg{1});\n}\n")
        result = lint(path)
        self.assertEqual(result.returncode, 1)
        self.assertTrue(result.stdout.startswith(f"{path}:2:19: Agg{{...}} in an expression"), result.stdout)

    def test_wrong_usage_is_2(self):
        self.assertEqual(lint().returncode, 2)
        self.assertEqual(lint(self.folder / "nothing.cpp").returncode, 2)
        self.assertEqual(lint("--no-such-option").returncode, 2)

    def test_help(self):
        result = lint("--help")
        self.assertEqual(result.returncode, 0)
        self.assertIn("weft-lint: fine, because", result.stdout)

    def test_folders_are_searched(self):
        self.write("deep/er/a.hpp", "Coro<void> f() { co_await g(Agg{1}); }\n")
        self.write("deep/left_out.cpp", "Coro<void> f() { co_await g(Agg{1}); }\n")
        self.assertEqual(lint(self.folder).stdout.count("[aggregate]"), 2)
        excluded = lint(self.folder, "--exclude", self.folder / "deep" / "left_out.cpp")
        self.assertEqual(excluded.stdout.count("[aggregate]"), 1)

    def test_the_code_in_a_document_is_checked(self):
        path = self.write("a.md", "# Text\n\n```cpp\nCoro<void> f() { co_await g(Agg{1}); }\n```\n\n```sh\n{ (\n```\n")
        self.assertTrue(lint(path).stdout.startswith(f"{path}:4:"))

    def test_a_type_of_a_header_beside_the_file_is_known(self):
        self.write("types.hpp", "struct Agg { int number; };\n")
        self.write("include/more.hpp", "struct Other { explicit Other(int); std::string text; };\n")
        path = self.write("a.cpp", '#include "types.hpp"\n#include "more.hpp"\n'
                                   "Coro<void> f() { co_await g(Agg{1}); co_await g(Other{1}); }\n")
        self.assertEqual(lint(path).stdout.count("[aggregate]"), 1)
        self.assertEqual(lint(path, "-I", self.folder / "include").returncode, 0)

    def test_a_file_that_cannot_be_read_is_a_finding(self):
        result = lint(self.write("a.cpp", "void f() { ( }\n"))
        self.assertEqual((result.returncode, "[unreadable]" in result.stdout), (1, True))


if __name__ == "__main__":
    unittest.main()
