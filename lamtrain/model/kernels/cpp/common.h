// What the operators share: rows split over threads.
#pragma once
#include <algorithm>
#include <cmath>
#include <vector>
#include "array.h"
#include "elementary.h"
#include "pool.h"

namespace lam {
// Into how many parts work on `rows` is split. One with several threads has more parts than they are, so that a thread that comes late costs
// little. Sums of parts are added in order: equal input and as many threads give equal bits.
inline int64_t parts_of(int64_t rows, int threads) {
  return std::max<int64_t>(1, threads < 2 ? 1 : std::min<int64_t>(rows, 3 * threads));
}

// Calls body(part) for each part, in parallel.
template <class Body>
void over_parts(int64_t parts, int threads, const Body& body) {
  Pool::here().run(parts, threads, body);
}

// Calls body(first, last) for parts of at least `grain` of the rows.
template <class Body>
void over_ranges(int64_t rows, int64_t grain, int threads, const Body& body) {
  const int64_t parts = parts_of(rows / grain, threads);
  over_parts(parts, threads, [&](int64_t part) { body(rows * part / parts, rows * (part + 1) / parts); });
}
}  // namespace lam
