// SPDX-License-Identifier: BSL-1.0
// A forked worker behind two Boost.Interprocess message_queues. A message_queue has no descriptor that a reactor could
// wait on, so a thread receives the replies and posts them, in batches, to the front end: the usual way to use one
// there.
#pragma once

#include "../front_end.hpp"
#include "../process_tree.hpp"
#include "../work.hpp"

#include <boost/interprocess/ipc/message_queue.hpp>
#include <cstdint>
#include <fmt/format.h>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace bench {

class message_queue_peer {
public:
  static constexpr std::size_t capacity = 4096;

  message_queue_peer(net::io_context& io, int /*one worker*/)
      : io_(io), requests_(fmt::format("coproc-bench-{}-requests", ::getpid())),
        replies_(fmt::format("coproc-bench-{}-replies", ::getpid())), process_(std::in_place, [this] { work(); }),
        receiver_([this] { receive(); }) {}
  message_queue_peer(const message_queue_peer&) = delete;
  ~message_queue_peer() {
    process_.reset();
    const message stop{0, 0, 0};
    replies_.send(&stop, sizeof stop, 0);
    receiver_.join();
  }

  net::awaitable<int> operator()(int value, int loops) {
    return await_completion([this, value, loops](waiting_task* task) {
      if (pending_++ == 0) busy_.emplace(net::make_work_guard(io_));
      const message request{reinterpret_cast<std::uintptr_t>(task), value, loops};
      requests_.send(&request, sizeof request, 0); // in flight <= capacity, so it never blocks
    });
  }

private:
  struct message {
    std::uint64_t id;
    int value, loops;
  };
  // The name is gone as soon as the queue exists: the worker inherits the mapping.
  class queue : public boost::interprocess::message_queue {
  public:
    explicit queue(const std::string& name)
        : message_queue_t(boost::interprocess::create_only, name.c_str(), capacity, sizeof(message)) {
      remove(name.c_str());
    }
  };

  void work() {
    message m;
    std::size_t size;
    unsigned priority;
    for (;;) {
      requests_.receive(&m, sizeof m, size, priority);
      m.value = increment(m.value, m.loops);
      replies_.send(&m, sizeof m, 0);
    }
  }

  void receive() {
    for (;;) {
      std::vector<message> batch(1);
      std::size_t size;
      unsigned priority;
      replies_.receive(&batch[0], sizeof(message), size, priority);
      for (message m; replies_.try_receive(&m, sizeof m, size, priority);) batch.push_back(m);
      if (batch.back().id == 0) return;
      net::post(io_, [this, batch = std::move(batch)] {
        for (const message& m : batch) {
          if (--pending_ == 0) busy_.reset();
          reinterpret_cast<waiting_task*>(m.id)->complete(m.value);
        }
      });
    }
  }

  net::io_context& io_;
  queue requests_, replies_;
  std::optional<child> process_;
  long pending_ = 0;
  std::optional<net::executor_work_guard<net::io_context::executor_type>> busy_;
  std::thread receiver_; // last: it uses the others
};

} // namespace bench
