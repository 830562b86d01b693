// SPDX-License-Identifier: BSL-1.0
// Names without definitions, and without any other header: for headers that only mention coproc's types, or give a type
// of theirs a codec whose functions are defined elsewhere.
#pragma once

/// All names of coproc. What stands in `coproc::detail` is mechanism.
namespace coproc {

class process_pool;
class pool_ref;
template <class R>
class task;

struct map_options;
struct pool_options;
struct task_options;
struct batch_options;
struct pool_stats;
struct trace_event;

template <class T>
class argument_array;
template <class T>
class bounded_channel;
class semaphore;
class task_group;
class mutex;
class event;
class interval;
class loop_monitor;
struct stall;
template <class R>
class completed;
template <class T>
class stream;
template <class T>
class yielder;
template <class T>
class result_array;
template <class T>
class result_view;

template <class T>
struct codec;
class reader;
class writer;

class pool_error;
class timed_out;
class task_timeout;
class bad_payload;
class worker_lost;
class remote_exception;
class exception_group;
struct worker_start;
struct worker_exit;

} // namespace coproc
