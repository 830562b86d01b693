// SPDX-License-Identifier: BSL-1.0
// The parent's reader against a worker that writes whatever it likes: any word of the mailbox, slots and result file,
// at any moment between the dispatcher's looks. The input is a little program of honest steps and of garbage, so that a
// fuzzer gets to DONE heads and beyond. Whatever happens: each task completes once, results lie where results may lie,
// and decoding them gives a value or throws bad_payload. With COPROC_FUZZ_REPLAY a main that runs the files and
// directories it is given.
//
// The dispatcher loads some words twice in one step (it drains, then asks whether what is left is legal). A worker may
// write in between; so the input also asks the validator by itself, which loads once each time, with writes before and
// after. What it answers is compared with the rules, written down here once more.
#include <coproc/codec/call.hpp>
#include <coproc/front/record_handler.hpp>
#include <coproc/result_view.hpp>

#include "front/fake_workers.hpp"

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <set>

using namespace coproc;
using namespace coproc::testing;

namespace {

void check(bool holds, const char* what) {
  if (holds) return;
  std::fprintf(stderr, "parent_reader: %s\n", what);
  std::abort();
}

// ---- what results are decoded as

struct row {
  std::string name;
  std::vector<int> numbers;
  std::optional<std::variant<int, std::string, std::monostate>> maybe;
  std::map<std::string, std::vector<double>> map;
  bool flag = false;
  std::bitset<9> bits;
};

struct tree {
  std::string name;
  std::vector<tree> children;
};

enum class colour : unsigned char { red, green };

// What a view shows may change at any time, but it is there.
struct views {
  result_view<double> one;
  std::vector<result_view<char>> more;
};

template <class T>
void look(const result_view<T>& v) {
  if (v.empty()) return;
  const T first = v[0], last = v[v.size() - 1];
  asm volatile("" : : "m"(first), "m"(last));
}
void look(const views& v) {
  look(v.one);
  for (const auto& each : v.more) look(each);
}
template <class R>
void look(const R&) {}

using decoder = void (*)(front::task_record&);

template <class R>
void decode_as(front::task_record& t) {
  try {
    front::viewed_memory far(t);
    if constexpr (std::is_void_v<R>)
      coproc::detail::decode_result<R>(result_bytes(t), &far);
    else
      look(coproc::detail::decode_result<R>(result_bytes(t), &far));
  } catch (const bad_payload&) {
  }
}

constexpr decoder decoders[] = {decode_as<void>,
                                decode_as<int>,
                                decode_as<bool>,
                                decode_as<colour>,
                                decode_as<std::string>,
                                decode_as<std::vector<int>>,
                                decode_as<std::vector<bool>>,
                                decode_as<row>,
                                decode_as<tree>,
                                decode_as<std::vector<std::vector<std::string>>>,
                                decode_as<std::map<int, std::optional<std::string>>>,
                                decode_as<std::filesystem::path>,
                                decode_as<views>,
                                decode_as<std::optional<result_view<char>>>,
                                decode_as<std::tuple<char, std::chrono::nanoseconds, std::array<short, 3>>>};

// ---- the world

constexpr std::size_t result_file_bytes = 4096, max_result_bytes = 2048;

// Made once: a run only clears it.
struct shared_files {
  std::shared_ptr<front::worker_memory> memory = std::make_shared<front::worker_memory>();
  os::mapping writable_results;

