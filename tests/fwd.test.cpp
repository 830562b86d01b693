// SPDX-License-Identifier: BSL-1.0
// A header of the user that includes <coproc/fwd.hpp> alone, then the definitions: every name is declared as what it
// is.
#include <coproc/fwd.hpp>

class money {
public:
  explicit money(long cents) : cents_(cents) {}
  long cents() const { return cents_; }

private:
  long cents_;
};

template <>
struct coproc::codec<money> {
  static void encode(writer& w, const money& m);
  static money decode(reader& r);
};

struct server {
  coproc::process_pool* pool = nullptr;
  coproc::task<int>* running = nullptr;
  coproc::argument_array<float>* image = nullptr;
  coproc::bounded_channel<money>* channel = nullptr;
  coproc::semaphore* limit = nullptr;
  coproc::task_group* children = nullptr;
  coproc::mutex* lock = nullptr;
  coproc::event* ready = nullptr;
  coproc::interval* ticks = nullptr;
  coproc::loop_monitor* monitor = nullptr;
  coproc::stall* last = nullptr;
  coproc::stream<money>* prices = nullptr;
  void quote(coproc::yielder<money>& out);
  void start(const coproc::pool_options& options, const coproc::pool_ref& pool_with_options);
  void failed(const coproc::worker_lost& error);
  void failed(const coproc::exception_group& errors);
};

#include <coproc/coproc.hpp>

#include "support/run.hpp"

void coproc::codec<money>::encode(writer& w, const money& m) { w.put(m.cents()); }
money coproc::codec<money>::decode(reader& r) { return money(r.get<long>()); }

using namespace coproc::testing;

// As classes: a struct declared as a class would be a warning of clang, and an error here.
static_assert(std::is_class_v<coproc::pool_stats> && std::is_class_v<coproc::trace_event> &&
              std::is_class_v<coproc::task_options> && std::is_class_v<coproc::worker_start> &&
              std::is_class_v<coproc::worker_exit>);
static_assert(std::is_base_of_v<coproc::pool_error, coproc::timed_out> &&
              std::is_base_of_v<coproc::timed_out, coproc::task_timeout> &&
              std::is_base_of_v<coproc::pool_error, coproc::bad_payload> &&
              std::is_base_of_v<std::exception, coproc::remote_exception>);

TEST_CASE("a type whose codec was declared with fwd.hpp alone travels") {
  const leak_audit audit;
  coproc::net::io_context io(1);
  coproc::process_pool pool(io, {.max_workers = 1});
  ending<long> cents;
  const money price(1995);
  start(cents, pool, +[](const money& m) { return m.cents() * 2; }, price);
  REQUIRE(run_all(io));
  INFO(cents.text());
  REQUIRE(cents.succeeded());
  CHECK(*cents.value == 3990);
}
