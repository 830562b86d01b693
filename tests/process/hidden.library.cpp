// SPDX-License-Identifier: BSL-1.0
// A library that hides its symbols, as many do, with tasks and front-end code of its own. A MODULE named hidden.so,
// header-only; hidden_compiled.so is the same without the library's source file, which it finds in the program.
#include "process/hidden_library.hpp"

#include <coproc/run_in_executor.hpp>
#include <coproc/semaphore.hpp>
#include <coproc/this_worker.hpp>

#include <atomic>
#include <chrono>

namespace {

namespace net = coproc::net;
using coproc::errc;
using coproc::testing::library_functions;

std::optional<unsigned> worker() { return coproc::this_worker::id(); }

/// Says that it has begun, and polls until done() or until it is too late for that.
template <class Predicate>
bool poll(std::uintptr_t begun, Predicate done) {
  *reinterpret_cast<std::atomic<bool>*>(begun) = true;
  for (const auto limit = std::chrono::steady_clock::now() + std::chrono::seconds(30); !done();)
    if (std::chrono::steady_clock::now() > limit) return false;
  return true;
}

bool wait_until_stopped(std::uintptr_t begun) {
  return poll(begun, [] { return coproc::this_worker::stop_requested(); });
}

bool stop_when_asked(std::uintptr_t begun) {
  return poll(begun, [] {
    coproc::this_worker::throw_if_stopped();
    return false;
  });
}

int value_of_state() { return coproc::this_worker::state<coproc::testing::expensive>().value; }

void fail(errc e) { throw coproc::pool_error(make_error_code(e), "on purpose"); }

net::error_code code(errc e) { return e; }
bool is(const net::error_code& c, errc e) {
  return c == e && e == c && !(c != e) && c == make_error_code(e) && c.category() == coproc::error_category();
}
bool is_aborted(const net::error_code& c) { return c == net::error::operation_aborted; }
bool is_own_process(const coproc::os::process_mark& mark) { return mark.is_own(); }

coproc::task<unsigned> submit(coproc::process_pool& pool) {
  return pool.submit([] { return coproc::this_worker::id().value(); });
}

// All that has variables: check_hidden_symbols.sh looks for them.
unsigned use_pool_of_its_own() {
  net::io_context io(1);
  coproc::process_pool pool(io, {.max_workers = 1});
  coproc::semaphore one(io, 1);
  unsigned used = ~0u;
  const auto use = [&]() -> net::awaitable<void> {
    const auto permit = co_await one.acquire();
    used = (co_await coproc::run_in_executor(pool, worker)).value();
  };
  net::co_spawn(io, use(), net::detached);
  io.run();
  return used;
}

constexpr library_functions functions{
    worker,     wait_until_stopped, stop_when_asked, value_of_state,     fail, code, is,
    is_aborted, is_own_process,     submit,          use_pool_of_its_own};

} // namespace

extern "C" [[gnu::visibility("default")]] const library_functions* hidden_library() { return &functions; }
