// SPDX-License-Identifier: MIT
// A header of the user's that names weft's types and pays for nothing else.
#pragma once

#include <weft/fwd.hpp>

weft::Coro<int> answer();
weft::Coro<> greet(weft::Stream& stream, weft::PriorityQueue<int>* numbers);
