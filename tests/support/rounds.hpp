// SPDX-License-Identifier: MIT
// How often something random is done.
#pragma once

#include <weft/base/config.hpp>

namespace support {

/// A fifth under AddressSanitizer, where each time takes ten times as long. A use of memory that is
/// gone shows in the first hundreds; all of it is done in the builds without.
constexpr int rounds(int plain) { return WEFT_ASAN ? plain / 5 : plain; }

}  // namespace support
