// SPDX-License-Identifier: BSL-1.0
// What a process may use, parsed from samples of real systems and from nonsense. One process.
#include <coproc/os/cpu.hpp>

#include <catch2/catch.hpp>

using namespace coproc;

TEST_CASE("cpu.max: a quota is quota over period, max and nonsense are no limit") {
  CHECK(os::parse_cpu_max("150000 100000\n") == 1.5);
  CHECK(os::parse_cpu_max("50000 100000") == 0.5);
  CHECK(os::parse_cpu_max("400000\n 100000\n") == 4.0); // two files of v1, joined
  CHECK_FALSE(os::parse_cpu_max("max 100000\n"));
  CHECK_FALSE(os::parse_cpu_max("-1\n 100000\n"));
  CHECK_FALSE(os::parse_cpu_max(""));
  CHECK_FALSE(os::parse_cpu_max(" "));
  CHECK_FALSE(os::parse_cpu_max("0 100000"));
  CHECK_FALSE(os::parse_cpu_max("100000"));
  CHECK_FALSE(os::parse_cpu_max("100000 0"));
  CHECK_FALSE(os::parse_cpu_max("100000 -5"));
  CHECK_FALSE(os::parse_cpu_max("abc def"));
}

TEST_CASE("the group of a unified hierarchy") {
  const char* const v2 = "0::/user.slice/user-1000.slice/session-2.scope\n";
  CHECK(os::cgroup_path(v2, "") == "/user.slice/user-1000.slice/session-2.scope");
  CHECK_FALSE(os::cgroup_path(v2, "cpu"));
  CHECK(os::cgroup_path("0::/\n", "") == "/");
  CHECK(os::cgroup_path("0::/with:colon", "") == "/with:colon");
}

TEST_CASE("the group of a controller of version 1, and both at once") {
  const char* const v1 = "12:pids:/docker/abc\n"
                         "11:cpu,cpuacct:/docker/cpu\n"
                         "4:memory:/docker/mem\n"
                         "1:name=systemd:/docker/systemd\n"
                         "0::/unified\n";
  CHECK(os::cgroup_path(v1, "cpu") == "/docker/cpu");
  CHECK(os::cgroup_path(v1, "cpuacct") == "/docker/cpu");
  CHECK(os::cgroup_path(v1, "memory") == "/docker/mem");
  CHECK(os::cgroup_path(v1, "") == "/unified");
  CHECK_FALSE(os::cgroup_path(v1, "cpuset"));
  CHECK_FALSE(os::cgroup_path(v1, "cp"));
}

TEST_CASE("a list of groups that is no list gives nothing") {
  for (const char* text : {"", "\n", "\n\n", "a", "a:b", ":", "::", "0:cpu", "no colon\nat all\n"}) {
    CAPTURE(text);
    CHECK_FALSE(os::cgroup_path(text, "cpu"));
  }
  CHECK(os::cgroup_path("::", "") == "");
}

TEST_CASE("each level of the hierarchy is visited, from the group up to the root, also for odd paths") {
  const auto levels = [](const std::string& path) {
    std::vector<std::string> all;
    os::detail::each_level("R", path, [&](const std::string& dir) {
      all.push_back(dir);
      REQUIRE(all.size() < 10);
    });
    return all;
  };
  using list = std::vector<std::string>;
  CHECK(levels("/a/b") == list{"R/a/b", "R/a", "R"});
  CHECK(levels("/a") == list{"R/a", "R"});
  CHECK(levels("/") == list{"R"});
  CHECK(levels("") == list{"R"});
  CHECK(levels("a").back() == "R"); // no slash at all
  CHECK(levels("a/b").back() == "R");
  CHECK(levels("/../x").back() == "R");
}

TEST_CASE("this process has at least one CPU and some memory, and no more than the machine") {
  CHECK(os::usable_cpus() >= 1);
  CHECK(os::usable_cpus() <= static_cast<unsigned>(::sysconf(_SC_NPROCESSORS_CONF)));
  CHECK(os::usable_memory_bytes() > 1 << 20);
  CHECK(os::usable_memory_bytes() <=
        static_cast<std::uint64_t>(::sysconf(_SC_PHYS_PAGES)) * static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE)));
}

TEST_CASE("the affinity mask counts") {
  cpu_set_t before;
  REQUIRE(::sched_getaffinity(0, sizeof before, &before) == 0);
  cpu_set_t one;
  CPU_ZERO(&one);
  for (unsigned cpu = 0; CPU_COUNT(&one) == 0; ++cpu)
    if (CPU_ISSET(cpu, &before)) CPU_SET(cpu, &one);
  REQUIRE(::sched_setaffinity(0, sizeof one, &one) == 0);
  CHECK(os::usable_cpus() == 1);
  ::sched_setaffinity(0, sizeof before, &before);
}

TEST_CASE("a file that is not there reads as empty") {
  CHECK(os::read_small_file("/nowhere/at/all").empty());
  CHECK_FALSE(os::read_small_file("/proc/self/status").empty());
}
