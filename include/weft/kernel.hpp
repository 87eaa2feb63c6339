// SPDX-License-Identifier: MIT
// How an operation gets to the kernel and back: the operation, the narrow door, and a side for each
// backend.
#pragma once

#include "kernel/backend.hpp"
#include "kernel/buffer_pool.hpp"
#include "kernel/choose.hpp"
#include "kernel/file_support.hpp"
#include "kernel/forked.hpp"
#include "kernel/operation.hpp"
