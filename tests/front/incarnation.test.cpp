// SPDX-License-Identifier: BSL-1.0
// What a new worker is made with: fresh memory of fixed size, its two views, sockets and a doorbell; limits as
// exceptions. One process.
#include <coproc/front/incarnation.hpp>

#include <catch2/catch.hpp>

#include <cstring>
#include <fcntl.h>
#include <sys/stat.h>

using namespace coproc;
using coproc::detail::front::make_incarnation;

namespace {

std::uint64_t size_of(const os::unique_fd& fd) {
  struct stat s{};
  REQUIRE(::fstat(fd.get(), &s) == 0);
  return static_cast<std::uint64_t>(s.st_size);
}

} // namespace

TEST_CASE("an incarnation's memory is empty, fixed in size, and three times the largest result") {
  const auto made = make_incarnation(3, 17, 1 << 20);
  CHECK(made.process->index == 3);
  CHECK(made.process->incarnation == 17);
  CHECK(made.request.index == 3);
  CHECK(made.request.incarnation == 17);
  CHECK(made.request.result_bytes == 2 << 20);
  CHECK(made.request.view_bytes == 1 << 20);
  CHECK(made.request.max_result_bytes == 1 << 20);
  CHECK(size_of(made.for_worker.mailbox) == shm::mailbox_bytes);
  CHECK(size_of(made.for_worker.results) == 3 << 20);
  CHECK(::ftruncate(made.for_worker.mailbox.get(), 0) != 0);
  CHECK(::ftruncate(made.for_worker.results.get(), 0) != 0);
  for (std::uint64_t seq = 0; seq != shm::ring_slots; ++seq) CHECK(made.process->mailbox().at(seq).state.load() == 0);
}

TEST_CASE("the worker writes results through its descriptor, the front end only reads them") {
  const auto made = make_incarnation(0, 1, 4096);
  const os::mapping worker(made.for_worker.results.get(), made.request.result_bytes, os::access::read_write);
  std::memcpy(worker.data() + 100, "result", 6);
  CHECK(std::memcmp(made.process->memory->results_map.data() + 100, "result", 6) == 0);
  CHECK(made.process->memory->results_map.size() == made.request.result_bytes + made.request.view_bytes);
}

TEST_CASE("sockets and doorbells are connected to their other halves") {
  const auto made = make_incarnation(0, 1, 4096);
  const std::byte message[3]{};
  REQUIRE(os::send_message(made.process->handles().control.get(), message) == 0);
  std::byte buffer[8];
  CHECK(os::receive_message(made.for_worker.control.get(), buffer, true).bytes == 3);
  os::ring(made.for_worker.eventfd.get());
  std::uint64_t count = 0;
  CHECK(::read(made.process->handles().eventfd.get(), &count, sizeof count) == sizeof count);
  CHECK(count == 1);
}

TEST_CASE("two incarnations share nothing") {
  const auto a = make_incarnation(0, 1, 4096), b = make_incarnation(0, 2, 4096);
  a.process->mailbox().at(0).state.store(7);
  CHECK(b.process->mailbox().at(0).state.load() == 0);
}

TEST_CASE("the smallest limit still has a page, and RLIMIT_FSIZE bounds the file, not the process") {
  CHECK(make_incarnation(0, 1, 1).request.result_bytes == 4096);
  rlimit before{};
  ::getrlimit(RLIMIT_FSIZE, &before);
  const rlimit low{1 << 20, before.rlim_max};
  ::setrlimit(RLIMIT_FSIZE, &low);
  const auto made = make_incarnation(0, 1, std::uint64_t{1} << 30);
  CHECK(made.request.result_bytes == 1 << 20);
  CHECK(made.request.view_bytes == 0);
  CHECK(made.request.max_result_bytes <= 1 << 20);
  const rlimit odd{(1 << 20) + 1, before.rlim_max}; // not a whole number of pages
  ::setrlimit(RLIMIT_FSIZE, &odd);
  CHECK(make_incarnation(0, 1, std::uint64_t{1} << 30).request.result_bytes == 1 << 20);
  const rlimit none{100, before.rlim_max};
  ::setrlimit(RLIMIT_FSIZE, &none);
  CHECK_THROWS_AS(make_incarnation(0, 1, 4096), pool_error);
  ::setrlimit(RLIMIT_FSIZE, &before);
}
