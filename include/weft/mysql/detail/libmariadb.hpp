// SPDX-License-Identifier: MIT
// libmariadb's header, wherever the system keeps it.
#pragma once

#if __has_include(<mysql.h>)
#include <mysql.h>
#else
#include <mariadb/mysql.h>
#endif
