// SPDX-License-Identifier: BSL-1.0
// process_pool, complete: with the engine behind it, unless that is compiled separately. For who makes a pool; a file
// that only calls one compiles faster with <coproc/run_in_executor.hpp> alone. A public header: may include everything.
#pragma once

#include <coproc/pool.hpp>

#if !defined(COPROC_SEPARATE_COMPILATION)
#include <coproc/process_pool.ipp>
#endif
