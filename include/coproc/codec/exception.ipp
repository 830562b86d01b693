// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <coproc/codec/codec.hpp>
#include <coproc/codec/exception.hpp>
#include <coproc/codec/exception_registry.hpp>
#include <coproc/error.hpp>

#include <algorithm>
#include <any>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cxxabi.h>
#include <exception>
#include <filesystem>
#include <functional>
#include <future>
#include <ios>
#include <memory>
#include <new>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>
#include <type_traits>
#include <typeinfo>
#include <utility>
#include <variant>

namespace coproc::detail {

/// The types that arrive as themselves (coproc's own) or as remote<E>. An exception travels as the first one in the
/// list that it is, so derived ones stand first. std::regex_error is left out, as <regex> costs too much: it arrives as
/// a std::runtime_error whose type_name() says so.
using known_exceptions =
    type_list<bad_payload, task_timeout, timed_out, worker_lost, pool_error, std::filesystem::filesystem_error,
              std::ios_base::failure, std::system_error, std::domain_error, std::invalid_argument, std::length_error,
              std::out_of_range, std::future_error, std::logic_error, std::range_error, std::overflow_error,
              std::underflow_error, std::runtime_error, std::bad_array_new_length, std::bad_alloc, std::bad_any_cast,
              std::bad_cast, std::bad_typeid, std::bad_function_call, std::bad_optional_access, std::bad_variant_access,
              std::bad_weak_ptr, std::bad_exception>;

/// Tags that are no index of the list.
enum : std::uint8_t { tag_registered = 253, tag_std_exception = 254, tag_other = 255 };

/// Longer texts are cut.
inline constexpr std::size_t max_exception_text = 64 * 1024;

/// Of exceptions nested in others; what lies deeper does not travel.
inline constexpr unsigned max_nested_exceptions = 16;

// Asked inside a catch block only.
COPROC_LAZY std::string current_exception_type() {
  const std::type_info* type = abi::__cxa_current_exception_type();
  if (type == nullptr) return "an exception of another language";
  char* const name = abi::__cxa_demangle(type->name(), nullptr, nullptr, nullptr);
  if (name == nullptr) return type->name();
  const std::unique_ptr<char, void (*)(void*)> owner(name, &std::free);
  return name;
}

COPROC_LAZY_CLASS class exception_encoder {
public:
  /// `alone`: without what it is nested in, and without codecs of the user, which may be what fails.
  exception_encoder(writer& w, std::size_t max_text, bool alone) : w_(w), max_text_(max_text), alone_(alone) {}

  void encode_current(unsigned nested = 0) {
    const auto type = current_exception_type();
    if (const auto* known = alone_ ? nullptr : find_registered()) {
      head(tag_registered, type, text_of_current().c_str());
      text(known->type->name());
      known->encode(w_);
    } else {
      try {
        throw;
      } catch (const std::exception& e) {
        encode_first(e, type, known_exceptions());
      } catch (...) {
        head(tag_other, type, text_of_current().c_str());
      }
    }
    encode_cause(nested);
  }

private:
  static const registered_exception* find_registered() {
    const std::type_info* const type = abi::__cxa_current_exception_type();
    const auto* const all = registered_exceptions.load(std::memory_order_acquire);
    for (const auto* known = all; known != nullptr; known = known->next)
      if (type != nullptr && *known->type == *type) return known;
    for (const auto* known = all; known != nullptr; known = known->next)
      if (known->is_handled()) return known;
    return nullptr;
  }

  static std::string text_of_current() {
    try {
      throw;
    } catch (const std::exception& e) {
      const char* const what = e.what();
      return what == nullptr ? "" : what;
    } catch (const std::string& s) {
      return s;
    } catch (const char* s) {
      return s == nullptr ? "" : s;
    } catch (...) {
      return {};
    }
  }

  // What the exception of the calling catch block was thrown with.
  void encode_cause(unsigned nested) {
    std::exception_ptr cause;
    try {
      throw;
    } catch (const std::nested_exception& e) {
      cause = e.nested_ptr();
    } catch (...) {
    }
    const bool travels = cause && !alone_ && nested < max_nested_exceptions;
    w_.put(travels);
    if (!travels) return;
    try {
      std::rethrow_exception(cause);
    } catch (...) {
      encode_current(nested + 1);
    }
  }

  template <class... E>
  void encode_first(const std::exception& e, const std::string& type, type_list<E...>) {
    std::uint8_t tag = 0;
    if ((try_as<E>(e, type, tag) || ...)) return;
    // A user's class that derives from std::exception directly is no standard exception; its text travels all the same.
    head(typeid(e) == typeid(std::exception) ? tag_std_exception : tag_other, type, e.what());
  }

  template <class E>
  bool try_as(const std::exception& e, const std::string& type, std::uint8_t& tag) {
    if (const auto* known = dynamic_cast<const E*>(&e)) {
      head(tag, type, e.what());
      details(*known);
      return true;
    }
    ++tag;
    return false;
  }

  void head(std::uint8_t tag, std::string_view type, const char* what) {
    // A copy, as a text of the user may lie in viewed arguments, over which this may be written.
    const std::string copy(what == nullptr ? std::string_view() : std::string_view(what).substr(0, max_text_));
    w_.put(tag);
    text(type);
    text(copy);
  }

  void text(std::string_view s) { encode_plain_range(w_, s.data(), std::min(s.size(), max_text_)); }

  template <class E>
  void details(const E& e) {
    if constexpr (requires { e.code(); }) {
      text(e.code().category().name());
      w_.put(std::int32_t{e.code().value()});
    }
    if constexpr (std::is_same_v<E, std::filesystem::filesystem_error>) {
      text(e.path1().native());
      text(e.path2().native());
    }
    if constexpr (std::is_same_v<E, worker_lost>) {
      const worker_exit& x = e.exit();
      w_.put(std::int32_t{x.pid})
          .put(std::int32_t{x.signal})
          .put(x.exit_code)
          .put(x.status_known)
          .put(x.cause)
          .put(x.phase);
      w_.put(x.index).put(x.tasks_done).put(std::int64_t{x.age.count()});
      w_.put(x.user_microseconds).put(x.system_microseconds).put(x.max_rss_kilobytes);
    }
  }

  writer& w_;
  std::size_t max_text_;
  bool alone_;
};

COPROC_LAZY_DEF void encode_exception(writer& w) noexcept {
  struct attempt {
    std::size_t max_text;
    bool alone;
  };
  for (const attempt a :
       {attempt{max_exception_text, false}, attempt{64, false}, attempt{64, true}, attempt{0, true}}) {
    try {
      exception_encoder<>(w, a.max_text, a.alone).encode_current();
      return;
    } catch (...) {
      w.rewind();
    }
  }
}

COPROC_LAZY_CLASS class exception_decoder {
public:
  explicit exception_decoder(reader& r, unsigned nested = 0) : r_(r), nested_(nested) {}

  /// The exception, and the end of the payload.
  std::exception_ptr decode_all() {
    auto e = decode();
    r_.expect_end();
    return e;
  }

private:
  std::exception_ptr decode() {
    const auto tag = r_.get<std::uint8_t>();
    type_ = r_.get<std::string>();
    what_ = r_.get<std::string>();
    if (tag == tag_std_exception) return finish<remote<std::exception>>(std::move(type_), std::move(what_));
    if (tag == tag_other) {
      if (what_.empty()) what_ = "the task threw " + type_;
      return finish<remote_exception>(std::move(type_), what_);
    }
    if (tag == tag_registered) return decode_registered();
    return decode_as(tag, known_exceptions());
  }

  std::exception_ptr decode_registered() {
    const auto name = r_.get<std::string>();
    for (const auto* known = registered_exceptions.load(std::memory_order_acquire); known != nullptr;
         known = known->next)
      if (name == known->type->name())
        return known->decode(r_, type_, what_,
                             {[](void* self) { return static_cast<exception_decoder*>(self)->decode_cause(); }, this});
    reject("the type of an exception is not registered");
  }

  template <class... E>
  std::exception_ptr decode_as(std::size_t tag, type_list<E...>) {
    using decoder = std::exception_ptr (*)(exception_decoder&);
    static constexpr decoder decoders[] = {[](exception_decoder& self) { return self.rebuild<E>(); }...};
    if (tag >= sizeof...(E)) reject("the type of an exception is unknown");
    return decoders[tag](*this);
  }

  template <class E>
  std::exception_ptr rebuild() {
    if constexpr (std::is_same_v<E, worker_lost>) {
      static_cast<void>(code());
      const worker_exit how = exit();
      const std::string described = describe_end(how); // the rest was added to it
      return finish<worker_lost>(how, what_.starts_with(described) ? what_.substr(described.size()) : std::string());
    } else if constexpr (std::is_base_of_v<pool_error, E>) {
      const auto c = code();
      const auto prefix = prefix_of(what_, c);
      return prefix.empty() ? finish<E>(c) : finish<E>(c, prefix);
    } else if constexpr (std::is_same_v<E, std::filesystem::filesystem_error>) {
      const auto c = code();
      const auto path1 = r_.get<std::filesystem::path>();
      const auto path2 = r_.get<std::filesystem::path>();
      return wrap<E>(std::string(), path1, path2, c);
    } else if constexpr (std::is_same_v<E, std::ios_base::failure>) {
      return wrap<E>(std::string(), code());
    } else if constexpr (std::is_same_v<E, std::system_error>) {
      return wrap<E>(code());
    } else if constexpr (std::is_same_v<E, std::future_error>) {
      return wrap<E>(static_cast<std::future_errc>(code().value()));
    } else if constexpr (std::is_default_constructible_v<E>) {
      return wrap<E>();
    } else {
      return wrap<E>(what_);
    }
  }

  template <class E, class... A>
  std::exception_ptr wrap(A&&... base) {
    return finish<remote<E>>(std::move(type_), what_, static_cast<A&&>(base)...);
  }

  template <class E, class... A>
  std::exception_ptr finish(A&&... arguments) {
    return with_cause(E(static_cast<A&&>(arguments)...), decode_cause());
  }

  std::exception_ptr decode_cause() {
    if (!r_.get<bool>()) return nullptr;
    if (nested_ == max_nested_exceptions) reject("exceptions are nested too deeply");
    return exception_decoder(r_, nested_ + 1).decode();
  }

  // The categories that have one object a process, and registered ones; a code of any other becomes
  // errc::remote_exception.

  net::error_code code() {
    namespace e = net::error;
    const net::error_category* const categories[] = {
        &std::system_category(), &std::generic_category(), &std::iostream_category(),
        &std::future_category(), &error_category(),        &e::get_system_category(),
        &e::get_misc_category(), &e::get_netdb_category(), &e::get_addrinfo_category()};
    const auto name = r_.get<std::string>();
    const auto value = r_.get<std::int32_t>();
    for (const auto* category : categories)
      if (name == category->name()) return {value, *category};
    for (const auto* known = registered_categories.load(std::memory_order_acquire); known != nullptr;
         known = known->next)
      if (name == known->category->name()) return {value, *known->category};
    return make_error_code(errc::remote_exception);
  }

  worker_exit exit() {
    worker_exit x;
    x.pid = r_.get<std::int32_t>();
    x.signal = r_.get<std::int32_t>();
    x.exit_code = r_.get<std::optional<int>>();
    x.status_known = r_.get<bool>();
    x.cause = r_.get<exit_cause>();
    if (x.cause > exit_cause::idle) reject("the cause of a worker's end is unknown");
    x.phase = r_.get<exit_phase>();
    if (x.phase > exit_phase::running) reject("the phase of a worker's end is unknown");
    x.index = r_.get<unsigned>();
    x.tasks_done = r_.get<std::uint64_t>();
    x.age = std::chrono::nanoseconds(r_.get<std::int64_t>());
    x.user_microseconds = r_.get<std::int64_t>();
    x.system_microseconds = r_.get<std::int64_t>();
    x.max_rss_kilobytes = r_.get<std::int64_t>();
    return x;
  }

  // What system_error was given besides the code: its what() is "prefix: message", or the message alone.
  static std::string prefix_of(const std::string& what, const net::error_code& c) {
    const std::string message = c.message();
    if (what == message) return {};
    const std::string end = ": " + message;
    return what.ends_with(end) ? what.substr(0, what.size() - end.size()) : what;
  }

  reader& r_;
  unsigned nested_;
  std::string type_, what_;
};

/// The exception that encode_exception wrote: coproc's own types as they were, standard ones as remote<E>, all others
/// as remote_exception; bad_payload if the bytes are none of these.
COPROC_LAZY_DEF std::exception_ptr decode_exception(std::span<const std::byte> bytes) noexcept {
  try {
    reader r(bytes);
    return exception_decoder<>(r).decode_all();
  } catch (...) {
    return std::current_exception();
  }
}

// A forced unwind has no object, which UBSan would report where it is caught by reference.
COPROC_LAZY_DEF __attribute__((no_sanitize("null"))) outcome run_entry(entry_function entry,
                                                                       std::span<const std::byte> arguments,
                                                                       writer& result) {
  try {
    entry(arguments, result);
    return outcome::value;
  }
#if defined(__GLIBCXX__)
  catch (abi::__forced_unwind&) { // pthread_exit, pthread_cancel
    throw;
  }
#endif
  catch (...) {
    result.rewind();
    encode_exception(result);
    return outcome::exception;
  }
}

} // namespace coproc::detail
