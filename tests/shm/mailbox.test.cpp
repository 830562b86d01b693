// SPDX-License-Identifier: BSL-1.0
// The layout of the mailbox, through raw offsets: front end and workers are forks of one image, but whoever reads a
// core or changes a struct should meet this file. One thread.
#include <coproc/shm/mailbox.hpp>

#include <catch2/catch.hpp>

#include <cstring>
#include <memory>

using namespace coproc::shm;

namespace {

template <class T>
T at(const mailbox& m, std::size_t offset) {
  T value;
  std::memcpy(&value, reinterpret_cast<const std::byte*>(&m) + offset, sizeof value);
  return value;
}

} // namespace

TEST_CASE("every word lies where the diagram says") {
  auto m = std::make_unique<mailbox>();
  m->worker.sleeping.store(1);
  m->worker.phase.store(2);
  m->worker.cpu.store(3);
  m->parent.epoch.store(4);
  m->parent.shutdown.store(5);
  m->parent.freed.store(6);
  m->parent.stop.store(7);
  m->parent.sent_messages.store(8);
  m->parent.cpu.store(9);
  m->parent.returned[0].store(10);
  m->parent.returned[63].store(12);
  m->doorbell.armed.store(11);
  CHECK(at<std::uint64_t>(*m, 0) == 1);
  CHECK(at<std::uint32_t>(*m, 8) == 2);
  CHECK(at<std::uint32_t>(*m, 12) == 3);
  CHECK(at<std::uint32_t>(*m, 128) == 4);
  CHECK(at<std::uint32_t>(*m, 132) == 5);
  CHECK(at<std::uint64_t>(*m, 136) == 6);
  CHECK(at<std::uint64_t>(*m, 144) == 7);
  CHECK(at<std::uint64_t>(*m, 152) == 8);
  CHECK(at<std::uint32_t>(*m, 160) == 9);
  CHECK(at<std::uint8_t>(*m, 192) == 10);
  CHECK(at<std::uint8_t>(*m, 255) == 12);
  CHECK(at<std::uint64_t>(*m, 256) == 11);
}

TEST_CASE("slots are 256 bytes from 512 on, and a position's slot is its remainder") {
  auto m = std::make_unique<mailbox>();
  for (const std::uint64_t seq : {std::uint64_t{0}, std::uint64_t{1}, std::uint64_t{63}, std::uint64_t{64},
                                  std::uint64_t{130}, (std::uint64_t{1} << 61) - 1}) {
    slot& s = m->at(seq);
    s.state.store(seq + 1);
    s.entry.store(seq + 2);
    s.location.store(seq + 3);
    s.length.store(seq + 4);
    s.bytes[0] = std::byte{5};
    s.bytes[inline_bytes - 1] = std::byte{6};
    const std::size_t offset = 512 + 256 * (seq % 64);
    CHECK(at<std::uint64_t>(*m, offset) == seq + 1);
    CHECK(at<std::uint64_t>(*m, offset + 8) == seq + 2);
    CHECK(at<std::uint64_t>(*m, offset + 16) == seq + 3);
    CHECK(at<std::uint64_t>(*m, offset + 24) == seq + 4);
    CHECK(at<std::byte>(*m, offset + 32) == std::byte{5});
    CHECK(at<std::byte>(*m, offset + 255) == std::byte{6});
  }
}

TEST_CASE("words of different writers share no pair of cache lines") {
  CHECK(offsetof(mailbox, worker) / 128 != offsetof(mailbox, parent) / 128);
  CHECK(offsetof(mailbox, doorbell) % 128 == 0);
  CHECK(sizeof(doorbell_words) == 256);
  CHECK(offsetof(mailbox, ring) % 256 == 0);
}

TEST_CASE("the memory is a whole number of pages and holds the mailbox") {
  CHECK(mailbox_bytes % 4096 == 0);
  CHECK(mailbox_bytes >= sizeof(mailbox));
  CHECK(mailbox_bytes < sizeof(mailbox) + 4096);
}
