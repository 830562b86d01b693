# SPDX-License-Identifier: BSL-1.0
# The compiler's flags in ${flags}, from INCLUDES=a|b and DEFINITIONS=A|B.
set(flags -std=c++20)
string(REPLACE "|" ";" includes "${INCLUDES}")
string(REPLACE "|" ";" definitions "${DEFINITIONS}")
foreach(directory IN LISTS includes)
  list(APPEND flags "-I${directory}") # unlike -isystem it leaves the place of the compiler's own directories alone
endforeach()
foreach(definition IN LISTS definitions)
  list(APPEND flags "-D${definition}")
endforeach()
