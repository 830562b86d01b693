# SPDX-License-Identifier: BSL-1.0
# What docs/Doxyfile has each header filtered by; lines stay where they are. sed -E.

# "\par Threads  any": the title, two blanks, the text. To doxygen the title would be the whole line.
s/\\par (([A-Z][a-z]+, )*[A-Z][a-z]+) {2,}/\\par \1 \\ilinebr /

# A specialisation of a template of std, whose scope doxygen does not know.
/^template <>$/ {
  N
  s/^template <>\nstruct std::.*$/\n/
}
