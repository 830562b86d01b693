// SPDX-License-Identifier: BSL-1.0
// The rows of the table, one function for each file in rows/. Each measures its rows and adds them to the report, if
// wants(id) says so.
#pragma once

#include "report.hpp"
#include "settings.hpp"

#include <string>

namespace bench {

struct session {
  const settings& set;
  report& out;

  bool wants(const std::string& id) const { return id.starts_with(set.only); }
  void add(const row& r) {
    if (wants(r.id)) out.add(measure(set, r));
  }
};

void empty_tasks(session&);
void idle_gap(session&);
void task_length(session&);
void map(session&);
void tail(session&);
void loop_lag(session&);
void payload(session&);
void processes(session&);
void scale(session&);
void front_end_threads(session&);
void compile_time(session&);
void other_languages(session&);

} // namespace bench
