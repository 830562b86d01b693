// SPDX-License-Identifier: BSL-1.0
// Everything that coproc offers.
#pragma once

#include <coproc/argument_array.hpp>
#include <coproc/as_completed.hpp>
#include <coproc/batched.hpp>
#include <coproc/bounded_channel.hpp>
#include <coproc/chrome_trace.hpp>
#include <coproc/create_task.hpp>
#include <coproc/error.hpp>
#include <coproc/event.hpp>
#include <coproc/exceptions.hpp>
#include <coproc/gather.hpp>
#include <coproc/gather_settled.hpp>
#include <coproc/interval.hpp>
#include <coproc/loop_monitor.hpp>
#include <coproc/map.hpp>
#include <coproc/mutex.hpp>
#include <coproc/options.hpp>
#include <coproc/pool.hpp>
#include <coproc/process_pool.hpp>
#include <coproc/result_view.hpp>
#include <coproc/run.hpp>
#include <coproc/run_in_executor.hpp>
#include <coproc/semaphore.hpp>
#include <coproc/stats.hpp>
#include <coproc/stream.hpp>
#include <coproc/task.hpp>
#include <coproc/task_group.hpp>
#include <coproc/this_worker.hpp>
#include <coproc/thread_bridge.hpp>
#include <coproc/trace.hpp>
#include <coproc/version.hpp>
#include <coproc/wait.hpp>
#include <coproc/with_resource.hpp>
#include <coproc/with_timeout.hpp>
