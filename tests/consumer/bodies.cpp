// SPDX-License-Identifier: MIT
// The one file of a user's program that has the bodies when it is compiled with
// WEFT_SEPARATE_COMPILATION.
#include <weft/src.hpp>