  shared_files() {
    const auto mailbox = os::make_memfd("coproc-test-mailbox", shm::mailbox_bytes);
    memory->mailbox_map = os::mapping(mailbox.get(), shm::mailbox_bytes, os::access::read_write);
    const auto results = os::make_memfd("coproc-test-results", result_file_bytes);
    memory->results_map = os::mapping(results.get(), result_file_bytes, os::access::read_only);
    writable_results = os::mapping(results.get(), result_file_bytes, os::access::read_write);
  }
  void clear() {
    std::memset(static_cast<void*>(&memory->mailbox()), 0, sizeof(shm::mailbox));
    std::memset(writable_results.data(), 0, result_file_bytes);
    memory->freed_since_flush = false;
    for (auto& flag : memory->returned) flag = 0;
  }
};

class input {
public:
  explicit input(std::span<const std::uint8_t> bytes) : bytes_(bytes) {}
  bool empty() const { return bytes_.empty(); }
  std::uint64_t number(std::size_t size) {
    std::uint64_t n = 0;
    const std::size_t have = std::min(size, bytes_.size());
    for (std::size_t i = 0; i != have; ++i) n |= std::uint64_t{bytes_[i]} << (8 * i);
    bytes_ = bytes_.subspan(have);
    return n;
  }
  std::span<const std::uint8_t> some(std::size_t size) {
    const auto front = bytes_.first(std::min(size, bytes_.size()));
    bytes_ = bytes_.subspan(front.size());
    return front;
  }

private:
  std::span<const std::uint8_t> bytes_;
};

class world {
public:
  explicit world(std::span<const std::uint8_t> bytes)
      : in_(bytes),
        d_({.max_workers = workers, .max_queue = 100, .kill_grace = 10ms, .exit_status_wait = 10ms}, effects_) {
    for (unsigned i = 0; i != workers; ++i) {
      shared_files& f = files(i);
      f.clear();
      hands_.emplace_back(f.memory);
      d_.add_worker(std::make_unique<front::worker>(i, i + 1, f.memory, max_result_bytes), now_);
      d_.workers().started(i + 1, static_cast<pid_t>(1000 + i), {}, now_);
    }
  }

  void run() {
    while (!in_.empty()) act();
    for (unsigned i = 0; i != workers; ++i) d_.workers().exited(i + 1, pool_bench::killed_by(SIGKILL), now_);
    turn(256);
    d_.terminate(SIGTERM, now_);
    turn(256);
    check(d_.outstanding() == 0 && d_.books().accepted_bytes() == 0, "a task has not completed");
    check(open_ == 0, "a task has not completed once");
  }

private:
  static constexpr unsigned workers = 2;

  static shared_files& files(unsigned i) {
    static shared_files all[workers];
    return all[i];
  }

  void act() {
    const auto choice = in_.number(1);
    const auto who = static_cast<unsigned>(choice >> 7);
    hand_worker& w = hands_[who];
    switch (choice & 127) {
    case 127: return ask_validator(who);
    case 126: return end_early();
    default: break;
    }
    switch (choice % 13) {
    case 0: submit(); break;
    case 1: claim(w); break;
    case 2: finish(w); break;
    case 3: turn(1 + in_.number(1)); break;
    case 4: { // any word of the mailbox
      const std::size_t at = in_.number(2) % (sizeof(shm::mailbox) / 8);
      reinterpret_cast<std::atomic<std::uint64_t>*>(&w.mailbox())[at].store(in_.number(8));
      break;
    }
    case 5: { // a state word that is nearly right
      const std::uint64_t seq = w.cursor + in_.number(1) - 8;
      w.mailbox()
          .at(w.cursor + in_.number(1) % 4)
          .state.store(shm::pack(seq, static_cast<shm::slot_state>(in_.number(1) % 8)));
      break;
    }
    case 6: { // the result file
      const std::size_t at = in_.number(2) % result_file_bytes;
      const auto bytes = in_.some(std::min<std::size_t>(in_.number(1), result_file_bytes - at));
      std::copy(bytes.begin(), bytes.end(), reinterpret_cast<std::uint8_t*>(files(who).writable_results.data() + at));
      break;
    }
    case 7: cancel(); break;
    case 8:
      now_ += std::chrono::microseconds(in_.number(2));
      turn(256);
      break;
    case 9: d_.workers().died(who + 1, now_); break;
    case 10: d_.workers().exited(who + 1, pool_bench::killed_by(static_cast<int>(in_.number(1) % 64)), now_); break;
    case 11: look(); break;
    case 12: w.initialized(); break;
    }
    while (front::task_record* t = d_.completed().pop_front()) complete(*t);
  }

  static bool claim(hand_worker& w) {
    if (w.running || shm::load_state(w.head()) != shm::pack(w.cursor, shm::slot_state::ready)) return false;
    return w.running = shm::claim(w.head(), w.cursor) == shm::claim_result::claimed;
  }

