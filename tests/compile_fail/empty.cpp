// SPDX-License-Identifier: BSL-1.0
// The source of a target that only carries compile flags; it is never built.
