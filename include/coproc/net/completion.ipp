// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <coproc/net/completion.hpp>

namespace coproc::detail {

COPROC_DEF route::route(const net::any_io_executor& handler_ex, const net::any_io_executor& io_ex,
                        work_tracking tracking)
    : where_(choose(handler_ex, io_ex, tracking)) {}

COPROC_DEF auto route::choose(const net::any_io_executor& handler_ex, const net::any_io_executor& io_ex,
                              work_tracking tracking) -> places {
  constexpr auto tracked = net::execution::outstanding_work.tracked;
  if (const io_executor* const common = common_io_executor(handler_ex, io_ex)) {
    if (tracking == work_tracking::elsewhere) return places(std::in_place_index<0>, *common);
    return places(std::in_place_index<1>, net::prefer(*common, tracked));
  }
  return places(std::in_place_index<2>,
                general{tracking == work_tracking::here ? net::any_io_executor(net::prefer(io_ex, tracked))
                                                        : net::any_io_executor(),
                        net::prefer(handler_ex, tracked)});
}

COPROC_DEF void route::post(posted_call c) const {
  switch (where_.index()) {
  case 0: return net::post(std::get<0>(where_), std::move(c));
  case 1: return net::post(std::get<1>(where_), std::move(c));
  default: return net::post(std::get<2>(where_).handler, std::move(c));
  }
}

COPROC_DEF void route::dispatch(posted_call c) const {
  switch (where_.index()) {
  case 0: return net::dispatch(std::get<0>(where_), std::move(c));
  case 1: return net::dispatch(std::get<1>(where_), std::move(c));
  default: return net::dispatch(std::get<2>(where_).handler, std::move(c));
  }
}

} // namespace coproc::detail
