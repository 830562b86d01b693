// SPDX-License-Identifier: BSL-1.0
// The exception types and error categories of the program that travel as themselves. Written at any time by any thread,
// read where exceptions are encoded (worker) and decoded (front end); what is in it stays. The codec layer.
#pragma once

#include <coproc/codec/codec.hpp>
#include <coproc/config.hpp>
#include <coproc/error.hpp>

#include <atomic>
#include <exception>
#include <string>
#include <type_traits>
#include <typeinfo>
#include <utility>

namespace coproc::detail {

/// Reads what an exception is nested in, which comes after it; null: it is in none.
struct cause_reader {
  std::exception_ptr (*function)(void* context);
  void* context;
  std::exception_ptr operator()() const { return function(context); }
};

/// An exception type with a codec.
struct registered_exception {
  const std::type_info* type;
  bool (*is_handled)();      ///< Does the calling catch block handle one?
  void (*encode)(writer& w); ///< The one that the calling catch block handles.
  std::exception_ptr (*decode)(reader& r, std::string& type_name, std::string& what, cause_reader cause);
  const registered_exception* next = nullptr;
};

struct registered_category {
  const net::error_category* category;
  const registered_category* next = nullptr;
};

COPROC_VISIBLE inline constinit std::atomic<const registered_exception*> registered_exceptions{nullptr};
COPROC_VISIBLE inline constinit std::atomic<const registered_category*> registered_categories{nullptr};

/// Puts a node in front of a list, in which it stays for ever.
template <class Node>
void enlist(std::atomic<const Node*>& list, Node node) {
  Node* const kept = new Node(std::move(node));
  kept->next = list.load(std::memory_order_relaxed);
  while (!list.compare_exchange_weak(kept->next, kept, std::memory_order_release, std::memory_order_relaxed)) {
  }
}

/// e as it is thrown, nested in the cause if that is not null.
template <class E>
std::exception_ptr with_cause(E e, const std::exception_ptr& cause) {
  if (!cause) return std::make_exception_ptr(std::move(e));
  try {
    std::rethrow_exception(cause);
  } catch (...) {
    try {
      std::throw_with_nested(std::move(e));
    } catch (...) {
      return std::current_exception();
    }
  }
}

template <class E>
struct exception_codec {
  static bool is_handled() {
    try {
      throw;
    } catch (const E&) {
      return true;
    } catch (...) {
      return false;
    }
  }

  static void encode(writer& w) {
    try {
      throw;
    } catch (const E& e) {
      w.put(e);
    }
  }

  static std::exception_ptr decode(reader& r, std::string& type_name, std::string& what, cause_reader cause) {
    E e = r.get<E>();
    if constexpr (std::is_base_of_v<std::exception, E> && !std::is_final_v<E>)
      return with_cause(remote<E>(std::move(type_name), std::move(what), std::move(e)), cause());
    else
      return with_cause(std::move(e), cause());
  }
};

} // namespace coproc::detail
