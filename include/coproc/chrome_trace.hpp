// SPDX-License-Identifier: BSL-1.0
// A sink for process_pool::trace that writes Chrome trace events: one lane per worker, for ui.perfetto.dev and chrome://tracing.
// A public header.
#pragma once

#include <coproc/pool/trace_event.hpp>

#include <chrono>
#include <concepts>
#include <memory>
#include <mutex>
#include <ostream>
#include <string>
#include <type_traits>

#include <fmt/core.h>

namespace coproc {

/// Copyable; all copies write to one stream. pool.trace(coproc::chrome_trace(file)). The JSON array is closed when the last
/// copy is destroyed, or by close(); viewers also read one that was never closed.
/// \par Threads   any
/// \par Lifetime  the stream must live until then
/// \par Source    "Trace Event Format", Google: ph X is a complete event, i an instant, M metadata; ts and dur are in us
class chrome_trace {
public:
  template <class Stream>
    requires std::convertible_to<Stream&, std::ostream&>
  explicit chrome_trace(Stream& out) : writer_(std::make_shared<writer>(out)) {}

  template <class Event = trace_event>
  void operator()(const std::type_identity_t<Event>& e) const {
    writer_->write(e);
  }
  void close() const { writer_->close(); }

private:
  class writer {
  public:
    explicit writer(std::ostream& out) : out_(out) { out_ << "[\n"; }
    ~writer() { close(); }

    template <class Event> // so that only a file that writes a trace compiles the texts
    void write(const Event& e) {
      using kind = typename Event::kind;
      std::lock_guard lock(mutex_);
      if (closed_) return;
      text_.clear();
      switch (e.what) {
      case kind::task:
        text_ += fmt::format(R"({{"name":"task {}","cat":"{}","ph":"X","pid":1,"tid":{},"ts":{:.3f},"dur":{:.3f},)", e.task, e.outcome,
               e.worker, us(e.began), us(e.ended) - us(e.began));
        text_ += fmt::format(R"("args":{{"outcome":"{}","waited_us":{:.3f},"worker_pid":{}}}}})", e.outcome, us(e.began) - us(e.submitted),
               e.pid);
        break;
      case kind::worker_start:
        text_ += fmt::format(R"({{"name":"thread_name","ph":"M","pid":1,"tid":{},"args":{{"name":"worker {}"}}}},)", e.worker, e.worker);
        text_ += '\n';
        [[fallthrough]];
      case kind::worker_exit:
        text_ += fmt::format(R"({{"name":"process {} {}","ph":"i","s":"t","pid":1,"tid":{},"ts":{:.3f}}})", e.pid,
               e.what == kind::worker_exit ? "ends" : "starts", e.worker, us(e.ended));
      }
      out_ << (first_ ? "" : ",\n") << text_;
      first_ = false;
    }

    void close() {
      std::lock_guard lock(mutex_);
      if (!closed_) out_ << "\n]\n" << std::flush;
      closed_ = true;
    }

  private:
    static double us(std::chrono::steady_clock::time_point t) {
      return std::chrono::duration<double, std::micro>(t.time_since_epoch()).count();
    }

    std::mutex mutex_;
    std::ostream& out_;
    std::string text_;
    bool first_ = true, closed_ = false;
  };

  std::shared_ptr<writer> writer_;
};

} // namespace coproc
