// SPDX-License-Identifier: BSL-1.0
// What a library with hidden symbols shows of itself to shared_library.test.cpp: what its code sees of coproc.
#pragma once

#include <coproc/error.hpp>
#include <coproc/os/fork_generation.hpp>
#include <coproc/process_pool.hpp>
#include <coproc/task.hpp>

#include <cstdint>
#include <optional>

namespace coproc::testing {

/// What an initializer makes. A library finds it only if it sees the same type.
struct [[gnu::visibility("default")]] expensive {
  int value;
};

struct library_functions {
  // ---- tasks; `begun`: where a std::atomic<bool> is, in shared memory
  std::optional<unsigned> (*worker)();
  bool (*wait_until_stopped)(std::uintptr_t begun); ///< in a worker, or on a thread of the front end
  bool (*stop_when_asked)(std::uintptr_t begun);    ///< ends by throw_if_stopped()
  int (*value_of_state)();
  void (*fail)(errc);

  // ---- in the front end
  net::error_code (*code)(errc);
  bool (*is)(const net::error_code&, errc);
  bool (*is_aborted)(const net::error_code&);
  bool (*is_own_process)(const os::process_mark&);
  task<unsigned> (*submit)(process_pool&); ///< a call that is made in there, of a function that is hidden
  unsigned (*use_pool_of_its_own)();       ///< the worker that it used
};

/// extern "C", named "hidden_library".
using library_entry = const library_functions*();

} // namespace coproc::testing
