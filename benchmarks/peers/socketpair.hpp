// SPDX-License-Identifier: BSL-1.0
// A forked worker behind a socketpair, as one would write it: the front end batches frames in an outbox while a write
// is under way and reads replies in bulk; the worker reads, runs and answers whatever has arrived, blocking.
#pragma once

#include "../front_end.hpp"
#include "../process_tree.hpp"
#include "../work.hpp"

#include <array>
#include <cstdint>
#include <cstring>
#include <optional>
#include <stdexcept>
#include <sys/socket.h>
#include <utility>
#include <vector>

namespace bench {

class socketpair_peer {
public:
  socketpair_peer(net::io_context& io, int /*one worker*/) : socket_(io) {
    int ends[2];
    if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) throw std::runtime_error("socketpair");
    process_.emplace([&] {
      ::close(ends[0]);
      work(ends[1]);
    });
    ::close(ends[1]);
    socket_.assign(ends[0]);
    socket_.non_blocking(true);
  }

  net::awaitable<int> operator()(int value, int loops) {
    return await_completion([this, value, loops](waiting_task* task) {
      outbox_.push_back({reinterpret_cast<std::uintptr_t>(task), value, loops});
      if (!writing_) write();
      if (pending_++ == 0) read();
    });
  }

private:
  struct frame {
    std::uint64_t id;
    int value, loops;
  };
  static constexpr std::size_t batch = 4096;

  static void work(int socket) {
    std::vector<frame> frames(batch);
    for (std::size_t filled = 0;;) { // bytes of `frames`
      const ssize_t n = ::read(socket, reinterpret_cast<char*>(frames.data()) + filled, batch * sizeof(frame) - filled);
      if (n <= 0) return;
      filled += static_cast<std::size_t>(n);
      const std::size_t whole = filled / sizeof(frame);
      for (std::size_t i = 0; i < whole; ++i) frames[i].value = increment(frames[i].value, frames[i].loops);
      for (std::size_t sent = 0; sent < whole * sizeof(frame);) {
        const ssize_t s =
            ::write(socket, reinterpret_cast<const char*>(frames.data()) + sent, whole * sizeof(frame) - sent);
        if (s <= 0) return;
        sent += static_cast<std::size_t>(s);
      }
      filled -= whole * sizeof(frame);
      std::memmove(frames.data(), frames.data() + whole, filled);
    }
  }

  void write() {
    writing_ = true;
    if (unsent_ == sending_.size() * sizeof(frame)) {
      sending_.clear();
      unsent_ = 0;
      std::swap(sending_, outbox_);
    }
    const auto* bytes = reinterpret_cast<const char*>(sending_.data());
    socket_.async_write_some(net::buffer(bytes + unsent_, sending_.size() * sizeof(frame) - unsent_),
                             [this](net::error_code error, std::size_t sent) {
                               if (error) throw net::system_error(error, "socketpair");
                               unsent_ += sent;
                               writing_ = false;
                               if (unsent_ < sending_.size() * sizeof(frame) || !outbox_.empty()) write();
                             });
  }

  // Under way only while tasks are pending, so that an idle peer lets io_context::run() return.
  void read() {
    auto* bytes = reinterpret_cast<char*>(replies_.data());
    socket_.async_read_some(net::buffer(bytes + filled_, sizeof replies_ - filled_),
                            [this](net::error_code error, std::size_t n) {
                              if (error) throw net::system_error(error, "socketpair");
                              filled_ += n;
                              const std::size_t whole = filled_ / sizeof(frame);
                              ++pending_; // keeps complete() from starting a second read
                              for (std::size_t i = 0; i < whole; ++i) {
                                --pending_;
                                reinterpret_cast<waiting_task*>(replies_[i].id)->complete(replies_[i].value);
                              }
                              filled_ -= whole * sizeof(frame);
                              std::memmove(replies_.data(), replies_.data() + whole, filled_);
                              if (--pending_ != 0) read();
                            });
  }

  net::posix::stream_descriptor socket_;
  std::vector<frame> outbox_, sending_;
  std::array<frame, batch> replies_;
  std::size_t unsent_ = 0, filled_ = 0; // bytes: sent of sending_, received in replies_
  long pending_ = 0;
  bool writing_ = false;
  std::optional<child> process_;
};

} // namespace bench
