// SPDX-License-Identifier: BSL-1.0
// An engine that has records and nothing else: what a record needs to have a home. A test derives from it what it needs
// more. May include front/ and below.
#pragma once

#include <coproc/front/engine.hpp>
#include <coproc/front/failure.hpp>
#include <coproc/front/record_store.hpp>
#include <coproc/net/shutdown_gate.hpp>
#include <coproc/stats.hpp>

#include <cstddef>
#include <cstdint>
#include <exception>
#include <memory>
#include <span>
#include <stdexcept>
#include <utility>

namespace coproc::testing {

namespace front = coproc::detail::front;

class fake_engine : public front::engine {
public:
  using record = front::task_record;
  using memory = std::shared_ptr<const front::array_memory>;

  /// `context`: the io_context whose plain executor that is.
  explicit fake_engine(net::any_io_executor ex = {}, net::io_context* context = nullptr,
                       std::uint64_t argument_limit = 1 << 20)
      : engine(argument_limit, std::move(ex)) {
    context_.store(context);
  }

  front::record_store records{this};

  record& acquire(std::uintptr_t entry, std::uintptr_t, const task_options*) override {
    record& t = records.acquire();
    t.call.entry = entry;
    return t;
  }
  void recycle(record& t) noexcept override { records.recycle(t); }
  front::cold_part& make_cold(record& t) noexcept override { return make_details(t); }

  std::span<const std::byte> result_in_file(const record& t) const noexcept override {
    return {details(t).far_result, t.result_length};
  }
  std::exception_ptr failure(record& t) const noexcept override { return front::failure_of(t); }
  std::shared_ptr<const std::byte> borrow(record& t, std::shared_ptr<void>& loan, std::uint64_t place,
                                          std::uint64_t bytes) const override {
    return front::borrow_views(t, loan, place, bytes);
  }

  [[noreturn]] void refuse_arguments(std::uint64_t) const override { unexpected(); }
  void grow_arguments(record&, writer&, std::size_t) override { unexpected(); }
  void seal_arguments(record&, writer&) override { unexpected(); }
  void keep(record&, const memory&) override { unexpected(); }
  void submit(record&) override { unexpected(); }
  void cancel(record&, std::uint64_t, net::cancellation_type) noexcept override { unexpected(); }
  memory lend(std::size_t, std::size_t) const override { unexpected(); }
  const void* memory_owner() const noexcept override { return nullptr; }
  void close() noexcept override {}
  void recycle_workers() noexcept override {}
  void resize(count, count) override {}
  void terminate(int) noexcept override {}
  std::shared_ptr<detail::shutdown_gate> gate() override { unexpected(); }
  void shut_down(duration) override { unexpected(); }
  void drop_queued() noexcept override { std::terminate(); }
  pool_stats stats() const override { unexpected(); }
  void trace(trace_sink) override { unexpected(); }
  void stop() noexcept override {}

protected:
  [[noreturn]] static void unexpected() { throw std::logic_error("this engine has records only"); }
};

} // namespace coproc::testing
