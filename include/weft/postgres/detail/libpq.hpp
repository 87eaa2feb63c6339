// SPDX-License-Identifier: MIT
// libpq's header, wherever the system keeps it.
#pragma once

#if __has_include(<libpq-fe.h>)
#include <libpq-fe.h>
#else
#include <postgresql/libpq-fe.h>
#endif
