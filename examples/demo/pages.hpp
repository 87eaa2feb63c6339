// SPDX-License-Identifier: MIT
// What the service serves: what the client therefore expects.
#pragma once

#include <fmt/format.h>

#include <chrono>
#include <string>

namespace demo {

inline constexpr int page_count = 1000;
/// How long the service works on each page: it asks a database, say.
inline constexpr std::chrono::milliseconds work_per_page{100};

inline std::string page_path(int page) { return fmt::format("/pages/{}", page); }
inline std::string page_text(int page) { return fmt::format("This is page {}.\n", page); }

}  // namespace demo
