// SPDX-License-Identifier: MIT
// A file without a coroutine, which sees declarations alone.
#include "answer.hpp"

using Answer = weft::Coro<int> (*)();

Answer choose_answer();

Answer choose_answer() { return &answer; }
