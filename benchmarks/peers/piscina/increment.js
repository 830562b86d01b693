// SPDX-License-Identifier: BSL-1.0
// The task of the Node peer, run in piscina's worker.
"use strict";
module.exports = (value) => value + 1;
