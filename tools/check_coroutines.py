#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""weft-lint: finds the coroutine code that g++ 12 compiles wrongly, before it crashes without a word.

It reads C++ with a tokenizer of its own and knows no types but those that it can see: in the file, in the headers that
the file includes by "name", and the usual ones of the standard library and of weft. What it cannot know it reports, if
the compiler would break it for an ordinary class. A comment silences one line, the one it stands in or the next one:

    // weft-lint: fine, because REASON

The facts were measured with g++ 12.2, at -O0 and with AddressSanitizer; tests/task/gcc12.cpp repeats the main ones.
One file and python3 alone, so that it can be installed and copied as one program."""

import argparse
import bisect
import pathlib
import re
import sys

# --- what it says --------------------------------------------------------------------------------

MESSAGES = {
    "conditional": "?: of a class type in an expression that awaits: g++ 12 destroys the result twice; "
                   "write if and else, or choose in a statement of its own",
    "closure": "a closure that holds {what} in an expression that awaits: g++ 12 destroys the captures twice; "
               "name the lambda first and move it in, or capture by reference",
    "aggregate": "{what} in an expression that awaits: g++ 12 destroys the members of an aggregate twice; "
                 "name it first, or if its type has a constructor, call that with parentheses",
    "list": "a braced list of elements in an expression that awaits: g++ 12 says \"array used as initializer\"; "
            "make the container in a statement of its own",
    "new": "new {what} in an expression that awaits: g++ 12 destroys its arguments twice; "
           "write std::make_unique, or name the arguments first",
    "condition": "awaits in the condition of a coroutine that declares nothing: with g++ 12 it crashes or never goes "
                 "on; declare the awaited value: const bool more = co_await ...; if (more)",
    "in-place": "a lambda with captures is called where it stands, and its coroutine goes on after the lambda is "
                "gone: its captures are dead, on every compiler; pass the lambda uncalled, or name it where it "
                "outlives the coroutine",
    "awaiter": "awaits the captured {what}, which g++ 12 copies (or refuses to copy) in a lambda; "
               "await std::move({what}), or auto& awaited = {what}; co_await awaited",
    "macro": "co_await in an assertion: g++ 12 awaits several times; "
             "write auto result = co_await ...; and look at that",
    "no-reason": "a weft-lint comment without a reason; write // weft-lint: fine, because REASON",
    "unused": "this weft-lint comment silences nothing; remove it",
    "unreadable": "brackets do not match here; nothing was checked in this file",
}

# --- what it knows -------------------------------------------------------------------------------

# Types without a destructor that does anything: destroying them twice is no harm.
TRIVIAL_TYPES = set("""
    bool char wchar_t char8_t char16_t char32_t short int long float double signed unsigned void nullptr_t byte
    size_t ssize_t ptrdiff_t intptr_t uintptr_t int8_t int16_t int32_t int64_t uint8_t uint16_t uint32_t uint64_t
    intmax_t uintmax_t pid_t uid_t gid_t off_t mode_t dev_t ino_t time_t clock_t socklen_t sa_family_t in_port_t
    nanoseconds microseconds milliseconds seconds minutes hours days weeks duration time_point
    string_view span coroutine_handle source_location error_code error_condition errc strong_ordering partial_ordering
    atomic_bool atomic_int atomic atomic_flag atomic_ref bitset complex reference_wrapper monostate nullopt_t
    sockaddr sockaddr_in sockaddr_in6 sockaddr_un sockaddr_storage timespec timeval iovec msghdr
    Duration TimePoint MutableBuffer ConstBuffer BackendKind""".split())

# Trivial when what they are made of is.
WRAPPERS = {"array", "pair", "tuple", "optional", "variant"}

# Classes with constructors. Their temporaries are destroyed once, however they are written.
STD_CLASSES = set("""
    string basic_string u8string wstring path any function move_only_function packaged_task promise shared_future
    unique_ptr shared_ptr weak_ptr exception_ptr thread jthread stop_source stop_token stop_callback
    mutex recursive_mutex unique_lock lock_guard scoped_lock shared_lock condition_variable
    runtime_error logic_error invalid_argument out_of_range length_error domain_error system_error bad_alloc
    ostringstream istringstream stringstream ifstream ofstream fstream regex locale future
    stack queue priority_queue""".split())

# Classes that are filled from a braced list.
CONTAINERS = set("""vector list forward_list deque set multiset map multimap unordered_set unordered_multiset
    unordered_map unordered_multimap initializer_list valarray""".split())

# weft's own: nearly all have constructors, so that they are safe here.
WEFT_AGGREGATES = {"RunOptions", "ExceptionContext"}
WEFT_CLASSES = set("""
    TaskOptions PoolOptions RetryOptions WorkerPoolOptions ServerOptions Address Fd Stream Server Remote Pool Queue
    Lock Event Semaphore Task Future Coro TaskGroup EventLoop Runner CancelledError TimeoutError
    RuntimeError""".split())

# Functions of weft's whose parameter is a class with constructors, to be written as a braced list.
WEFT_TAKES_A_LIST = {"signal"}

# What these give has an `operator co_await` or is moved in; it may be captured and awaited.
HANDLES = {"Task", "Future", "AnyFuture", "Coro", "shared_ptr", "unique_ptr"}
GIVES_HANDLE = {"create_task", "ensure_future", "create_future", "start_soon", "current_task"}

# Member functions that give a number, a flag or a pointer in every class that has them.
TRIVIAL_CALLS = set("""
    size count length empty capacity done cancelled cancelling has_value use_count load fetch_add fetch_sub port
    data c_str begin end cbegin cend time now duration_cast count_if distance native_handle fileno get_id
    get max_size index holds_alternative strlen memcmp strcmp sizeof alignof""".split())

# Functions that give a class with a destructor.
MAKERS = {"make_unique", "make_shared", "make_optional", "make_pair", "make_tuple", "to_string", "format"}

# These return when the coroutine that they are given has ended.
RUNS_TO_THE_END = {"run", "run_until_complete"}

ASSERTIONS = re.compile(r"(?:CATCH_)?(?:REQUIRE|CHECK|CHECKED_IF|CHECKED_ELSE)(?:_\w+)?$|assert$")

SUFFIXES = {".cpp", ".cc", ".cxx", ".c++", ".hpp", ".hh", ".hxx", ".h", ".ipp", ".md"}

# --- tokens --------------------------------------------------------------------------------------

TOKEN = re.compile(r"""
    (?P<space>\s+ | \\\n)
  | (?P<comment>//(?:\\\n|[^\n])* | /\*.*?\*/)
  | (?P<string>(?:u8|[uUL])?R"(?P<mark>[^()\s\\"]*)\(.*?\)(?P=mark)"\w* | (?:u8|[uUL])?"(?:\\.|[^"\\\n])*"\w*)
  | (?P<char>(?:u8|[uUL])?'(?:\\.|[^'\\\n])+')
  | (?P<number>\.?\d(?:[eEpP][+-]|'?[\w.])*)
  | (?P<name>[A-Za-z_]\w*)
  | (?P<punct>::|->\*?|\.\.\.|<=>|==|!=|<=|>=|&&|\|\||<<=?|\+\+|--|[-+*/%&|^]=|.)
""", re.VERBOSE | re.DOTALL)
DIRECTIVE = re.compile(r"[ \t]*#[ \t]*(\w*)((?:\\\n|/\*.*?\*/|[^\n])*)", re.DOTALL)
NOTE = re.compile(r"weft-lint:\s*fine(?P<reason>[^\n]*)")
REASON = re.compile(r",?\s*because\s+\S{2,}")

OPENING = {"(": ")", "[": "]", "{": "}"}
AWAITS = {"co_await", "co_yield"}
COROUTINE_WORDS = AWAITS | {"co_return"}


class Token:
    __slots__ = ("kind", "text", "line", "column")

    def __init__(self, kind, text, line, column):
        self.kind, self.text, self.line, self.column = kind, text, line, column


class Unreadable(Exception):
    def __init__(self, token):
        super().__init__(token)
        self.token = token


class Source:
    """The tokens of a file, which bracket belongs to which, and the comments that silence a line."""

    def __init__(self, text):
        self.notes = {}      # line of a comment -> [has a reason, line that it silences, was of use]
        self.includes = []   # what it includes by "name"
        self.line_starts = [0] + [match.end() for match in re.finditer("\n", text)]
        self.lines_with_code = set()
        self.tokens = self.without_other_branches(self.read(text))
        self.text = [token.text for token in self.tokens] + [""] * 4  # so that a look ahead needs no check
        self.partner = self.match_brackets()
        self.place_notes()

    def place(self, offset):
        line = bisect.bisect_right(self.line_starts, offset)
        return line, offset - self.line_starts[line - 1] + 1

    def read(self, text):
        tokens = []
        at, line_is_empty = 0, True
        while at < len(text):
            if line_is_empty and (directive := DIRECTIVE.match(text, at)):
                self.read_directive(directive, tokens)
                at = directive.end()
                continue
            match = TOKEN.match(text, at)
            kind, value = match.lastgroup, match.group()
            if kind == "mark":
                kind = "string"
            line, column = self.place(at)
            if kind == "comment":
                self.read_comment(value, line)
            elif kind != "space":
                tokens.append(Token(kind, value, line, column))
                self.lines_with_code.add(line)
            if kind == "space":
                line_is_empty = line_is_empty or "\n" in value
            else:
                line_is_empty = kind == "comment" and line_is_empty
            at = match.end()
        return tokens

    def read_directive(self, directive, tokens):
        word, rest = directive.group(1), directive.group(2)
        if word == "include" and (name := re.match(r'\s*"([^"]+)"', rest)):
            self.includes.append(name.group(1))
        if word in ("if", "ifdef", "ifndef", "elif", "elifdef", "elifndef", "else", "endif"):
            kind = "if" if word.startswith("if") else "else" if word.startswith("el") else "endif"
            never = kind == "if" and rest.strip() == "0"
            tokens.append(Token("directive", "never" if never else kind, *self.place(directive.start())))

    def read_comment(self, text, line):
        if note := NOTE.search(text):
            self.notes[line] = [bool(REASON.match(note.group("reason"))), line, False]

    def place_notes(self):
        """A comment on a line of its own is about the next line of code."""
        for line, note in self.notes.items():
            if line not in self.lines_with_code:
                note[1] = min((code for code in self.lines_with_code if code > line), default=line)

    def without_other_branches(self, tokens):
        """All branches of #if, if each of them has matching brackets; else the first one alone."""
        position = 0

        def read_until_end(top):
            nonlocal position
            branches, skips_first = [[]], False
            while position < len(tokens):
                token = tokens[position]
                position += 1
                if token.kind != "directive":
                    branches[-1].append(token)
                elif token.text in ("if", "never"):
                    inner = read_until_end(False)
                    if token.text == "never" and inner:
                        inner = inner[1:]
                    elif not all(map(balanced, inner)):
                        inner = inner[:1]
                    for branch in inner:
                        branches[-1].extend(branch)
                elif not top and token.text == "else":
                    branches.append([])
                elif not top:
                    break
            return branches

        return [token for branch in read_until_end(True) for token in branch]

    def match_brackets(self):
        partner, stack = {}, []
        for index, token in enumerate(self.tokens):
            if token.kind != "punct":
                continue
            if token.text in OPENING:
                stack.append(index)
            elif token.text in OPENING.values():
                if not stack or OPENING[self.tokens[stack[-1]].text] != token.text:
                    raise Unreadable(token)
                opening = stack.pop()
                partner[opening], partner[index] = index, opening
        if stack:
            raise Unreadable(self.tokens[stack[-1]])
        return partner

    def is_name(self, index):
        return index < len(self.tokens) and self.tokens[index].kind == "name"

    def is_opening(self, index):
        return index < len(self.tokens) and self.tokens[index].kind == "punct" and self.text[index] in OPENING

    def after(self, index):
        """The token behind this one, or behind the bracket that this one opens."""
        return self.partner[index] + 1 if self.is_opening(index) else index + 1

    def find(self, start, end, wanted):
        """The first wanted token in [start, end) that stands in no bracket opened there; else end."""
        index = start
        while index < end:
            if self.text[index] in wanted and self.tokens[index].kind == "punct":
                return index
            index = self.after(index)
        return end

    def split(self, start, end, separator):
        parts = []
        while True:
            stop = self.find(start, end, {separator})
            parts.append((start, stop))
            if stop >= end:
                return parts
            start = stop + 1

    def after_angles(self, index):
        """The token behind the template arguments that open at `index`; None where `<` is less-than."""
        depth, at = 0, index
        while at < len(self.tokens):
            text = self.text[at]
            if self.tokens[at].kind == "punct":
                if text == "<":
                    depth += 1
                elif text == ">":
                    depth -= 1
                    if depth == 0:
                        return at + 1
                elif text in (";", "{", "}", ")", "]", "||"):
                    return None
            at = self.after(at)
        return None


def balanced(tokens):
    depth = dict.fromkeys(OPENING, 0)
    closing = {value: key for key, value in OPENING.items()}
    for token in tokens:
        if token.kind == "punct" and token.text in OPENING:
            depth[token.text] += 1
        elif token.kind == "punct" and token.text in closing:
            depth[closing[token.text]] -= 1
            if depth[closing[token.text]] < 0:
                return False
    return not any(depth.values())


# --- functions, their statements, and what they declare -------------------------------------------

SPECIFIERS = set("""const constexpr constinit consteval static inline volatile thread_local mutable extern register
    typename friend virtual explicit""".split())
BUILTIN = set("""auto void bool char wchar_t char8_t char16_t char32_t short int long float double signed
    unsigned""".split())
NO_TYPE = set("""return co_return co_await co_yield throw new delete if else for while do switch case default break
    continue goto try catch this nullptr true false sizeof alignof operator static_cast dynamic_cast const_cast
    reinterpret_cast noexcept typeid requires using typedef template namespace public private protected not and or
    static_assert struct class union enum""".split())
CLASS_KEYS = {"struct", "class", "union"}
NO_PARAMETERS_BEHIND = {"alignas", "decltype", "noexcept", "explicit", "requires", "operator", "__attribute__"}


class Declared:
    """A variable or a parameter: `type` is the text of the type's tokens, `init` the range of what it starts with."""

    def __init__(self, name, type_, init=None, form=""):
        self.name, self.type, self.init, self.form = name, type_, init, form


class Expression:
    """A full expression: what it creates lives until its end."""

    def __init__(self, function, start, end, role, declared=None):
        self.function, self.start, self.end, self.role, self.declared = function, start, end, role, declared
        self.lambdas = []
        self.own = []  # its tokens without those of the bodies of lambdas
        self.awaits = False


class Function:
    """A function or a lambda; with `opening` None the file itself, in which variables are initialised."""

    def __init__(self, parent=None, name="", opening=None, introducer=None):
        self.parent, self.name, self.opening, self.introducer = parent, name, opening, introducer
        self.returns, self.parameters, self.variables, self.captures = [], [], [], []
        self.expressions = []
        self.declares = False  # anything at all: then g++ 12 has a scope to put a condition's await in
        self.is_coroutine = False

    @property
    def is_lambda(self):
        return self.introducer is not None

    def own_variable(self, name):
        return next((each for each in reversed(self.variables + self.parameters) if each.name == name), None)

    def find(self, name):
        """What `name` was declared as, here or around: (function, Declared) or (None, None)."""
        function = self
        while function:
            if found := function.own_variable(name):
                return function, found
            for capture in function.captures:
                if capture.name == name and capture.init:
                    return function, Declared(name, ["auto"], capture.init, "=")
            function = function.parent
        return None, None


class Capture:
    def __init__(self, name, by_reference, init=None):
        self.name, self.by_reference, self.init = name, by_reference, init


class Structure:
    """A struct or a class as far as it matters: is it an aggregate, and of what?"""

    def __init__(self, name, key):
        self.name = name
        self.has_constructor = self.hides_members = self.has_destructor = False
        self.hidden = key == "class"
        self.members, self.bases = [], []

    @property
    def is_aggregate(self):
        return not (self.has_constructor or self.hides_members)


class Parser:
    """Finds the functions of a source, cuts their bodies into full expressions, and notes types by name."""

    def __init__(self, source):
        self.source = source
        self.text, self.partner = source.text, source.partner
        self.file = Function()
        self.functions = [self.file]
        self.structures, self.enums, self.aliases, self.signatures = {}, set(), {}, {}
        self.scope(0, len(source.tokens), self.file)

    # -- namespaces and classes --

    def scope(self, at, end, around, structure=None):
        while at < end:
            at = max(at + 1, self.member(at, end, around, structure))  # (on, whatever stands there)

    def member(self, at, end, around, structure):
        """A declaration in a namespace or a class; returns where the next one begins."""
        text = self.text
        if text[at] in (";", "}"):
            return at + 1
        if text[at] in ("public", "private", "protected") and text[at + 1] == ":":
            if structure:
                structure.hidden = text[at] != "public"
            return at + 2
        start = at
        while text[at] == "template" and text[at + 1] == "<":
            at = self.source.after_angles(at + 1) or at + 2
        if text[at] in ("using", "typedef"):
            return self.alias(at, end)
        begin, parameters = at, None
        while at < end:
            mark = text[at] if self.source.tokens[at].kind == "punct" else ""
            if mark == ";":
                break
            if mark == "=" and text[at - 1] != "operator":
                stop = self.source.find(at, end, {";"})
                self.variable_or_deleted(begin, at, stop, parameters, around, structure)
                return stop + 1
            if mark == "(" and parameters is None and text[at - 1] not in NO_PARAMETERS_BEHIND:
                parameters = at
            elif mark == "<" and self.source.is_name(at - 1):
                if behind := self.source.after_angles(at):
                    at = behind
                    continue
            elif mark == ":" and parameters is not None:
                at = self.member_initializers(at, around)
                continue
            elif mark == "{":
                words = [text[each] for each in range(begin, at)]
                if parameters is None and (behind := self.braces_without_parameters(words, begin, at, end, around)):
                    return behind
                if parameters is not None and "requires" not in text[at - 1] and not self.is_requires(at):
                    self.note_constructor(begin, parameters, structure)
                    return self.function(begin, parameters, at, around)
            at = self.source.after(at)
        self.note_member(begin, at, parameters, structure)
        if parameters is not None:
            self.note_signature(begin, parameters)
        return max(at, start) + 1

    def is_requires(self, brace):
        before = brace - 1
        return self.text[before] == ")" and self.text[self.partner[before] - 1] == "requires"

    def braces_without_parameters(self, words, begin, brace, end, around):
        close = self.partner[brace]
        if "namespace" in words or words[:1] == ["extern"] and len(words) == 2:
            self.scope(brace + 1, close, around)
            return close + 1
        if "enum" in words:
            self.enums.update(word for word in words if re.match(r"[A-Za-z_]", word))
            return self.source.find(close, end, {";"}) + 1
        if key := next((word for word in words if word in CLASS_KEYS), None):
            self.structure(key, words, begin, brace, around)
            return self.source.find(close + 1, end, {";"}) + 1
        # A variable that is initialised with braces.
        self.expression(around, brace, close + 1, "init", Declared(words[-1] if words else "", words[:-1], form="{"))
        return None

    def structure(self, key, words, begin, brace, around):
        words = words[words.index(key) + 1:]
        bases = words[words.index(":") + 1:] if ":" in words else []
        names = [word for word in words[:words.index(":")] if word != "final"] if bases else \
            [word for word in words if word != "final"]
        names = [word for word in names if re.match(r"[A-Za-z_]", word)]
        structure = Structure(names[-1] if names else "", key)
        if "<" in words and names:  # a specialisation
            structure.name = words[words.index("<") - 1]
        structure.bases = [word for word in bases if re.match(r"[A-Za-z_]", word)]
        self.structures.setdefault(structure.name, structure)
        self.scope(brace + 1, self.partner[brace], around, structure)

    def note_constructor(self, begin, parameters, structure):
        if not structure:
            return
        if self.text[parameters - 1] == structure.name:
            if self.text[parameters - 2] == "~":
                structure.has_destructor = True
            else:
                structure.has_constructor = True
        if "virtual" in self.text[begin:parameters]:
            structure.hides_members = True

    def note_member(self, begin, end, parameters, structure):
        if parameters is not None:
            self.note_constructor(begin, parameters, structure)
        elif structure and begin < end and self.text[begin] not in ("friend", "using", "static", "static_assert"):
            words = self.text[begin:end]
            stop = next((at for at, word in enumerate(words) if word in ("=", "{", "[", ":")), len(words))
            if stop >= 2 and words[0] not in CLASS_KEYS:
                structure.members.append(words[:stop - 1])
                structure.hides_members = structure.hides_members or structure.hidden

    def variable_or_deleted(self, begin, equals, stop, parameters, around, structure):
        self.note_member(begin, equals, parameters, structure)
        if parameters is None:
            words = self.text[begin:equals]
            declared = Declared(words[-1] if words else "", words[:-1], (equals + 1, stop), "=")
            self.expression(around, equals + 1, stop, "init", declared)
            if around is self.file and not structure:
                self.file.variables.append(declared)

    def member_initializers(self, colon, around):
        """`: a_(1), b_{2}` between a constructor's parameters and its body."""
        at = colon + 1
        while True:
            while not self.source.is_opening(at) and at < len(self.source.tokens):
                behind = self.source.after_angles(at) if self.text[at] == "<" else None
                at = behind or at + 1
            if at >= len(self.source.tokens):
                return at
            self.expression(around, at, self.partner[at] + 1, "init", Declared("", []))
            at = self.partner[at] + 1
            at += self.text[at] == "..."
            if self.text[at] != ",":
                return at
            at += 1

    def alias(self, at, end):
        stop = self.source.find(at, end, {";"})
        if self.text[at] == "using" and self.text[at + 2] == "=":
            self.aliases[self.text[at + 1]] = self.text[at + 3:stop]
        return stop + 1

    def note_signature(self, begin, parameters):
        """What a function returns and takes, for calls in the same file."""
        name = parameters - 1
        first = name
        while self.text[first - 1] == "::" and first - 2 >= begin:
            first -= 2
        close = self.partner[parameters]
        returns = self.text[begin:first]
        if self.text[close + 1] == "->" or self.text[close + 2] == "->":
            arrow = close + 1 + (self.text[close + 1] != "->")
            returns = self.text[arrow + 1:self.source.find(arrow, len(self.source.tokens), {"{", ";"})]
        returns = [word for word in returns if word not in SPECIFIERS]
        self.signatures.setdefault(self.text[name], []).append((returns, self.parameters(parameters)))
        return returns

    def function(self, begin, parameters, brace, around):
        function = Function(around, self.text[parameters - 1], brace)
        function.returns = self.note_signature(begin, parameters)
        if self.text[parameters] == "(" and self.text[parameters - 1] == ")":  # operator()(...)
            parameters = self.source.find(parameters, brace, {"("})
        function.parameters = self.parameters(parameters)
        self.functions.append(function)
        self.block(brace + 1, self.partner[brace], function)
        at = self.partner[brace] + 1
        while self.text[at] == "catch" and self.text[at + 1] == "(":  # of a function that is one try block
            brace = self.partner[at + 1] + 1
            if self.text[brace] != "{":
                break
            self.block(brace + 1, self.partner[brace], function)
            at = self.partner[brace] + 1
        return at

    def parameters(self, opening):
        found, at, end = [], opening + 1, self.partner[opening]
        while at < end:
            stop, begin = at, at
            while stop < end and self.text[stop] != ",":
                behind = self.source.after_angles(stop) if self.text[stop] == "<" else None
                stop = behind or self.source.after(stop)
            words = self.text[begin:self.source.find(begin, stop, {"="})]
            named = len(words) >= 2 and re.match(r"[A-Za-z_]", words[-1]) and words[-2] not in ("::", "const") \
                and words[-1] not in BUILTIN
            found.append(Declared(words[-1] if named else "", words[:-1] if named else words))
            at = stop + 1
        return found

    # -- statements --

    def block(self, at, end, function):
        while at < end:
            at = max(at + 1, self.statement(at, end, function))

    def statement(self, at, end, function):
        """Reads one statement and returns where the next one begins."""
        text, source = self.text, self.source
        word = text[at]
        if word == ";" or word in ("else", "try"):
            return at + 1
        if word == "[" and text[at + 1] == "[":
            return self.partner[at] + 1  # an attribute: of what follows
        if word == "{":
            self.block(at + 1, self.partner[at], function)
            return self.partner[at] + 1
        if word == "do":
            return self.statement(at + 1, end, function)
        if word in ("if", "while", "switch", "for"):
            opening = source.find(at, end, {"("})
            if opening == end:
                return at + 1
            (self.for_head if word == "for" else self.condition)(opening, function)
            return self.partner[opening] + 1
        if word == "catch" and text[at + 1] == "(":
            function.declares = function.declares or text[at + 2] != "..."
            words = text[at + 2:self.partner[at + 1]]
            function.variables.append(Declared(words[-1] if words else "", words[:-1]))
            return self.partner[at + 1] + 1
        if word in ("case", "default"):
            return source.find(at, end, {":"}) + 1
        if source.is_name(at) and text[at + 1] == ":" and word not in ("public", "private", "protected"):
            return at + 2
        if word in CLASS_KEYS | {"enum", "using", "typedef", "template", "namespace"}:
            function.declares = True
            return self.member(at, end, function, None)
        if word == "static_assert":
            return source.find(at, end, {";"}) + 1
        if source.is_name(at) and text[at + 1] == "(" and text[self.partner[at + 1] + 1] == "{":
            self.expression(function, at, self.partner[at + 1] + 1, "statement")  # a macro with a block: SECTION("x") {
            return self.partner[at + 1] + 1
        stop = source.find(at, end, {";"})
        if word in ("return", "co_return", "throw"):
            self.expression(function, at, stop, "return")
        elif not self.declaration(at, stop, function):
            self.expression(function, at, stop, "statement")
        return stop + 1

    def condition(self, opening, function):
        parts = self.source.split(opening + 1, self.partner[opening], ";")
        for number, (start, end) in enumerate(parts):
            if not self.declaration(start, end, function):
                self.expression(function, start, end, "condition" if number == len(parts) - 1 else "statement")

    def for_head(self, opening, function):
        parts = self.source.split(opening + 1, self.partner[opening], ";")
        start, end = parts[-1]
        colon = self.source.find(start, end, {":"})
        if len(parts) < 3 and colon < end:
            function.declares = True
            for part in parts[:-1]:
                self.declaration(*part, function) or self.expression(function, *part, "statement")
            self.declaration(start, colon, function)
            self.expression(function, colon + 1, end, "range")
            return
        for number, (start, end) in enumerate(parts):
            if not self.declaration(start, end, function):
                self.expression(function, start, end, "condition" if number == 1 else "statement")

    def type_end(self, at, end):
        """The token behind the type that stands at `at`; None if none does."""
        text, seen = self.text, False
        while at < end:
            word = text[at]
            if word == "[" and text[at + 1] == "[":
                at = self.partner[at] + 1
            elif word in SPECIFIERS:
                at += 1
            elif word in BUILTIN:
                at, seen = at + 1, True
            elif word == "decltype" and text[at + 1] == "(":
                at, seen = self.partner[at + 1] + 1, True
            elif not seen and (word == "::" or self.source.is_name(at) and word not in NO_TYPE):
                at, seen = self.qualified_name_end(at), True
            else:
                break
        while seen and at < end and text[at] in ("*", "&", "&&", "const", "volatile", "..."):
            at += 1
        return at if seen else None

    def qualified_name_end(self, at):
        at += self.text[at] == "::"
        while True:
            at += 1
            if self.text[at] == "<":
                at = self.source.after_angles(at) or at
            if self.text[at] != "::" or not self.source.is_name(at + 1):
                return at
            at += 1

    def declaration(self, start, end, function):
        """Notes the variables that [start, end) declares; False if it is an expression."""
        at = self.type_end(start, end)
        if at is None or at >= end:
            return False
        type_ = self.text[start:at]
        if self.text[at] == "[" and "auto" in type_:
            close = self.partner[at]
            for name in self.text[at + 1:close:2]:
                function.variables.append(Declared(name, ["auto"]))
            self.expression(function, close + 1, end, "init")
            function.declares = True
            return True
        if not self.is_declarator(at, end):
            return False
        function.declares = True
        while at < end:
            while self.text[at] in ("*", "&"):
                type_ = type_ + [self.text[at]]
                at += 1
            stop = self.declarator_end(at, end)
            form = self.text[at + 1] if at + 1 < stop else ""
            extents = at + 1
            while self.text[extents] == "[" and extents < stop:  # T name[] = {...}
                extents = self.partner[extents] + 1
            array = extents > at + 1
            if array and extents < stop:
                form = self.text[extents]
            declared = Declared(self.text[at], type_ + (["[]"] if array else []), (extents + (form == "="), stop), form)
            function.variables.append(declared)
            self.expression(function, at, stop, "init", declared)
            at = stop + 1
        return True

    def is_declarator(self, at, end):
        return self.source.is_name(at) and self.text[at] not in NO_TYPE and \
            (at + 1 >= end or self.text[at + 1] in ("=", "{", "(", ",", "["))

    def declarator_end(self, at, end):
        while True:
            at = self.source.find(at, end, {","})
            if at >= end:
                return end
            following = at + 1
            while self.text[following] in ("*", "&"):
                following += 1
            if self.is_declarator(following, end):
                return at
            at += 1  # a comma between template arguments

    # -- expressions and lambdas --

    def expression(self, function, start, end, role, declared=None):
        expression = Expression(function, start, end, role, declared)
        at, bodies = start, set()
        while at < end:
            expression.own.append(at)
            word = self.text[at]
            if word in COROUTINE_WORDS and self.text[at - 1] != "operator":
                function.is_coroutine = True
                # (Where there is no function, a macro makes one around its argument.)
                expression.awaits = expression.awaits or word in AWAITS and function is not self.file
            if word == "[" and self.is_introducer(at) and (brace := self.lambda_body(at, end)):
                function.declares = True
                inner = self.read_lambda(at, brace, function)
                expression.lambdas.append(inner)
                bodies.add(brace)
            if at in bodies:
                expression.own.pop()
                at = self.partner[at]
            at += 1
        function.expressions.append(expression)

    def is_introducer(self, at):
        if self.text[at + 1] == "[" or self.text[at - 1] == "[":  # an attribute
            return False
        before = self.source.tokens[at - 1] if at else None
        if before is None or before.kind in ("string", "number", "char"):
            return before is None
        if before.kind == "name":
            return before.text in NO_TYPE - {"delete", "new", "this", "operator"}
        return before.text not in (")", "]")

    def lambda_body(self, introducer, end):
        """The brace that opens the lambda's body; None if this is no lambda."""
        at = self.partner[introducer] + 1
        if self.text[at] == "<":
            at = self.source.after_angles(at) or at
        while at < end:
            if self.text[at] == "{":
                return at
            if self.text[at] in (";", ",", ")", "=") and self.source.tokens[at].kind == "punct":
                return None
            behind = self.source.after_angles(at) if self.text[at] == "<" else None
            at = behind or self.source.after(at)
        return None

    def read_lambda(self, introducer, brace, around):
        inner = Function(around, "", brace, introducer)
        close = self.partner[introducer]
        inner.captures = [self.capture(start, end) for start, end in self.source.split(introducer + 1, close, ",")
                          if start < end]
        at = close + 1
        if self.text[at] == "<":
            at = self.source.after_angles(at) or at
        if self.text[at] == "(":
            inner.parameters = self.parameters(at)
            at = self.partner[at] + 1
        arrow = self.source.find(at, brace, {"->"})
        inner.returns = self.text[arrow + 1:brace]
        self.functions.append(inner)
        self.block(brace + 1, self.partner[brace], inner)
        return inner

    def capture(self, start, end):
        words = self.text[start:end]
        by_reference = words[0] == "&"
        init = self.source.find(start + 1, end, {"=", "{", "("})
        if init < end:
            named = [word for word in self.text[start:init] if re.match(r"[A-Za-z_]", word)]
            if self.text[init] == "=":
                init += 1
            return Capture(named[0] if named else "", by_reference, (init, end))
        name = words[-1] if words[-1] != "..." else words[-2]
        return Capture("*this" if words[0] == "*" else name, by_reference)


# --- types and values, as far as they can be seen --------------------------------------------------

TRIVIAL, CLASS, LVALUE, XVALUE, TEXT, NULL, THROW, UNKNOWN = \
    "trivial", "class", "lvalue", "xvalue", "text", "null", "throw", "unknown"


class Knowledge:
    """What the file and the headers beside it declare. The file's own word is the first."""

    def __init__(self, parsers):
        self.structures, self.enums, self.aliases, self.signatures = {}, set(), {}, {}
        for parser in parsers:
            for name, structure in parser.structures.items():
                self.structures.setdefault(name, structure)
            for name, alias in parser.aliases.items():
                self.aliases.setdefault(name, alias)
            for name, signatures in parser.signatures.items():
                self.signatures.setdefault(name, signatures)
            self.enums |= parser.enums

    def is_trivial(self, type_, depth=0):
        """True or False; None if it cannot be known."""
        words = [word for word in type_ if word not in SPECIFIERS and word not in ("&", "&&", "struct", "[]")]
        if not words or "..." in words or depth > 8:
            return None
        name, arguments, behind = base_name(words)
        if "*" in behind:
            return True
        if name in self.aliases:
            return self.is_trivial(self.aliases[name], depth + 1)
        if name in self.enums:
            return True
        if name in self.structures:
            return self.structure_is_trivial(self.structures[name], depth + 1)
        if name in TRIVIAL_TYPES or "chrono" in words:
            return True
        if name in WRAPPERS and arguments:
            numbers_aside = [each for each in arguments if not each[:1] or not each[0][0].isdigit()]
            return all(self.is_trivial(each, depth + 1) for each in numbers_aside) or None
        if name in STD_CLASSES | CONTAINERS | WEFT_CLASSES | WEFT_AGGREGATES:
            return False
        return None

    def structure_is_trivial(self, structure, depth):
        if structure.has_destructor:
            return False
        answers = [self.is_trivial(member, depth) for member in structure.members]
        answers += [self.is_trivial([base], depth) for base in structure.bases
                    if base not in ("public", "private", "protected", "std", "weft")]
        if all(answers):
            return True
        return False if False in answers else None

    def braces(self, type_, elements):
        """What braces behind a type are: 'fine', 'list', 'aggregate' or 'unknown'."""
        if not type_:
            return "unknown"
        if type_[-1] == "[]":
            return "fine" if self.is_trivial(type_[:-1]) else "aggregate"
        if self.is_trivial(type_):
            return "fine"
        words = [word for word in type_ if word not in SPECIFIERS and word not in ("&", "&&")]
        name, _, _ = base_name(words)
        if name in self.aliases:
            return self.braces(self.aliases[name], elements)
        if name in self.structures:
            structure = self.structures[name]
            return "aggregate" if structure.is_aggregate else "fine"
        if name in CONTAINERS:
            return "list" if elements else "fine"
        if name == "array":
            return "aggregate"
        if name in WEFT_AGGREGATES:
            return "aggregate"
        if name in STD_CLASSES | WRAPPERS | WEFT_CLASSES or words[:2] == ["weft", "::"]:
            return "fine"
        return "unknown"

    def returned(self, name):
        """What the functions of that name return; None if none is known, or they differ."""
        found = [returns for returns, _ in self.signatures.get(name, [])]
        return found[0] if found and all(each == found[0] for each in found) else None

    def awaited(self, type_):
        """The T of Coro<T> and its like; what awaiting it gives."""
        _, arguments, _ = base_name(type_ or [])
        return arguments[0] if arguments else None


def base_name(words):
    """The last name of a qualified type, its template arguments as lists of words, and what stands behind."""
    at, name = 0, ""
    while at < len(words) and (words[at] == "::" or re.match(r"[A-Za-z_]", words[at])):
        name = words[at] if words[at] != "::" else name
        at += 1
        if at < len(words) and words[at] == "<":
            arguments, behind = template_arguments(words, at)
            if behind < len(words) and words[behind] == "::":
                at = behind
                continue
            return name, arguments, words[behind:]
    return name, [], words[at:]


def template_arguments(words, at):
    depth, arguments, current = 0, [], []
    for index in range(at, len(words)):
        word = words[index]
        depth += (word == "<") - (word == ">")
        if depth == 0:
            return arguments + [current] * bool(current), index + 1
        if depth == 1 and word == ",":
            arguments.append(current)
            current = []
        elif index > at:
            current.append(word)
    return arguments, len(words)


class Values:
    """Guesses what kind of value an expression gives."""

    def __init__(self, parser, knowledge):
        self.parser, self.source, self.knowledge = parser, parser.source, knowledge
        self.text, self.partner = parser.text, parser.partner

    def kind(self, start, end, function):
        text, tokens = self.text, self.source.tokens
        while end - start >= 2 and text[start] == "(" and self.partner.get(start) == end - 1:
            start, end = start + 1, end - 1
        if start >= end:
            return UNKNOWN
        if text[start] == "throw":
            return THROW
        question = self.source.find(start, end, {"?"})
        if question < end:
            first, second = arms(self.source, question, end)
            return self.together(self.kind(*first, function), self.kind(*second, function))
        if end - start == 1 or tokens[start].kind == "string" and all(t.kind == "string" for t in tokens[start:end]):
            return self.single(start, function)
        if self.source.find(start, end, {"==", "!=", "<=", ">=", "&&", "||"}) < end:
            return TRIVIAL
        if text[start] in ("!", "&", "sizeof", "new"):
            return TRIVIAL
        if text[start] in ("-", "+", "~") and tokens[start + 1].kind == "number":
            return TRIVIAL
        if text[start] == "co_await":
            return self.awaited_kind(start + 1, end, function)
        if any(tokens[at].kind in ("number", "char") for at in range(start, end) if self.is_operand(at, start, end)):
            return TRIVIAL
        if text[start] == "[" and self.parser.is_introducer(start):
            return UNKNOWN
        return self.path_kind(start, end, function)

    def single(self, at, function):
        token, text = self.source.tokens[at], self.text[at]
        if token.kind == "number" or token.kind == "char" or text in ("true", "false", "this"):
            return TRIVIAL
        if token.kind == "string":
            suffix = text.rsplit('"', 1)[1]
            return TEXT if not suffix else TRIVIAL if suffix == "sv" else CLASS
        if text == "nullptr":
            return NULL
        if text in ("nullopt",):
            return CLASS
        return TRIVIAL if self.variable_is_trivial(text, function) else LVALUE

    def is_operand(self, at, start, end):
        """Does the token stand in no brackets, beside an arithmetic operator?"""
        if at != start and self.text[at - 1] in ("+", "-", "*", "/", "%", "<<"):
            return self.outside_brackets(at, start)
        return at == start and self.text[at + 1] in ("+", "-", "*", "/", "%", "<<") and at + 1 < end

    def outside_brackets(self, at, start):
        index = start
        while index < at:
            index = self.source.after(index)
        return index == at

    def variable_is_trivial(self, name, function):
        owner, declared = function.find(name) if function else (None, None)
        return declared is not None and self.declared_is_trivial(declared, owner)

    def declared_is_trivial(self, declared, owner):
        if "auto" in declared.type and "*" not in declared.type:
            if not declared.init or declared.init[0] >= declared.init[1]:
                return False
            return self.trivial_value(*declared.init, owner)
        return bool(self.knowledge.is_trivial(declared.type))

    def trivial_value(self, start, end, function):
        """A value that a closure may hold by value."""
        if self.text[start] in ("{", "(") and self.partner[start] == end - 1:
            start, end = start + 1, end - 1
            if start == end:
                return True
        if self.text[start] == "[" and self.parser.is_introducer(start):
            inner = next((each for each in self.parser.functions if each.introducer == start), None)
            return inner is not None and not self.held(inner)
        return self.kind(start, end, function) in (TRIVIAL, TEXT, NULL)

    def held(self, inner):
        """The captures of a lambda that may have a destructor."""
        return [name for capture in inner.captures if (name := self.held_by(capture, inner))]

    def held_by(self, capture, inner):
        if capture.by_reference or capture.name == "this" or capture.name == "&":
            return None
        if capture.name == "=":
            return self.held_by_default(inner)
        if capture.init:
            return None if self.trivial_value(*capture.init, inner.parent) else capture.name
        return None if self.variable_is_trivial(capture.name, inner.parent) else capture.name

    def held_by_default(self, inner):
        """The first local variable with a destructor that a lambda with [=] uses."""
        named = {capture.name for capture in inner.captures}
        for at in range(inner.opening + 1, self.partner[inner.opening]):
            name = self.text[at]
            if not self.source.is_name(at) or self.text[at - 1] in (".", "->", "::") or name in named:
                continue
            if inner.own_variable(name):
                continue
            owner, declared = inner.parent.find(name)
            if declared and owner.opening is not None and not self.declared_is_trivial(declared, owner):
                return name
        return None

    def awaited_kind(self, start, end, function):
        name, _ = self.called(start, end)
        awaited = self.knowledge.awaited(self.knowledge.returned(name)) if name else None
        return self.kind_of_type(awaited) if awaited else UNKNOWN

    def kind_of_type(self, type_):
        if "&" in type_:
            return LVALUE
        known = self.knowledge.is_trivial(type_)
        return TRIVIAL if known else CLASS if known is False else UNKNOWN

    def called(self, start, end):
        """(name, where it stands) of the function whose call ends the range, else ('', None)."""
        last = end - 1
        if self.text[last] not in (")", "}") or last not in self.partner:
            return "", None
        before = self.partner[last] - 1
        if before >= start and self.text[before] == ">":
            before = self.angles_start(before, start) - 1
        return (self.text[before], before) if before >= start and self.source.is_name(before) else ("", None)

    def angles_start(self, at, start):
        depth = 0
        while at > start:
            depth += (self.text[at] == ">") - (self.text[at] == "<")
            if depth == 0:
                return at
            at -= 1
        return at

    def path_kind(self, start, end, function):
        """Of names, members and calls: `a.b`, `f(x)`, `T(x)`, `std::move(x)`."""
        name, at = self.called(start, end)
        if not name:
            plain = all(token.kind == "name" or token.text in ("::", ".", "->", "*", "[", "]")
                        for token in self.source.tokens[start:end])
            if plain and self.text[end - 1] == "nullopt":
                return CLASS
            return LVALUE if plain else UNKNOWN
        opening = self.partner[end - 1]
        type_ = self.text[start:opening]
        if name in ("static_cast", "reinterpret_cast", "const_cast"):
            return self.kind_of_type(self.text[at + 2:opening - 1])
        if name in ("move", "forward"):
            inner = self.kind(opening + 1, end - 1, function)
            return TRIVIAL if inner == TRIVIAL else XVALUE
        if self.text[start] != "(" and "." not in type_ and "->" not in type_:
            known = self.kind_of_type(type_)
            if known != UNKNOWN:
                return known
            if name in MAKERS:
                return CLASS
        if name in TRIVIAL_CALLS:
            return TRIVIAL
        returned = self.knowledge.returned(name)
        return self.kind_of_type(returned) if returned else UNKNOWN

    def together(self, first, second):
        """The kind of `c ? first : second`."""
        if first == THROW or second == THROW:
            return second if first == THROW else first
        if TRIVIAL in (first, second):
            return TRIVIAL
        if first == second and first in (LVALUE, XVALUE, TEXT, NULL):
            return first
        if NULL in (first, second) and UNKNOWN in (first, second):
            return TRIVIAL  # most likely a pointer
        return CLASS if CLASS in (first, second) or first != second else UNKNOWN


def arms(source, question, end):
    """The two ranges behind a `?`: ((start, end), (start, end))."""
    depth, at = 0, question + 1
    while at < end:
        if source.text[at] == "?":
            depth += 1
        elif source.text[at] == ":":
            if depth == 0:
                break
            depth -= 1
        at = source.after(at)
    return (question + 1, at), (at + 1, source.find(at + 1, end, {",", ";", ")", "]", "}"}))


# --- the rules -----------------------------------------------------------------------------------
# Each is a generator of (kind, index of the token, what) for one full expression.


class Rules:
    def __init__(self, parser, knowledge):
        self.parser, self.source, self.knowledge = parser, parser.source, knowledge
        self.text, self.partner = parser.text, parser.partner
        self.values = Values(parser, knowledge)

    def findings(self):
        for function in self.parser.functions:
            for expression in function.expressions:
                if expression.awaits:
                    yield from self.conditionals(expression)
                    yield from self.closures(expression)
                    yield from self.braces(expression)
                    yield from self.parenthesised_aggregates(expression)
                    yield from self.new_expressions(expression)
                    yield from self.conditions(expression)
                    yield from self.captured_awaiters(expression)
                    yield from self.assertions(expression)
                yield from self.called_in_place(expression)

    def conditionals(self, expression):
        for at in expression.own:
            if self.text[at] != "?" or self.source.tokens[at].kind != "punct":
                continue
            first, second = arms(self.source, at, expression.end)
            kinds = [self.values.kind(*arm, expression.function) for arm in (first, second)]
            kind = self.values.together(*kinds)
            if kind == TRIVIAL and self.is_awaited(at):
                kind = CLASS
            if kind == CLASS or kind == UNKNOWN and not self.gives_what_is_trivial(expression, at):
                yield "conditional", at, ""

    def is_awaited(self, question):
        """Is it `co_await (c ? a : b)`? What can be awaited is no number."""
        at = question
        while not self.source.is_opening(at):
            at = self.partner[at] - 1 if self.text[at] in (")", "]", "}") else at - 1
            if at < 1:
                return False
        return self.text[at] == "(" and self.text[at - 1] == "co_await"

    def gives_what_is_trivial(self, expression, question):
        """Is the whole expression this `?:`, and is what becomes of it a number or the like?"""
        start = question
        while start > expression.start and not self.source.is_opening(start - 1) and \
                self.text[start - 1] not in (",", "=", "return", "co_return"):
            start = self.partner[start - 1] if self.text[start - 1] in (")", "]", "}") else start - 1
        before = self.text[start - 1]
        if expression.role == "condition" and start == expression.start:
            return True
        if expression.role == "init" and before == "=" and expression.declared:
            return bool(self.knowledge.is_trivial(expression.declared.type))
        if expression.role == "return" and before == "co_return":
            awaited = self.knowledge.awaited(expression.function.returns)
            return awaited is not None and bool(self.knowledge.is_trivial(awaited))
        return False

    def closures(self, expression):
        for inner in expression.lambdas:
            if held := self.values.held(inner):
                yield "closure", inner.introducer, "a copy of the object" if held[0] == "*this" else held[0]

    def braces(self, expression):
        behind = -1
        for at in expression.own:
            if self.text[at] != "{" or at < behind:
                continue
            verdict, what = self.verdict_on_braces(expression, at)
            if verdict != "fine":
                behind = self.partner[at]
                yield ("list", at, "") if verdict == "list" else ("aggregate", at, what)

    def verdict_on_braces(self, expression, at):
        elements = self.partner[at] > at + 1
        declared = expression.declared
        if declared and declared.form == "{" and at == expression.start + 1 or \
                declared and declared.form == "=" and declared.init[0] == at or \
                declared and "[]" in declared.type and at == declared.init[0]:
            verdict = self.knowledge.braces(declared.type, elements)
            # T x{co_await y()} with an unknown T is most often a constructor.
            return "fine" if verdict == "unknown" and declared.form == "{" else verdict, f"{declared.name} = {{...}}"
        type_ = self.type_before(at)
        if type_ == ["new"]:
            return "fine", ""
        if not type_:
            return self.verdict_on_untyped(expression, at, elements)
        verdict = self.knowledge.braces(type_, elements)
        if base_name(type_)[0] == "array" and self.elements_are_trivial(at, expression.function):
            verdict = "fine"
        return verdict, f"{''.join(type_)}{{...}}"

    def elements_are_trivial(self, brace, function):
        parts = self.source.split(brace + 1, self.partner[brace], ",")
        return all(self.values.kind(start, end, function) == TRIVIAL for start, end in parts)

    def type_before(self, brace):
        """The words of the type that is written before a brace; ['new'] if `new` stands before it."""
        at = brace
        if self.text[at - 1] == "]":
            at = self.partner[at - 1]
        if self.text[at - 1] == ">":
            at = self.values.angles_start(at - 1, 0)
        if not self.source.is_name(at - 1) or self.text[at - 1] in NO_TYPE:
            return []
        at -= 1
        while self.text[at - 1] == "::":
            at -= 1
            if self.text[at - 1] == ">":
                at = self.values.angles_start(at - 1, 0)
            if self.source.is_name(at - 1) and self.text[at - 1] not in NO_TYPE:
                at -= 1
        if self.text[at - 1] == "new":
            return ["new"]
        return self.text[at:brace]

    def verdict_on_untyped(self, expression, at, elements):
        parameter = self.parameter_type(at)
        if parameter:
            verdict = self.knowledge.braces(parameter, elements)
            return verdict, "{...} for " + " ".join(parameter)
        if self.is_buffer(at, expression.function) or self.is_for_weft(at, elements):
            return "fine", ""
        before = self.text[at - 1]
        if before == "," and self.text[at - 4:at - 2] == ["exchange", "("] and not elements:
            _, variable = expression.function.find(self.text[at - 2])
            verdict = self.knowledge.braces(variable.type, False) if variable else "fine"
            return verdict if verdict == "aggregate" else "fine", "{}"
        if before == "co_return":
            awaited = self.knowledge.awaited(expression.function.returns)
            return (self.knowledge.braces(awaited, elements), "co_return {...}") if awaited else ("unknown", "{...}")
        if before == "=" and self.source.is_name(at - 2) and not expression.declared:
            _, variable = expression.function.find(self.text[at - 2])
            if variable:
                return self.knowledge.braces(variable.type, elements), f"{self.text[at - 2]} = {{...}}"
        return "unknown", "a braced list"

    def is_buffer(self, brace, function):
        """`{&byte, 1}` or `{text.data(), text.size()}`: a pointer and a number make a buffer."""
        parts = self.source.split(brace + 1, self.partner[brace], ",")
        return len(parts) == 2 and self.is_pointer(*parts[0], function) \
            and self.values.kind(*parts[1], function) == TRIVIAL

    def is_pointer(self, start, end, function):
        if self.text[start] == "&" or self.values.called(start, end)[0] in ("data", "c_str"):
            return True
        _, variable = function.find(self.text[start])
        return end == start + 1 and variable is not None and ("[]" in variable.type or "*" in variable.type)

    def parameter_type(self, at):
        """The type of the parameter that the braces at `at` are for, if the function is known."""
        callee, number = self.callee(at)
        if callee is None or self.text[callee] in self.knowledge.structures or self.text[callee - 1] in (".", "->"):
            return None
        name = self.text[callee]
        types = [parameters[number].type for _, parameters in self.knowledge.signatures.get(name, [])
                 if number < len(parameters)]
        return types[0] if types and all(each == types[0] for each in types) else None

    def callee(self, at):
        """(where its name stands, the number of the argument) of the function that `at` is an argument of."""
        number, index = 0, at - 1
        while index > 0 and not self.source.is_opening(index):
            number += self.text[index] == ","
            index = self.partner[index] - 1 if self.text[index] in (")", "]", "}") else index - 1
        return (index - 1, number) if self.text[index] == "(" and self.source.is_name(index - 1) else (None, 0)

    def is_for_weft(self, at, elements):
        """An argument of a function of weft's: what these take by default has constructors."""
        callee, _ = self.callee(at)
        if callee is None or self.text[callee - 1] != "::" or self.text[callee - 2] not in ("weft", "io"):
            return False
        return not elements or self.text[callee] in WEFT_TAKES_A_LIST

    def parenthesised_aggregates(self, expression):
        """`Point(1, 2)`, which C++20 allows for aggregates."""
        for at in expression.own:
            structure = self.knowledge.structures.get(self.text[at]) if self.source.is_name(at) else None
            if not structure or self.text[at + 1] != "(" or self.text[at - 1] in (".", "->", "new"):
                continue
            several = self.source.find(at + 2, self.partner[at + 1], {","}) < self.partner[at + 1]
            if several and structure.is_aggregate and not self.knowledge.is_trivial([structure.name]):
                yield "aggregate", at, f"{structure.name}(...)"

    def new_expressions(self, expression):
        for at in expression.own:
            if self.text[at] != "new" or self.text[at - 1] == "operator":
                continue
            end = self.parser.type_end(at + 1 if self.text[at + 1] != "(" else self.partner[at + 1] + 1, expression.end)
            if end is None or self.text[end] not in ("(", "{") or self.knowledge.is_trivial(self.text[at + 1:end]):
                continue
            parts = self.source.split(end + 1, self.partner[end], ",")
            kinds = [self.values.kind(start, stop, expression.function) for start, stop in parts if start < stop]
            if any(kind in (CLASS, UNKNOWN) for kind in kinds):
                yield "new", at, "".join(self.text[at + 1:end])

    def conditions(self, expression):
        function = expression.function
        if expression.role == "condition" and not function.declares and not function.is_lambda:
            awaits = next(at for at in expression.own if self.text[at] in AWAITS)
            yield "condition", awaits, ""

    def called_in_place(self, expression):
        for inner in expression.lambdas:
            call = self.partner[inner.opening] + 1
            if not inner.is_coroutine or not inner.captures or self.text[call] != "(":
                continue
            if not self.outlived(expression, inner.introducer):
                yield "in-place", inner.introducer, ""

    def outlived(self, expression, at):
        """Does the expression wait for the end of the coroutine? Then the closure lives as long."""
        index = at - 1
        while index >= expression.start:
            text = self.text[index]
            if text == "co_await":
                return True
            if text == "(" and self.called_name(index) in RUNS_TO_THE_END:
                return True
            if text in (")", "]", "}") and index in self.partner:
                index = self.partner[index]
            index -= 1
        return False

    def called_name(self, opening):
        at = opening - 1
        if self.text[at] == ">":
            at = self.values.angles_start(at, 0) - 1
        return self.text[at]

    def captured_awaiters(self, expression):
        function = expression.function
        if not function.is_lambda or not function.captures:
            return
        for at in expression.own:
            if self.text[at] != "co_await":
                continue
            name = at + 1
            while self.text[name] == "(":
                name += 1
            if not self.source.is_name(name) or self.text[name + 1] not in (";", ")", ",", ""):
                continue
            if function.own_variable(self.text[name]) or not self.captures(function, self.text[name]):
                continue
            owner, declared = function.find(self.text[name])
            if declared and self.is_awaiter(declared):
                yield "awaiter", at, self.text[name]

    def captures(self, function, name):
        return any(capture.name in (name, "&", "=") for capture in function.captures)

    def is_awaiter(self, declared):
        """Initialised with a call that gives neither a task nor a future."""
        if "auto" not in declared.type or not declared.init:
            return declared.type and base_name([w for w in declared.type if w not in SPECIFIERS])[0].endswith("Awaiter")
        name, _ = self.values.called(*declared.init)
        if not name or name in GIVES_HANDLE or name in HANDLES or name in ("move", "forward"):
            return False
        returned = self.knowledge.returned(name)
        return not (returned and base_name(returned)[0] in HANDLES)

    def assertions(self, expression):
        for at in expression.own:
            if not self.source.is_name(at) or self.text[at + 1] != "(" or not ASSERTIONS.match(self.text[at]):
                continue
            inside = range(at + 1, self.partner[at + 1])
            if awaits := next((each for each in expression.own if each in inside and self.text[each] in AWAITS), None):
                yield "macro", awaits, ""


# --- files ---------------------------------------------------------------------------------------


class Linter:
    def __init__(self, include_folders):
        self.include_folders = include_folders
        self.parsed = {}  # path -> Parser or Unreadable
        self.found = {}   # (folder, name) -> path or None

    def check(self, path):
        """[(line, column, kind, message)] of a file."""
        if path.suffix != ".md":
            return self.check_parsed(self.parse(path.resolve()), path.parent)
        return sorted({each for block in code_blocks(read_text(path)) for each in self.check_text(block, path.parent)})

    def check_text(self, text, folder):
        return self.check_parsed(parsed(text), folder)

    def check_parsed(self, parser, folder):
        if isinstance(parser, Unreadable):
            return [(parser.token.line, parser.token.column, "unreadable", MESSAGES["unreadable"])]
        source = parser.source
        knowledge = Knowledge([parser] + self.headers(source.includes, folder.resolve(), set()))
        found = set()
        for kind, at, what in Rules(parser, knowledge).findings():
            token = source.tokens[at]
            found.add((token.line, token.column, kind, MESSAGES[kind].format(what=what)))
        return sorted(list(silenced(found, source)) + list(notes(source)))

    def headers(self, names, folder, seen):
        """What is known from the headers of these names, and from those that they include. (An unreadable one is
        reported where it is checked itself.)"""
        parsers = []
        for name in names:
            path = self.find(name, folder)
            if path is None or path in seen:
                continue
            seen.add(path)
            parser = self.parse(path)
            if not isinstance(parser, Unreadable):
                parsers += [parser] + self.headers(parser.source.includes, path.parent, seen)
        return parsers

    def find(self, name, folder):
        """The header of that name, as seen from a file in `folder`."""
        key = folder, name
        if key not in self.found:
            each = next((each / name for each in [folder, *self.include_folders] if (each / name).is_file()), None)
            self.found[key] = each and each.resolve()
        return self.found[key]

    def parse(self, path):
        if path not in self.parsed:
            self.parsed[path] = parsed(read_text(path))
        return self.parsed[path]


def read_text(path):
    return path.read_text(encoding="utf-8", errors="replace")


def parsed(text):
    """What stands in a source, or why that cannot be told."""
    try:
        return Parser(Source(text))
    except Unreadable as problem:
        return problem


def silenced(found, source):
    by_line = {note[1]: note for note in source.notes.values()}
    for finding in found:
        note = by_line.get(finding[0])
        if note and note[0]:
            note[2] = True
        else:
            yield finding


def notes(source):
    """A comment must give a reason, and silence something."""
    for line, (has_reason, _, used) in source.notes.items():
        if not has_reason:
            yield line, 1, "no-reason", MESSAGES["no-reason"]
        elif not used:
            yield line, 1, "unused", MESSAGES["unused"]


def code_blocks(text):
    """The C++ blocks of a Markdown text, each with empty lines before it, so that lines keep their numbers."""
    for block in re.finditer(r"^```(?:cpp|c\+\+)[^\n]*\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
        yield "\n" * text.count("\n", 0, block.start(1)) + block.group(1)


def sources(paths, excluded):
    for path in paths:
        if path.is_dir():
            yield from sorted(each for each in path.rglob("*") if each.suffix in SUFFIXES and each.is_file()
                              and not any(each.is_relative_to(folder) for folder in excluded))
        else:
            yield path


def main(arguments=None):
    parser = argparse.ArgumentParser(
        prog="weft-lint", formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Finds coroutine code that g++ 12 compiles wrongly, and captures that die before their coroutine.",
        epilog="A line is silenced by a comment in it or on the line above it: // weft-lint: fine, because REASON\n"
               "Exit status: 0 nothing found, 1 something found, 2 wrong usage.")
    parser.add_argument("files", metavar="FILE", nargs="+", type=pathlib.Path,
                        help="a C++ source, a Markdown document with C++ in it, or a folder of these")
    parser.add_argument("-I", dest="include", metavar="FOLDER", action="append", default=[], type=pathlib.Path,
                        help="where headers that are included by \"name\" are looked for, beside the file's own folder")
    parser.add_argument("--exclude", metavar="FOLDER", action="append", default=[], type=pathlib.Path,
                        help="a file or folder that is left out")
    options = parser.parse_args(arguments)
    for path in options.files:
        if not path.exists():
            parser.error(f"there is no {path}")

    linter, files, problems = Linter(options.include), 0, 0
    for path in sources(options.files, options.exclude):
        files += 1
        for line, column, kind, message in linter.check(path):
            print(f"{path}:{line}:{column}: {message} [{kind}]")
            problems += 1
    print(f"weft-lint: {files} files, {problems} problems", file=sys.stderr)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