  // An honest DONE with a header and bytes that are not.
  void finish(hand_worker& w) {
    if (!w.running && !claim(w)) {
      if (shm::load_state(w.head()) != shm::pack(w.cursor, shm::slot_state::revoked)) return;
      shm::acknowledge(w.head(), w.cursor++);
      return;
    }
    const auto shape = in_.number(1);
    auto kind = static_cast<shm::result_kind>(shape % 8);
    if (kind > shm::result_kind::exception_in_file)
      kind = static_cast<shm::result_kind>(shm::result_tag{kind, in_.number(1) % 65}.pack());
    const std::uint64_t offset = (shape & 8) != 0 ? in_.number(6) : in_.number(1) * 16;
    const std::uint64_t length = (shape & 16) != 0 ? in_.number(8) : in_.number(1);
    const auto bytes = in_.some(std::min<std::size_t>(length, shm::inline_bytes));
    std::copy(bytes.begin(), bytes.end(), reinterpret_cast<std::uint8_t*>(w.head().bytes));
    w.finish(kind, length, offset);
  }

  void submit() {
    const auto shape = in_.number(1);
    front::task_record& t = records().acquire();
    t.call = {shape % std::size(decoders), 0, shape % 16};
    t.special = (shape & 32) != 0;
    if (t.special) {
      auto& terms = make_details(t).terms;
      terms.timeout = (shape & 64) != 0 ? duration(50us) : unlimited;
      terms.soft_timeout = (shape & 128) != 0 ? duration(20us) : unlimited;
    }
    t.may_wait = true;
    ++open_;
    issued_.insert(&t);
    d_.submit(t, now_);
    d_.pump(now_);
  }

  void cancel() {
    const auto which = in_.number(1);
    if (issued_.empty()) return;
    front::task_record* const t = *std::next(issued_.begin(), static_cast<std::ptrdiff_t>(which % issued_.size()));
    d_.cancel(*t, t->ticket.load(), static_cast<front::cancel_strength>(which % 3), now_);
    d_.pump(now_);
  }

  void turn(std::size_t budget) {
    d_.drain(budget, now_);
    d_.tick(now_);
    d_.pump(now_);
    while (front::task_record* t = d_.completed().pop_front()) complete(*t);
  }

  // What else reads the worker's words.
  void look() {
    d_.waking().arm(++arm_epoch_);
    static_cast<void>(d_.waking().any_head_done());
    front::head_set heads;
    d_.waking().add_heads(heads);
    static_cast<void>(heads.any_done());
    static_cast<void>(d_.waking().worth_spinning(0, false));
    static_cast<void>(d_.waking().workload(0));
    static_cast<void>(d_.waking().first_due(now_, 0));
    static_cast<void>(d_.next_deadline());
    d_.waking().flush(arm_epoch_ % 2 != 0, [](front::worker&) {});
    d_.waking().disarm();
  }

  // Both questions, as after a change since the last look. They take nothing out of the ring.
  void ask_validator(unsigned who) {
    using task_state = front::worker::task_state;
    d_.workers().each_worker([&](front::worker& w) {
      if (w.incarnation != who + 1) return;
      head_position at;
      w.add_head(at);
      const std::uint64_t head = at.done_word >> 3;
      std::uint64_t next = head;
      bool legal = true;
      w.each_issued([&](front::task_record& t) {
        for (; next != t.seq; ++next) legal &= is_revoked(w, next);
        ++next;
        const std::uint64_t word = shm::load_state(w.mailbox().at(t.seq));
        const bool is_head = t.seq == head, is_ready = word == shm::pack(t.seq, shm::slot_state::ready);
        task_state expected = task_state::illegal;
        if (is_ready) expected = task_state::ready;
        if (word == shm::pack(t.seq, shm::slot_state::running)) expected = task_state::running;
        if (word == shm::pack(t.seq, shm::slot_state::done)) expected = task_state::done;
        const task_state seen = w.state_of(t);
        // READY at the head is a lie if that was seen RUNNING, by whatever looked before.
        check(seen == expected || (is_head && is_ready && seen == task_state::illegal),
              "the validator sees a task in a state that its word does not say");
        legal &= seen == task_state::ready || (seen == task_state::running && is_head);
        if (is_head && seen == task_state::running) check_is_remembered(w, t);
      });
      for (; next != head + w.load(); ++next) legal &= is_revoked(w, next);
      check(w.legal_remains() == legal, "the validator takes an illegal ring for a legal one, or the other way round");
    });
  }

