// The three-body sum (see three_body.py): D_m = sum_jk e_jk G_m(e_jk; types of j and k), nothing of the size of e but e kept.
//
// First derivative, with c the cotangent of D: e'_jk = sum_m c_m (G_m + e_jk G'_m), G' the slope of the net.
// e is (N, V, V), R R^T and so equal to its transpose; types (N, V); table row of a pair is type_j + ntypes * type_k.
// Two edges whose atoms are of one type are a pair that is computed once and counted twice: the derivative stands at one
// of (j, k) and (k, j), and nothing at the other. A slot with e_jj = 0 is empty: nothing of it reaches D, nor, behind the switch, a derivative.
#pragma once
#include <algorithm>
#include "lanes.h"

namespace lam::three_body {

// Up to LANES pairs of one atom. Lanes past the end count 0 times.
template <class T>
struct Batch {
  int64_t atom, count = 0;
  alignas(64) T x[LANES], times[LANES];
  int64_t place[LANES];  // in e
  Runs runs;

  void add(T value, T how_often, int64_t row, int64_t where) {
    x[count] = value, times[count] = how_often, place[count] = where;
    runs.add(count++, row);
  }
};

// Calls body(lanes, batch) for the pairs of the atoms `first:last`, those of two types one after the other.
template <class T, class Body>
void over_pairs(const Array& e, const Array& types, int64_t ntypes, const Net<T>& net, int64_t first, int64_t last, bool slope, Body body) {
  const int64_t V = e.size(1);
  Lanes<T> lanes(net);
  Batch<T> batch;
  std::vector<int64_t> slots;
  const auto flush = [&] {
    for (int64_t l = batch.count; l < LANES; ++l) batch.x[l] = batch.times[l] = 0;
    batch.runs.end[batch.runs.count - 1] = LANES;
    lanes.evaluate(net, batch.x, batch.runs, slope);
    body(lanes, batch);
    batch.count = batch.runs.count = 0;
  };
  for (int64_t n = first; n < last; ++n) {
    const T* x = data<T>(e) + n * V * V;
    const int64_t* t = data<int64_t>(types) + n * V;
    slots.clear();
    for (int64_t j = 0; j < V; ++j)
      if (x[j * V + j] != 0) slots.push_back(j);
    std::stable_sort(slots.begin(), slots.end(), [&](int64_t j, int64_t k) { return t[j] < t[k]; });
    batch.atom = n;
    const auto after = [&](auto from) { return std::find_if(from, slots.end(), [&](int64_t k) { return t[k] != t[*from]; }); };
    for (auto a = slots.begin(), a_end = a; a != slots.end(); a = a_end) {
      a_end = after(a);
      for (auto b = slots.begin(), b_end = b; b != slots.end(); b = b_end) {
        b_end = after(b);
        const int64_t row = t[*a] + ntypes * t[*b];
        for (auto j = a; j != a_end; ++j)
          for (auto k = a == b ? j : b; k != b_end; ++k) {
            batch.add(x[*j * V + *k], a == b && k != j ? 2 : 1, row, (n * V + *j) * V + *k);
            if (batch.count == LANES) flush();
          }
      }
    }
    if (batch.count) flush();
  }
}

template <class T>
void sum_pairs(const Array& e, const Array& types, int64_t ntypes, const Arrays& weights, const Array& D, int threads) {
  const Net<T> net(weights);
  T* d = into<T>(D);
  const int64_t m = net.last();
  over_ranges(e.size(0), 4, threads, [&](int64_t first, int64_t last) {
    zero_rows<T>(D, first, last);
    over_pairs<T>(e, types, ntypes, net, first, last, false, [&](Lanes<T>& lanes, const Batch<T>& batch) {
      for (int64_t o = 0; o < m; ++o) {
        const T* h = &lanes.h.back()[o * LANES];
        T sum = 0;
#pragma omp simd reduction(+ : sum)
        for (int64_t l = 0; l < LANES; ++l) sum += batch.times[l] * batch.x[l] * h[l];
        d[batch.atom * m + o] += sum;
      }
    });
  });
}

template <class T>
void slope_pairs(const Array& e, const Array& types, int64_t ntypes, const Arrays& weights, const Array& c, const Array& ge, int threads) {
  const Net<T> net(weights);
  const T* pc = data<T>(c);
  T* g = into<T>(ge);
  const int64_t m = net.last();
  over_ranges(e.size(0), 4, threads, [&](int64_t first, int64_t last) {
    zero_rows<T>(ge, first, last);
    over_pairs<T>(e, types, ntypes, net, first, last, true, [&](Lanes<T>& lanes, const Batch<T>& batch) {
      T sum[LANES] = {};
      for (int64_t o = 0; o < m; ++o) {
        const T *h = &lanes.h.back()[o * LANES], *t = &lanes.t.back()[o * LANES], w = pc[batch.atom * m + o];
#pragma omp simd
        for (int64_t l = 0; l < LANES; ++l) sum[l] += w * (h[l] + batch.x[l] * t[l]);
      }
      for (int64_t l = 0; l < batch.count; ++l) g[batch.place[l]] = batch.times[l] * sum[l];
    });
  });
}

// Reverse of sum_jk a_jk e'_jk if `a` is given, else of sum_m c_m D_m. Fills what is not null: gradients of the weights, of c, of e.
template <class T>
void reverse_pairs(const Array& e, const Array& types, int64_t ntypes, const Arrays& weights, const Array& c, const Array& a, const Array& gc, const Array& ge,
                   const Arrays& grads_out, int threads) {
  const Net<T> net(weights);
  const T *pc = data<T>(c), *pa = data<T>(a);
  const int64_t m = net.last(), N = e.size(0), parts = parts_of(N, threads);
  std::vector<Gradients<T>> grads;
  for (int64_t k = 0; k < parts; ++k) grads.emplace_back(net);
  over_parts(parts, threads, [&](int64_t k) {
    for (const Array& clean : {gc, ge})
      if (clean) zero_rows<T>(clean, N * k / parts, N * (k + 1) / parts);
    over_pairs<T>(e, types, ntypes, net, N * k / parts, N * (k + 1) / parts, bool(a), [&](Lanes<T>& lanes, const Batch<T>& batch) {
      const T* x = batch.x;
      T w[LANES] = {}, extra[LANES] = {}, gx[LANES];
      for (int64_t l = 0; l < batch.count; ++l) w[l] = batch.times[l] * (a ? pa[batch.place[l]] : x[l]);
      for (int64_t o = 0; o < m; ++o) {
        const T *h = &lanes.h.back()[o * LANES], *t = &lanes.t.back()[o * LANES], co = pc[batch.atom * m + o];
        T *u = &lanes.up[o * LANES], *v = &lanes.up_t[o * LANES], sum = 0;
#pragma omp simd reduction(+ : sum)
        for (int64_t l = 0; l < LANES; ++l) {
          u[l] = w[l] * co;
          v[l] = w[l] * x[l] * co;
          sum += w[l] * (h[l] + x[l] * t[l]);
          extra[l] += w[l] * co * t[l];
        }
        if (gc) into<T>(gc)[batch.atom * m + o] += sum;
      }
      if (a)
        lanes.template reverse<true>(net, grads[k], x, batch.runs, ge ? gx : nullptr);
      else
        lanes.template reverse<false>(net, grads[k], x, batch.runs, ge ? gx : nullptr);
      for (int64_t l = 0; ge && l < batch.count; ++l) into<T>(ge)[batch.place[l]] = gx[l] + extra[l];
    });
  });
  Gradients<T>::total(grads, grads_out);
}

struct Inputs {
  int64_t N, V, ntypes;
  NetShape net;
  Array e, types;
  Arrays weights;

  explicit Inputs(Call& in) : N(in.size()), V(in.size()), ntypes(in.size()), net(in), e(pairs(in)), types(in.array(N, V)), weights(net.weights(in)) {}
  Array pairs(Call& in) const { return in.array(N, V, V); }
  Array sums(Call& in) const { return in.array(N, net.width.back()); }
};

template <class T>
void value(Call in) {
  const Inputs at(in);
  const Array D = at.sums(in);
  in.done();
  sum_pairs<T>(at.e, at.types, at.ntypes, at.weights, D, in.threads);
}

template <class T>
void slope(Call in) {
  const Inputs at(in);
  const Array c = at.sums(in), ge = at.pairs(in);
  in.done();
  slope_pairs<T>(at.e, at.types, at.ntypes, at.weights, c, ge, in.threads);
}

template <class T>
void reverse(Call in) {
  const Inputs at(in);
  const Array c = at.sums(in), a = at.pairs(in), gc = at.sums(in), ge = at.pairs(in);
  const Arrays grads = at.net.weights(in);
  in.done();
  reverse_pairs<T>(at.e, at.types, at.ntypes, at.weights, c, a, gc, ge, grads, in.threads);
}
}  // namespace lam::three_body
