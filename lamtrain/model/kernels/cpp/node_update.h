// What the vector of an atom takes from its terms (see residual.py), as one operator on rows of d values:
//
//   out = u + sum_k r_k y_k        y_k = tanh(p_k), or p_k where the term is not to be activated
//
// With g the cotangent of out and s_k = 1 - y_k^2 (or 1), the first derivative is u' = g, p_k' = g r_k s_k, r_k' = sum g y_k; the second,
// with P_k the cotangents of p_k',
//
//   g'' = sum_k P_k r_k s_k        p_k'' = -2 y_k s_k g r_k P_k (or 0)        r_k'' = sum P_k g s_k
#pragma once
#include "common.h"

namespace lam::node_update {
// Sizes: rows, d, how many terms there are, whether each is activated. Arrays: r of each term; then those of each function.
struct Inputs {
  int64_t rows, d;
  std::vector<int64_t> active;
  Arrays r;
  int threads;

  explicit Inputs(Call& in) : rows(in.size()), d(in.size()), active(in.size()), threads(in.threads) {
    for (int64_t& one : active) one = in.size();
    r = vectors(in);
  }
  int64_t terms() const { return active.size(); }
  Array matrix(Call& in) const { return in.array(rows, d); }
  Arrays matrices(Call& in) const {
    Arrays all;
    for (int64_t k = 0; k < terms(); ++k) all.push_back(matrix(in));
    return all;
  }
  Arrays vectors(Call& in) const {
    Arrays all;
    for (int64_t k = 0; k < terms(); ++k) all.push_back(in.array(d));
    return all;
  }
};

// Calls body(where a row begins, its term, sums of this part) for every term of every row; adds the sums (d) of all parts up in order.
template <class T, class Body>
void over_terms(const Inputs& at, const Arrays& sums, Body body) {
  const int64_t parts = parts_of(at.rows / 16, at.threads);
  std::vector<std::vector<T>> partial(parts, std::vector<T>(at.terms() * at.d));
  over_parts(parts, at.threads, [&](int64_t part) {
    for (int64_t i = at.rows * part / parts; i < at.rows * (part + 1) / parts; ++i)
      for (int64_t k = 0; k < at.terms(); ++k) body(i * at.d, k, partial[part].data() + k * at.d);
  });
  for (int64_t k = 0; k < int64_t(sums.size()); ++k) {
    if (!sums[k]) continue;
    std::fill_n(into<T>(sums[k]), at.d, T(0));
    for (const auto& part : partial)
      for (int64_t o = 0; o < at.d; ++o) into<T>(sums[k])[o] += part[k * at.d + o];
  }
}

// Reads u and every p; writes out and, where a term is activated, y.
template <class T>
void value(Call in) {
  const Inputs at(in);
  const Array u = at.matrix(in);
  const Arrays p = at.matrices(in), y = at.matrices(in);
  const Array out = at.matrix(in);
  in.done();
  over_terms<T>(at, {}, [&](int64_t row, int64_t k, T*) {
    const T *from = k ? data<T>(out) + row : data<T>(u) + row, *term = data<T>(p[k]) + row, *r = data<T>(at.r[k]);
    T* to = into<T>(out) + row;
    if (at.active[k]) {
      T* kept = into<T>(y[k]) + row;
      std::copy_n(term, at.d, kept);
      tanh_all(kept, at.d);
      term = kept;
    }
#pragma omp simd
    for (int64_t o = 0; o < at.d; ++o) to[o] = from[o] + r[o] * term[o];
  });
}

// Reads every y (p where it is not activated) and g; writes every p' and, if asked, r'.
template <class T>
void first(Call in) {
  const Inputs at(in);
  const Arrays y = at.matrices(in);
  const Array g = at.matrix(in);
  const Arrays gp = at.matrices(in), gr = at.vectors(in);
  in.done();
  over_terms<T>(at, gr, [&](int64_t row, int64_t k, T* sum) {
    const T *yk = data<T>(y[k]) + row, *up = data<T>(g) + row, *r = data<T>(at.r[k]), curved = at.active[k] ? 1 : 0;
    T* to = into<T>(gp[k]) + row;
#pragma omp simd
    for (int64_t o = 0; o < at.d; ++o) {
      to[o] = up[o] * r[o] * (1 - curved * yk[o] * yk[o]);
      sum[o] += up[o] * yk[o];
    }
  });
}

// Reads every y, g and every P; writes g'' and every p'' that is activated and, if asked, r''.
template <class T>
void second(Call in) {
  const Inputs at(in);
  const Arrays y = at.matrices(in);
  const Array g = at.matrix(in);
  const Arrays P = at.matrices(in);
  const Array gg = at.matrix(in);
  const Arrays gp = at.matrices(in), gr = at.vectors(in);
  in.done();
  over_terms<T>(at, gr, [&](int64_t row, int64_t k, T* sum) {
    const T *yk = data<T>(y[k]) + row, *up = data<T>(g) + row, *r = data<T>(at.r[k]), *cot = data<T>(P[k]) + row, curved = at.active[k] ? 1 : 0;
    T *to = into<T>(gg) + row, *bent = at.active[k] ? into<T>(gp[k]) + row : nullptr;
#pragma omp simd
    for (int64_t o = 0; o < at.d; ++o) {
      const T along = cot[o] * (1 - curved * yk[o] * yk[o]);
      to[o] = (k ? to[o] : T(0)) + along * r[o];
      sum[o] += along * up[o];
    }
    if (!bent) return;
#pragma omp simd
    for (int64_t o = 0; o < at.d; ++o) bent[o] = -2 * yk[o] * (1 - yk[o] * yk[o]) * up[o] * r[o] * cot[o];
  });
}
}  // namespace lam::node_update
