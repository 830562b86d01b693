// SPDX-License-Identifier: BSL-1.0
// The same pair in other languages: asyncio with ProcessPoolExecutor, Node with piscina. Empty tasks, one worker each.
#include "../front_end_arm.hpp"
#include "../peers/coproc.hpp"
#include "../peers/scripted.hpp"
#include "../rows.hpp"

namespace bench {

void other_languages(session& s) {
  const std::string piscina = s.set.build + "/piscina/node_modules/piscina";
  struct point {
    int window;
    double python, node;
  };
  for (const auto [window, python, node] : {point{1, 200, 100}, point{256, 500, 200}}) {
    row r{fmt::format("languages.{}", window),
          fmt::format("empty task, {} in flight, against Python and Node", window),
          {},
          {}};
    r.arms = {in_flight<coproc_peer>("coproc 1w", 1, window),
              scripted("Python", window, {"python3", s.set.sources + "/peers/process_pool_executor.py"},
                       "python3 is not installed"),
              scripted("Node piscina", window,
                       {"node", s.set.sources + "/peers/piscina/main.js", piscina,
                        s.set.sources + "/peers/piscina/increment.js"},
                       "node or piscina is not installed")};
    r.goals = {ratio_goal("Python", "coproc 1w", at_least, python),
               ratio_goal("Node piscina", "coproc 1w", at_least, node)};
    s.add(r);
  }
}

} // namespace bench