  // A head that was seen RUNNING cannot be READY again.
  void check_is_remembered(front::worker& w, const front::task_record& t) {
    auto& word = w.mailbox().at(t.seq).state;
    const std::uint64_t running = word.exchange(shm::pack(t.seq, shm::slot_state::ready));
    check(w.state_of(t) == front::worker::task_state::illegal, "RUNNING is not remembered");
    word = running;
  }

  struct head_position {
    std::uint64_t done_word = 0;
    void add(const shm::slot&, std::uint64_t its_done_word) { done_word = its_done_word; }
  };

  static bool is_revoked(const front::worker& w, std::uint64_t seq) {
    return shm::load_state(w.mailbox().at(seq)) == shm::pack(seq, shm::slot_state::revoked);
  }

  // The pool ends while its workers do what they like.
  void end_early() {
    const auto how = in_.number(1);
    if (how % 3 == 0)
      d_.shut_down(now_ + std::chrono::microseconds(how), now_);
    else
      d_.terminate(how % 3 == 1 ? SIGTERM : SIGKILL, now_);
    turn(256);
  }

  void complete(front::task_record& t) {
    check(issued_.erase(&t) == 1, "a task completes twice");
    --open_;
    switch (t.outcome) {
    case front::verdict::value:
    case front::verdict::exception:
      check(lies_well(t), "a result lies where none may lie");
      if (t.outcome == front::verdict::value)
        decoders[t.call.entry](t);
      else
        check(coproc::detail::decode_exception(result_bytes(t)) != nullptr, "no exception");
      break;
    case front::verdict::lost: check(details(t).exit.has_value(), "worker_lost without a cause"); break;
    default: break;
    }
    records().recycle(t);
  }

  static bool lies_well(const front::task_record& t) {
    if (!t.has_cold_part) return !t.result_in_file && t.result_length <= front::task_record::near_bytes;
    const front::task_details& cold = details(t);
    if (!t.result_in_file)
      return t.result_length <= shm::inline_bytes &&
             (cold.loan != front::task_details::no_loan) == (cold.result_owner != nullptr);
    if (!cold.result_owner || t.result_length > max_result_bytes) return false;
    const auto& map = cold.result_owner->results_map;
    return cold.far_result >= map.data() && cold.far_result + t.result_length <= map.data() + map.size();
  }

  static front::record_store& records() {
    static fake_engine engine;
    return engine.records;
  }

  input in_;
  recorded_effects effects_;
  front::dispatcher d_;
  std::vector<hand_worker> hands_;
  std::set<front::task_record*> issued_;
  os::time_point now_ = os::time_point{} + 1h;
  std::uint64_t arm_epoch_ = 0, open_ = 0;
};

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  world({data, size}).run();
  return 0;
}

#if defined(COPROC_FUZZ_REPLAY)
int main(int argc, char** argv) {
  std::size_t replayed = 0;
  const auto replay = [&](const std::filesystem::path& path) {
    std::ifstream file(path, std::ios::binary);
    const std::vector<char> bytes{std::istreambuf_iterator<char>(file), {}};
    world(std::span(reinterpret_cast<const std::uint8_t*>(bytes.data()), bytes.size())).run();
    ++replayed;
  };
  for (int i = 1; i < argc; ++i)
    if (std::filesystem::is_directory(argv[i]))
      for (const auto& entry : std::filesystem::directory_iterator(argv[i])) replay(entry.path());
    else
      replay(argv[i]);
  std::printf("parent_reader: %zu inputs replayed\n", replayed);
  return replayed == 0; // a corpus that is not there is no success
}
#endif
