// The environment matrix (see environment.py) with its derivatives by the edges, as one operator.
//
//   s(r), 1 near and 0 from the cutoff on     u = s / (r + p)     q = s / (r + p)^2
//   R_0 = (u - real mean) / std_0             R_x = q d_x / std_x
//
// With f, b, g_x the cotangents of s, R_0, R_x, and B = sum_x g_x d_x / std_x:
//
//   d'_x = K d_x / r + q g_x / std_x          K = f s' + b u' / std_0 + B q'
//
// d is (N, W, 3); s, R_0 and `seen` (N, W); mean (N,); std (N, 4). `seen` multiplies s.
#pragma once
#include "common.h"

namespace lam::environment {

struct Shape {  // of the switch; Å
  double smooth, cutoff, protection;
  int threads;
};

template <class T>
struct Radial {  // s, u, q of one edge, with first and second slopes
  T r, s, s1, s2, u, u1, u2, q, q1, q2;

  Radial(const T* d, T seen, const Shape& shape) {
    r = std::sqrt(d[0] * d[0] + d[1] * d[1] + d[2] * d[2]);
    const T width = T(shape.cutoff - shape.smooth), full = (r - T(shape.smooth)) / width;
    const T x = full < 0 ? T(0) : full > 1 ? T(1) : full, v = 1 / (r + T(shape.protection)), y = x * (x - 1);
    s = seen * (x * x * x * (-6 * x * x + 15 * x - 10) + 1);
    s1 = seen * -30 * y * y / width;
    s2 = seen * -60 * y * (2 * x - 1) / (width * width);
    u = s * v, u1 = (s1 - u) * v, u2 = (s2 - 2 * u1) * v;
    q = u * v, q1 = (u1 - q) * v, q2 = (u2 - 2 * q1) * v;
  }
};

// Calls body(edge, row of mean and std, its radial functions).
template <class T, class Body>
void over_edges(const Array& d, const Array& seen, const Shape& shape, Body body) {
  const int64_t N = d.size(0), W = d.size(1);
  const T *pd = data<T>(d), *visible = data<T>(seen);
  over_ranges(N, 32, shape.threads, [&](int64_t first, int64_t last) {
    for (int64_t n = first; n < last; ++n)
      for (int64_t e = n * W; e < (n + 1) * W; ++e) body(e, n, Radial<T>(pd + 3 * e, visible ? visible[e] : T(1), shape));
  });
}

template <class T>
void evaluate(const Array& d, const Array& seen, const Array& mean, const Array& std, const Shape& shape, const Arrays& out) {
  const T *pd = data<T>(d), *visible = data<T>(seen), *pm = data<T>(mean), *ps = data<T>(std);
  T *s = into<T>(out[0]), *radial = into<T>(out[1]), *direction = into<T>(out[2]);
  over_edges<T>(d, seen, shape, [&](int64_t e, int64_t n, const Radial<T>& f) {
    const T real = f.r < T(shape.cutoff) ? (visible ? visible[e] : T(1)) : T(0);
    s[e] = f.s;
    radial[e] = (f.u - real * pm[n]) / ps[4 * n];
    for (int x = 0; x < 3; ++x) direction[3 * e + x] = f.q * pd[3 * e + x] / ps[4 * n + 1 + x];
  });
}

template <class T>
void reverse(const Array& d, const Array& seen, const Array& std, const Shape& shape, const Array& f, const Array& b, const Array& g, const Array& out) {
  const T *pd = data<T>(d), *ps = data<T>(std);
  const T *pf = data<T>(f), *pb = data<T>(b), *pg = data<T>(g);
  T* p = into<T>(out);
  over_edges<T>(d, seen, shape, [&](int64_t e, int64_t n, const Radial<T>& at) {
    const T *de = pd + 3 * e, *sd = ps + 4 * n, gx = pg[3 * e] / sd[1], gy = pg[3 * e + 1] / sd[2], gz = pg[3 * e + 2] / sd[3];
    const T B = gx * de[0] + gy * de[1] + gz * de[2], K = (pf[e] * at.s1 + pb[e] / sd[0] * at.u1 + B * at.q1) / at.r;
    p[3 * e] = K * de[0] + at.q * gx, p[3 * e + 1] = K * de[1] + at.q * gy, p[3 * e + 2] = K * de[2] + at.q * gz;
  });
}

// The derivatives of sum_x a_x d'_x by f, b, g and, if asked, by d.
template <class T>
void second(const Array& d, const Array& seen, const Array& std, const Shape& shape, const Array& f, const Array& b, const Array& g, const Array& a,
            const Arrays& out) {
  const T *pd = data<T>(d), *ps = data<T>(std), *pa = data<T>(a);
  const T *pf = data<T>(f), *pb = data<T>(b), *pg = data<T>(g);
  T *of = into<T>(out[0]), *ob = into<T>(out[1]), *og = into<T>(out[2]), *od = into<T>(out[3]);
  over_edges<T>(d, seen, shape, [&](int64_t e, int64_t n, const Radial<T>& at) {
    const T *de = pd + 3 * e, *ae = pa + 3 * e, *sd = ps + 4 * n;
    const T along = (ae[0] * de[0] + ae[1] * de[1] + ae[2] * de[2]) / at.r;
    of[e] = along * at.s1;
    ob[e] = along * at.u1 / sd[0];
    for (int x = 0; x < 3; ++x) og[3 * e + x] = (along * at.q1 * de[x] + at.q * ae[x]) / sd[1 + x];
    if (!od) return;
    T B = 0, both = 0, gs[3];
    for (int x = 0; x < 3; ++x) gs[x] = pg[3 * e + x] / sd[1 + x], B += gs[x] * de[x], both += gs[x] * ae[x];
    const T K = pf[e] * at.s1 + pb[e] / sd[0] * at.u1 + B * at.q1, K1 = pf[e] * at.s2 + pb[e] / sd[0] * at.u2 + B * at.q2;
    for (int x = 0; x < 3; ++x)
      od[3 * e + x] = ((K1 - K / at.r) * along + at.q1 * both) * de[x] / at.r + K * ae[x] / at.r + along * at.q1 * gs[x];
  });
}

// The arrays that all three begin with, in their order.
struct Inputs {
  int64_t N, W;
  Shape shape;
  Array d, seen, mean, std;

  explicit Inputs(Call& in)
      : N(in.size()), W(in.size()), shape{in.number(), in.number(), in.number(), in.threads}, d(vectors(in)), seen(edges(in)), mean(in.array(N)), std(in.array(N, 4)) {}
  Array edges(Call& in) const { return in.array(N, W); }
  Array vectors(Call& in) const { return in.array(N, W, 3); }
};

template <class T>
void value(Call in) {
  const Inputs at(in);
  const Arrays out{at.edges(in), at.edges(in), at.vectors(in)};
  in.done();
  evaluate<T>(at.d, at.seen, at.mean, at.std, at.shape, out);
}

template <class T>
void first(Call in) {
  const Inputs at(in);
  const Array f = at.edges(in), b = at.edges(in), g = at.vectors(in), out = at.vectors(in);
  in.done();
  reverse<T>(at.d, at.seen, at.std, at.shape, f, b, g, out);
}

template <class T>
void second(Call in) {
  const Inputs at(in);
  const Array f = at.edges(in), b = at.edges(in), g = at.vectors(in), a = at.vectors(in);
  const Arrays out{at.edges(in), at.edges(in), at.vectors(in), at.vectors(in)};
  in.done();
  second<T>(at.d, at.seen, at.std, at.shape, f, b, g, a, out);
}
}  // namespace lam::environment
