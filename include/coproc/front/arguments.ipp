// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <coproc/front/arguments.hpp>

#include <algorithm>
#include <cstring>
#include <stdexcept>
#include <string>
#include <utility>

namespace coproc::detail::front {

COPROC_LAZY_DEF pool_error arguments::too_large(std::uint64_t bytes) const {
  const bool payload = bytes > max_payload_;
  return pool_error(make_error_code(errc::payload_too_large),
                    "the arguments of this call take more than the " +
                        std::to_string(payload ? max_payload_ : max_queue_bytes_) +
                        " bytes of pool_options::" + (payload ? "max_payload" : "max_queue_bytes"));
}

COPROC_LAZY_DEF void arguments::grow(task_record& t, writer& w, std::size_t more_bytes) const {
  const std::uint64_t most = limit(max_payload_, max_queue_bytes_);
  if (more_bytes > most || w.size() > most - more_bytes)
    throw too_large(w.size() + std::min(more_bytes, ~std::size_t{0} - w.size()));
  task_details& d = make_details(t);
  if (w.size() + more_bytes <= sizeof d.bytes) {
    std::memcpy(d.bytes, w.data(), w.size());
    return w.rebase(d.bytes, sizeof d.bytes);
  }
  shm::argument_block block = segments_->allocate(w.size() + more_bytes);
  std::memcpy(block.data(), w.data(), w.size());
  d.block = std::move(block);
  t.encumbered = true;
  w.rebase(d.block.data(), d.block.capacity());
}

COPROC_LAZY_DEF void arguments::seal(task_record& t, writer& w) const {
  if (w.size() > limit(max_payload_, max_queue_bytes_)) throw too_large(w.size());
  t.call.length = w.size();
  task_details& d = make_details(t);
  if (d.block && w.data() == d.block.data()) {
    d.block.set_used(w.size());
    t.call.location = shm::packed_location{d.block.owner().id(), d.block.offset()}.pack();
  } else if (w.data() != t.bytes && w.size() <= sizeof t.bytes) { // it was rewound after it had grown
    std::memcpy(t.bytes, w.data(), w.size());
  }
}

COPROC_LAZY_DEF void arguments::keep(task_record& t, const std::shared_ptr<const array_memory>& memory) const {
  if (memory->owner != owner())
    throw std::invalid_argument(
        "coproc: this argument_array was made for another pool, whose workers alone can map it: make it for the pool "
        "of this call, or pass a std::span of it, which is copied");
  t.call.location = task_record::inline_and_lent;
  make_details(t).arrays.push_back(memory);
}

COPROC_LAZY_DEF std::shared_ptr<const array_memory> arguments::lend(std::size_t count,
                                                                    std::size_t element_bytes) const {
  if (count > max_payload_ / element_bytes)
    throw pool_error(make_error_code(errc::payload_too_large),
                     "an argument_array of " + std::to_string(count) + " elements takes more than the " +
                         std::to_string(max_payload_) + " bytes of pool_options::max_payload");
  const std::size_t bytes = count * element_bytes;
  return std::make_shared<const array_block>(segments_->allocate(bytes), bytes);
}

} // namespace coproc::detail::front
