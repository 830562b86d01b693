// SPDX-License-Identifier: BSL-1.0
// Memory for what an executor keeps of one function that is posted to it: taken beforehand, so that posting cannot
// fail. Front end, any thread. Layer net/.
#pragma once

#include <coproc/config.hpp>

#include <cstddef>

namespace coproc::detail {

/// Room for one posted function at a time: all that an io_context or a thread_pool asks for. A strand asks twice: for
/// the function, and for its own turn on the executor below. The second piece may outlive whoever posted, so it is a
/// spare block that is given away with the post.
/// \par Threads   one at a time; the executor synchronises the post with the call
/// \par Lifetime  must outlive the call, or the destruction, of the posted function
class post_room {
public:
  post_room() = default;
  post_room(const post_room&) = delete;
  post_room& operator=(const post_room&) = delete;
  ~post_room() {
    if (spare_ != nullptr) free(spare_);
  }

  /// For a post to a strand that is to be as sure. \par Errors  std::bad_alloc
  COPROC_DECL void add_spare();
  bool has_spare() const noexcept { return spare_ != nullptr; }

  /// The place, the spare, or the heap; std::bad_alloc only in the last case.
  COPROC_DECL void* allocate(std::size_t bytes);
  /// `room` may be gone when p was not its place.
  static void deallocate(post_room* room, void* p) noexcept {
    if (p == room->place_)
      room->place_is_taken_ = false;
    else
      free(p);
  }

private:
  // Asio 1.38 takes 40 and 64, 56 and 80 when it tracks handlers.
  static constexpr std::size_t place_bytes = 80, spare_bytes = 112;

  COPROC_LAZY static void* make(std::size_t bytes);
  COPROC_DECL static void free(void* block) noexcept;

  alignas(std::max_align_t) std::byte place_[place_bytes];
  bool place_is_taken_ = false;
  void* spare_ = nullptr;
};

/// What a posted function names as its allocator_type.
template <class T>
class post_allocator {
public:
  using value_type = T;

  explicit post_allocator(post_room& room) noexcept : room_(&room) {}
  template <class U>
  post_allocator(const post_allocator<U>& other) noexcept : room_(other.room_) {}

  T* allocate(std::size_t n) {
    static_assert(alignof(T) <= alignof(std::max_align_t));
    return static_cast<T*>(room_->allocate(n * sizeof(T)));
  }
  void deallocate(T* p, std::size_t) noexcept { post_room::deallocate(room_, p); }

  template <class U>
  bool operator==(const post_allocator<U>& other) const noexcept {
    return room_ == other.room_;
  }

private:
  template <class>
  friend class post_allocator;

  post_room* room_;
};

} // namespace coproc::detail

#if !defined(COPROC_SEPARATE_COMPILATION)
#include <coproc/net/post_room.ipp>
#endif
