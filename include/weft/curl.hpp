// SPDX-License-Identifier: MIT
// Any URL that libcurl knows, with uploads, progress and bodies that are read as they come.
#pragma once

#include "curl/client.hpp"
#include "curl/error.hpp"
#include "curl/request.hpp"
#include "curl/response.hpp"
