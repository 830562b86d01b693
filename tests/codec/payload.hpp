// SPDX-License-Identifier: BSL-1.0
// A growing payload for the codec tests, and round trips through it. Test code only.
#pragma once

#include <coproc/codec/codec.hpp>

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <memory>
#include <new>
#include <span>
#include <utility>

namespace test {

/// Owns the memory of a writer, which grows as it must, but not beyond a limit.
class payload {
public:
  explicit payload(std::size_t capacity = 32, std::size_t limit = std::size_t(1) << 30)
      : limit_(limit), capacity_(capacity), memory_(allocate(capacity)), writer_(memory_.get(), capacity, &grow, this) {
  }

  coproc::writer& writer() { return writer_; }
  std::span<const std::byte> bytes() const { return {writer_.data(), writer_.size()}; }
  int grown() const { return grown_; }

private:
  struct release {
    void operator()(std::byte* p) const { ::operator delete(p, std::align_val_t(64)); }
  };
  using memory = std::unique_ptr<std::byte, release>;
  static memory allocate(std::size_t n) {
    return memory(static_cast<std::byte*>(::operator new(n, std::align_val_t(64))));
  }

  static void grow(void* self, coproc::writer& w, std::size_t more) {
    auto& p = *static_cast<payload*>(self);
    ++p.grown_;
    if (w.size() + more > p.limit_) throw coproc::pool_error(make_error_code(coproc::errc::payload_too_large));
    p.capacity_ = std::min(p.limit_, 2 * p.capacity_ + more);
    memory larger = allocate(p.capacity_);
    if (w.size() != 0) std::memcpy(larger.get(), w.data(), w.size());
    p.memory_ = std::move(larger);
    w.rebase(p.memory_.get(), p.capacity_);
  }

  std::size_t limit_, capacity_;
  int grown_ = 0;
  memory memory_;
  coproc::writer writer_;
};

template <class T>
T round_trip(const T& value) {
  payload p;
  p.writer().put(value);
  coproc::reader r(p.bytes());
  T out = r.get<T>();
  r.expect_end();
  return out;
}

template <class T>
std::size_t encoded_bytes(const T& value) {
  payload p;
  p.writer().put(value);
  return p.bytes().size();
}

template <class T>
bool survives(const T& value) {
  return round_trip(value) == value;
}

} // namespace test
