// SPDX-License-Identifier: BSL-1.0
// A sink for process_pool::trace that writes Chrome trace events: one lane per worker, for ui.perfetto.dev and
// chrome://tracing. A public header.
#pragma once

#include <coproc/config.hpp>
#include <coproc/trace.hpp>

#include <concepts>
#include <iosfwd>
#include <memory>
#include <mutex>

namespace coproc {

/// Copyable; all copies write to one stream. pool.trace(coproc::chrome_trace(file)). The JSON array is closed when the
/// last copy is destroyed, or by close(); viewers also read one that was never closed.
/// \par Threads   any
/// \par Lifetime  the stream must live until then
/// \par Source    "Trace Event Format", Google: ph X is a complete event, i an instant, M metadata; ts and dur are in
/// us
class chrome_trace {
public:
  /// Writes to `out`.
  template <class Stream>
    requires std::convertible_to<Stream&, std::ostream&>
  explicit chrome_trace(Stream& out) : writer_(std::make_shared<writer>(out)) {}

  /// Writes one event.
  void operator()(const trace_event& e) const { writer_->write(e); }
  /// Ends the JSON array; later events are dropped.
  void close() const { writer_->close(); }

private:
  class writer {
  public:
    COPROC_DECL explicit writer(std::ostream& out);
    ~writer() { close(); }
    COPROC_DECL void write(const trace_event& e);
    COPROC_DECL void close();

  private:
    std::mutex mutex_;
    std::ostream& out_;
    bool first_ = true, closed_ = false;
  };

  std::shared_ptr<writer> writer_;
};

} // namespace coproc

#if !defined(COPROC_SEPARATE_COMPILATION)
#include <coproc/chrome_trace.ipp>
#endif
