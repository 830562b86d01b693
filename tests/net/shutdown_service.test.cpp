// SPDX-License-Identifier: BSL-1.0
// Listeners hear of their context's end once, while it still exists.
#include <coproc/net/shutdown_service.hpp>

#include <catch2/catch.hpp>

#include <functional>
#include <memory>
#include <optional>

namespace net = coproc::net;

namespace {

struct listener final : coproc::detail::shutdown_listener {
  static std::shared_ptr<listener> on(const net::any_io_executor& ex, std::function<void()> told) {
    auto l = std::make_shared<listener>();
    l->told = std::move(told);
    l->registration.join(ex, l);
    return l;
  }

  void context_shutting_down() noexcept override { told(); }

  std::function<void()> told;
  coproc::detail::shutdown_service::registration registration;
};

} // namespace

TEST_CASE("a listener is told once, when its context is destroyed") {
  std::optional<net::io_context> io(std::in_place);
  net::io_context other;
  int told = 0;
  auto first = listener::on(io->get_executor(), [&] { ++told; });
  auto on_strand = listener::on(net::make_strand(*io), [&] { ++told; });
  auto elsewhere = listener::on(other.get_executor(), [&] { FAIL("another context"); });
  CHECK(told == 0);
  io.reset();
  CHECK(told == 2);
  elsewhere.reset();
}

TEST_CASE("a listener that is gone is not told") {
  std::optional<net::io_context> io(std::in_place);
  listener::on(io->get_executor(), [] { FAIL("told after its end"); }).reset();
  io.reset();
  SUCCEED();
}

TEST_CASE("a listener may take another one with it") {
  std::optional<net::io_context> io(std::in_place);
  int told = 0;
  std::shared_ptr<listener> first, second;
  first = listener::on(io->get_executor(), [&] {
    ++told;
    second.reset();
  });
  second = listener::on(io->get_executor(), [&] {
    ++told;
    first.reset();
  });
  io.reset();
  CHECK(told == 1);
  CHECK((first == nullptr) != (second == nullptr));
}

TEST_CASE("a registration may outlive its context") {
  std::optional<net::io_context> io(std::in_place);
  auto l = listener::on(io->get_executor(), [] {});
  io.reset();
  l.reset();
  SUCCEED();
}
