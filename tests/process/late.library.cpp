// SPDX-License-Identifier: BSL-1.0
// A library that bad_input.test.cpp loads after its pool was made, so that the workers do not have it. Built as a
// MODULE named late.so; depends on nothing.
extern "C" [[gnu::visibility("default")]] int late_function(int n) { return n + 1; }
