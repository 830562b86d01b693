// SPDX-License-Identifier: BSL-1.0
// The front end's side of views: checks what a result refers to, and keeps the worker's memory for as long as it is viewed.
// Any thread of the front end.
#pragma once

#include <coproc/codec/far_memory.hpp>
#include <coproc/pool/fork_generation.hpp>
#include <coproc/pool/worker_record.hpp>

#include <memory>
#include <utility>

namespace coproc::pool {

/// One result's loan, in the hands of its views; the last of them gives it back.
class loan {
public:
  loan(std::shared_ptr<worker_memory> memory, unsigned number) noexcept : memory_(std::move(memory)), number_(number) {}
  loan(const loan&) = delete;
  loan& operator=(const loan&) = delete;
  // A forked copy of the front end does not map this memory, and has nothing to give back: leaked there on purpose, for what it
  // would unmap may be somebody else's by now.
  ~loan() {
    if (process_.is_own())
      memory_->give_back(number_);
    else
      static_cast<void>(new std::shared_ptr<worker_memory>(std::move(memory_)));
  }

private:
  std::shared_ptr<worker_memory> memory_;
  unsigned number_;
  process_mark process_;
};

/// For the reader of a task's result. The loan stays with the record until something is viewed; so it is given back whatever
/// becomes of the result. A worker that lies about its loans or their places shows and harms its own memory alone.
template <class Record>
class loaned_views final : public coproc::detail::far_memory {
public:
  explicit loaned_views(Record& t) noexcept : record_(t) {}

  std::shared_ptr<const std::byte> borrow(std::uint64_t place, std::uint64_t bytes) override {
    if (!loan_) {
      if (!record_.encumbered || record_.cold().loan == cold_part::no_loan)
        coproc::detail::reject("a result refers to memory that was not lent");
      loan_ = take_loan();
    }
    const os::mapping& file = record_.cold().result_owner->results_map;
    if (place > file.size() || bytes > file.size() - place) coproc::detail::reject("a result refers to what is not there");
    return {loan_, file.data() + place};
  }

private:
  std::shared_ptr<loan> take_loan() {
    cold_part& cold = record_.cold();
    auto taken = std::make_shared<loan>(cold.result_owner, cold.loan);
    cold.loan = cold_part::no_loan;
    return taken;
  }

  Record& record_;
  std::shared_ptr<loan> loan_;
};

} // namespace coproc::pool
