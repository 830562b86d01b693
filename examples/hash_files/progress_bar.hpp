// SPDX-License-Identifier: BSL-1.0
// The progress bar of hash_files: Boost's progress display, kept on the last lines of a terminal. Knows nothing of
// coproc.
#pragma once

#include <algorithm>
#include <boost/timer/progress_display.hpp>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <fmt/core.h>
#include <optional>
#include <sstream>
#include <string>
#include <utility>

// The display draws into a string, so that it can be taken away while lines of output are printed above it.
class progress_bar {
public:
  explicit progress_bar(std::uintmax_t total) : display_(total, rendering_, "") { show(); }

  void advance(std::size_t bytes) {
    const auto drawn = rendering_.tellp();
    display_ += std::min(bytes, display_.expected_count() - display_.count()); // files grow
    if (rendering_.tellp() != drawn) show();
  }
  ~progress_bar() {
    if (display_.count() < display_.expected_count()) fmt::print(stderr, "\n");
  }
  progress_bar(const progress_bar&) = delete;

  void hide() {
    if (lines_ != 0) fmt::print(stderr, "\r\033[{}A\033[J", std::exchange(lines_, 0));
  }
  void show() {
    hide();
    const std::string text = rendering_.str();
    lines_ = std::ranges::count(text, '\n');
    fmt::print(stderr, "{}", text);
  }

private:
  std::ostringstream rendering_;
  boost::timer::progress_display display_;
  std::ptrdiff_t lines_ = 0; // from its first line down to the cursor
};

// Takes the bar away for its lifetime.
class above_progress {
public:
  explicit above_progress(std::optional<progress_bar>& bar) : bar_(bar) {
    if (bar_) bar_->hide();
  }
  ~above_progress() {
    if (!bar_) return;
    std::fflush(stdout);
    bar_->show();
  }

private:
  std::optional<progress_bar>& bar_;
};
