// SPDX-License-Identifier: BSL-1.0
// How the library is compiled. Bodies stand in *.ipp files, which the headers include at their end. Header-only by
// default; with COPROC_SEPARATE_COMPILATION defined for the whole program, public headers leave theirs out
// (COPROC_DECL), and with them the engine: one source file of the program then includes <coproc/src.hpp>. Vocabulary:
// every layer may include it.
//
// A file that includes coproc and makes no pool must not pay for the engine. A body that is in sight of it is therefore
// that of a function template, whose one parameter is never given: the compiler reads all of them, and compiles those
// that are called. docs/design/010 has the reasons.
#pragma once

/// 1: at its orderly end a worker looks for what its tasks have leaked, reports it and ends with exit code 72. Only
/// for builds with LeakSanitizer or AddressSanitizer, and for the whole program.
#if !defined(COPROC_CHECK_LEAKS)
#define COPROC_CHECK_LEAKS 0
#endif

/// Stands before a function that is defined in an *.ipp file and called only by others of these, and before its
/// definition.
#define COPROC_LAZY                                                                                                    \
  template <class = void>                                                                                              \
  inline
#define COPROC_LAZY_DEF                                                                                                \
  template <class>                                                                                                     \
  inline

/// The same for a class, where functions are virtual and so can be no templates.
#define COPROC_LAZY_CLASS template <class = void>

/// Stands before what there is one of in a process, also where shared libraries are compiled with -fvisibility=hidden:
/// a variable, or a type whose objects are caught or compared on both sides. A program that loads such libraries with
/// dlopen must export its symbols (-rdynamic); else each has its own all the same. A static variable of an inline
/// function is none of these: it stays hidden under -fvisibility-inlines-hidden.
#define COPROC_VISIBLE [[gnu::visibility("default")]]

/// As COPROC_LAZY, for functions that users call, or whose callers users compile: where the library is compiled
/// separately, its source file alone has them.
#if defined(COPROC_SEPARATE_COMPILATION)
#define COPROC_DECL COPROC_VISIBLE
#define COPROC_DEF
#else
#define COPROC_DECL COPROC_LAZY
#define COPROC_DEF COPROC_LAZY_DEF
#endif
