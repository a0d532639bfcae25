// What an edge takes from the other edges of its centre, as one operator: logits, gated softmax and weighted sum, edge by edge.
//
//   s_hj = q_h . x_j     p_hj = softmax_j(s_hj c_j + b_j), with phantom columns     A_hj = p_hj d_j     o_h = sum_j A_hj x_j
//
// for each edge i of an atom: q, o are (N, V, H, K); x (N, V, K); c, b, d (N, V, V), shared by the heads. With o' the cotangent
// of o, w_hj = o'_h . x_j and <f> = sum_j p_j f_j, the first derivative is
//
//   u = p (w d - <w d>)     q' = (u c) x     x' = A^T o' + (u c)^T q     c' = sum_h u s     b' = sum_h u     d' = sum_h p w
//
// The second, with Q, X, e, f, g the cotangents of q', x', c', b', d':
//
//   t = Q x^T + q X^T    y = o' X^T    v = t c + s e + f    z = (w d - <w d>) v - w d <v> + g w + y d    r = p (z - <z>)
//   S = r c + u e        W = p (d (v - <v>) + g)
//   q'' = S x + (u c) X      o'' = W x + A X      x'' = W^T o' + S^T q + (u c)^T Q
//   c'' = sum_h (r s + u t)      b'' = sum_h r      d'' = sum_h p (w (v - <v>) + y)
//
// Nothing of the size of s is kept between the passes: computing it again from L1 is cheaper than reading it back.
#include <limits>
#include "tile.h"

namespace lam {
namespace {

struct Shape {
  int64_t N, V, H, K;
  explicit Shape(const Tensor& q) : N(q.size(0)), V(q.size(1)), H(q.size(2)), K(q.size(3)) {}
};

// The buffers of one atom, and what of one of its edges all passes compute first.
template <class T>
struct Edge {
  const int64_t V, H, K, cols, dims;  // `cols`, `dims`: V and K in whole vectors
  Buffer<T> x, xt, s, p, c, b, d, phantom_logit, row;
  Buffer<T> left, right;  // factors of x' and x'': up to three (H, cols) with o, q and Q, (H, dims) each

  explicit Edge(const Shape& shape)
      : V(shape.V), H(shape.H), K(shape.K), cols(Lane<T>::padded(V)), dims(Lane<T>::padded(K)), x(V * dims), xt(K * cols), s(H * cols),
        p(H * cols), c(V * cols), b(V * cols, T(-1e30)), d(V * cols), phantom_logit(H), row(H * dims), left(3 * H * cols), right(3 * H * dims) {}

  // All edges at once: what is padded just before it is read is slow to read.
  void set_atom(const T* px, const T* pc, const T* pb, const T* pd) {
    pad_rows(px, V, K, x.data(), dims);
    transpose_rows(px, V, K, xt.data(), cols);
    pad_rows(pc, V, V, c.data(), cols), pad_rows(pb, V, V, b.data(), cols), pad_rows(pd, V, V, d.data(), cols);
  }

  // s and p of edge i of the atom, from its queries.
  void set_edge(int64_t i, const T* pq, T phantom) {
    const T *ci = &c[i * cols], *bi = &b[i * cols];
    multiply(pq, K, H, xt.data(), cols, K, s.data(), cols);
    for (int64_t h = 0; h < H; ++h) {
      T top = phantom > 0 ? T(-20) : -std::numeric_limits<T>::max();
      T* u = &p[h * cols];
      const T* sh = &s[h * cols];
#pragma omp simd reduction(max : top)
      for (int64_t j = 0; j < cols; ++j) {
        u[j] = sh[j] * ci[j] + bi[j];
        top = u[j] > top ? u[j] : top;
      }
#pragma omp simd
      for (int64_t j = 0; j < cols; ++j) u[j] -= top;
      phantom_logit[h] = T(-20) - top;
    }
    exp_all(p.data(), H * cols);
    if (phantom > 0) exp_all(phantom_logit.data(), H);
    for (int64_t h = 0; h < H; ++h) {
      T sum = phantom > 0 ? phantom * phantom_logit[h] : T(0);
      T* u = &p[h * cols];
#pragma omp simd reduction(+ : sum)
      for (int64_t j = 0; j < cols; ++j) sum += u[j];
      const T scale = T(1) / sum;
#pragma omp simd
      for (int64_t j = 0; j < cols; ++j) u[j] *= scale;
    }
  }

  void write(const Buffer<T>& from, T* to) const { unpad_rows(from.data(), H, K, to, dims); }
};

template <class T>
void forward_edges(const Tensor& q, const Tensor& x, const Tensor& c, const Tensor& b, const Tensor& d, double phantom, Tensor& out) {
  const Shape n(q);
  at::parallel_for(0, n.N, 1, [&](int64_t first, int64_t last) {
    Edge<T> e(n);
    for (int64_t a = first; a < last; ++a) {
      e.set_atom(data<T>(x) + a * n.V * n.K, data<T>(c) + a * n.V * n.V, data<T>(b) + a * n.V * n.V, data<T>(d) + a * n.V * n.V);
      for (int64_t i = a * n.V; i < (a + 1) * n.V; ++i) {
        e.set_edge(i - a * n.V, data<T>(q) + i * n.H * n.K, T(phantom));
        const T* dj = &e.d[(i - a * n.V) * e.cols];
        for (int64_t h = 0; h < n.H; ++h)
#pragma omp simd
          for (int64_t j = 0; j < e.cols; ++j) e.p[h * e.cols + j] *= dj[j];
        multiply(e.p.data(), e.cols, n.H, e.x.data(), e.dims, n.V, e.row.data(), e.dims);
        e.write(e.row, out.data_ptr<T>() + i * n.H * n.K);
      }
    }
  });
}

struct First {  // q', x' and, if wanted, c', b', d'
  Tensor q, x, c, b, d;
};

template <class T>
void first_edges(const Tensor& q, const Tensor& x, const Tensor& c, const Tensor& b, const Tensor& d, const Tensor& o, double phantom, First& g,
                 bool geometry) {
  const Shape n(q);
  at::parallel_for(0, n.N, 1, [&](int64_t first, int64_t last) {
    Edge<T> e(n);
    Buffer<T> w(n.H * e.cols), gx(e.cols * e.dims), gc(e.cols), gb(e.cols), gd(e.cols);
    for (int64_t a = first; a < last; ++a) {
      e.set_atom(data<T>(x) + a * n.V * n.K, data<T>(c) + a * n.V * n.V, data<T>(b) + a * n.V * n.V, data<T>(d) + a * n.V * n.V);
      std::fill(gx.begin(), gx.end(), T(0));
      for (int64_t i = a * n.V; i < (a + 1) * n.V; ++i) {
        const int64_t k = (i - a * n.V) * e.cols;
        const T *po = data<T>(o) + i * n.H * n.K, *pq = data<T>(q) + i * n.H * n.K, *ci = &e.c[k], *di = &e.d[k];
        e.set_edge(i - a * n.V, pq, T(phantom));
        pad_rows(po, n.H, n.K, e.right.data(), e.dims), pad_rows(pq, n.H, n.K, &e.right[n.H * e.dims], e.dims);
        multiply(po, n.K, n.H, e.xt.data(), e.cols, n.K, w.data(), e.cols);
        for (auto* t : {&gc, &gb, &gd}) std::fill(t->begin(), t->end(), T(0));
        for (int64_t h = 0; h < n.H; ++h) {
          const T *ph = &e.p[h * e.cols], *sh = &e.s[h * e.cols], *wh = &w[h * e.cols];
          T *weight = &e.left[h * e.cols], *slope = &e.left[(n.H + h) * e.cols], mean = 0;  // A and u c
#pragma omp simd reduction(+ : mean)
          for (int64_t j = 0; j < e.cols; ++j) mean += ph[j] * wh[j] * di[j];
#pragma omp simd
          for (int64_t j = 0; j < e.cols; ++j) {
            const T u = ph[j] * (wh[j] * di[j] - mean);
            gc[j] += u * sh[j], gb[j] += u, gd[j] += ph[j] * wh[j];
            weight[j] = ph[j] * di[j];
            slope[j] = u * ci[j];
          }
        }
        multiply(&e.left[n.H * e.cols], e.cols, n.H, e.x.data(), e.dims, n.V, e.row.data(), e.dims);
        e.write(e.row, g.q.data_ptr<T>() + i * n.H * n.K);
        multiply_transposed(e.left.data(), e.cols, 2 * n.H, e.right.data(), e.dims, n.V, gx.data());
        if (!geometry) continue;
        std::copy_n(gc.begin(), n.V, g.c.data_ptr<T>() + i * n.V);
        std::copy_n(gb.begin(), n.V, g.b.data_ptr<T>() + i * n.V);
        std::copy_n(gd.begin(), n.V, g.d.data_ptr<T>() + i * n.V);
      }
      unpad_rows(gx.data(), n.V, n.K, g.x.data_ptr<T>() + a * n.V * n.K, e.dims);
    }
  });
}

struct Second {
  Tensor Q, X, e, f, g;     // cotangents of q', x', c', b', d'
  Tensor q, x, o, c, b, d;  // q'', x'', o'' and, if wanted, c'', b'', d''
};

template <class T>
void second_edges(const Tensor& q, const Tensor& x, const Tensor& c, const Tensor& b, const Tensor& d, const Tensor& o, double phantom, Second& m,
                  bool geometry) {
  const Shape n(q);
  at::parallel_for(0, n.N, 1, [&](int64_t first, int64_t last) {
    Edge<T> e(n);
    const int64_t cols = e.cols, dims = e.dims;
    Buffer<T> X(n.V * dims), Xt(n.K * cols), w(n.H * cols), t(n.H * cols), y(n.H * cols), v(cols), gx(cols * dims);
    Buffer<T> ce(n.V * cols), cf(n.V * cols), cg(n.V * cols), gc(cols), gb(cols), gd(cols);
    for (int64_t a = first; a < last; ++a) {
      e.set_atom(data<T>(x) + a * n.V * n.K, data<T>(c) + a * n.V * n.V, data<T>(b) + a * n.V * n.V, data<T>(d) + a * n.V * n.V);
      pad_rows(data<T>(m.X) + a * n.V * n.K, n.V, n.K, X.data(), dims);
      transpose_rows(data<T>(m.X) + a * n.V * n.K, n.V, n.K, Xt.data(), cols);
      pad_rows(data<T>(m.e) + a * n.V * n.V, n.V, n.V, ce.data(), cols);
      pad_rows(data<T>(m.f) + a * n.V * n.V, n.V, n.V, cf.data(), cols);
      pad_rows(data<T>(m.g) + a * n.V * n.V, n.V, n.V, cg.data(), cols);
      std::fill(gx.begin(), gx.end(), T(0));
      for (int64_t i = a * n.V; i < (a + 1) * n.V; ++i) {
        const int64_t k = (i - a * n.V) * cols;
        const T *pq = data<T>(q) + i * n.H * n.K, *po = data<T>(o) + i * n.H * n.K, *pQ = data<T>(m.Q) + i * n.H * n.K;
        const T *ci = &e.c[k], *di = &e.d[k], *ei = &ce[k], *fi = &cf[k], *gi = &cg[k];
        e.set_edge(i - a * n.V, pq, T(phantom));
        pad_rows(po, n.H, n.K, e.right.data(), dims), pad_rows(pq, n.H, n.K, &e.right[n.H * dims], dims);
        pad_rows(pQ, n.H, n.K, &e.right[2 * n.H * dims], dims);
        multiply(po, n.K, n.H, e.xt.data(), cols, n.K, w.data(), cols);
        multiply(pQ, n.K, n.H, e.xt.data(), cols, n.K, t.data(), cols);
        multiply(pq, n.K, n.H, Xt.data(), cols, n.K, t.data(), cols, true);
        multiply(po, n.K, n.H, Xt.data(), cols, n.K, y.data(), cols);
        for (auto* sum : {&gc, &gb, &gd}) std::fill(sum->begin(), sum->end(), T(0));
        for (int64_t h = 0; h < n.H; ++h) {
          const T *s = &e.s[h * cols], *wh = &w[h * cols], *th = &t[h * cols], *yh = &y[h * cols];
          T *p = &e.p[h * cols], *W = &e.left[h * cols], *S = &e.left[(n.H + h) * cols], *slope = &e.left[(2 * n.H + h) * cols];
          T mean = 0, drift = 0, total = 0;
#pragma omp simd reduction(+ : mean, drift)
          for (int64_t j = 0; j < cols; ++j) {
            v[j] = th[j] * ci[j] + s[j] * ei[j] + fi[j];
            mean += p[j] * wh[j] * di[j];
            drift += p[j] * v[j];
          }
#pragma omp simd reduction(+ : total)
          for (int64_t j = 0; j < cols; ++j) {
            const T wd = wh[j] * di[j];
            total += p[j] * ((wd - mean) * v[j] - wd * drift + gi[j] * wh[j] + yh[j] * di[j]);
          }
#pragma omp simd
          for (int64_t j = 0; j < cols; ++j) {
            const T wd = wh[j] * di[j], u = p[j] * (wd - mean);
            const T r = p[j] * ((wd - mean) * v[j] - wd * drift + gi[j] * wh[j] + yh[j] * di[j] - total);
            gc[j] += r * s[j] + u * th[j], gb[j] += r, gd[j] += p[j] * (wh[j] * (v[j] - drift) + yh[j]);
            S[j] = r * ci[j] + u * ei[j];
            W[j] = p[j] * (di[j] * (v[j] - drift) + gi[j]);
            slope[j] = u * ci[j];
            p[j] *= di[j];  // from here on A
          }
        }
        multiply(&e.left[n.H * cols], cols, n.H, e.x.data(), dims, n.V, e.row.data(), dims);
        multiply(&e.left[2 * n.H * cols], cols, n.H, X.data(), dims, n.V, e.row.data(), dims, true);
        e.write(e.row, m.q.data_ptr<T>() + i * n.H * n.K);
        multiply(e.left.data(), cols, n.H, e.x.data(), dims, n.V, e.row.data(), dims);
        multiply(e.p.data(), cols, n.H, X.data(), dims, n.V, e.row.data(), dims, true);
        e.write(e.row, m.o.data_ptr<T>() + i * n.H * n.K);
        multiply_transposed(e.left.data(), cols, 3 * n.H, e.right.data(), dims, n.V, gx.data());
        if (!geometry) continue;
        std::copy_n(gc.begin(), n.V, m.c.data_ptr<T>() + i * n.V);
        std::copy_n(gb.begin(), n.V, m.b.data_ptr<T>() + i * n.V);
        std::copy_n(gd.begin(), n.V, m.d.data_ptr<T>() + i * n.V);
      }
      unpad_rows(gx.data(), n.V, n.K, m.x.data_ptr<T>() + a * n.V * n.K, dims);
    }
  });
}

struct Backward : torch::autograd::Function<Backward> {  // (q, x, c, b, d, o', phantom) -> (q', x', c', b', d')
  static variable_list forward(AutogradContext* ctx, Tensor q, Tensor x, Tensor c, Tensor b, Tensor d, Tensor o, int64_t phantom, bool geometry) {
    ctx->save_for_backward({q, x, c, b, d, o});
    ctx->saved_data["phantom"] = phantom;
    ctx->set_materialize_grads(false);
    const Tensor none = at::empty({0}, q.options());
    First g{at::empty_like(q), at::empty_like(x), none, none, none};
    if (geometry) g.c = at::empty_like(c), g.b = at::empty_like(c), g.d = at::empty_like(c);
    AT_DISPATCH_FLOATING_TYPES(q.scalar_type(), "pair_attention_backward",
                               [&] { first_edges<scalar_t>(q, x, c, b, d, o, double(phantom), g, geometry); });
    return {g.q, g.x, g.c, g.b, g.d};
  }
  static variable_list backward(AutogradContext* ctx, variable_list cot) {
    const auto v = ctx->get_saved_variables();
    const Tensor q = v[0], x = v[1], c = v[2], b = v[3], d = v[4], o = v[5];
    const bool geometry = wanted(ctx, 2, 3);
    Second m{filled(cot[0], q), filled(cot[1], x), filled(cot[2], c), filled(cot[3], c), filled(cot[4], c), at::empty_like(q), at::empty_like(x),
             at::empty_like(o), {}, {}, {}};
    if (geometry) m.c = at::empty_like(c), m.b = at::empty_like(c), m.d = at::empty_like(c);
    const double phantom = double(ctx->saved_data["phantom"].toInt());
    AT_DISPATCH_FLOATING_TYPES(q.scalar_type(), "pair_attention_second", [&] { second_edges<scalar_t>(q, x, c, b, d, o, phantom, m, geometry); });
    return {m.q, m.x, m.c, m.b, m.d, m.o, Tensor(), Tensor()};
  }
};

struct Forward : torch::autograd::Function<Forward> {  // (q, x, c, b, d, phantom) -> o
  static Tensor forward(AutogradContext* ctx, Tensor q, Tensor x, Tensor c, Tensor b, Tensor d, int64_t phantom) {
    ctx->save_for_backward({q, x, c, b, d});
    ctx->saved_data["phantom"] = phantom;
    Tensor out = at::empty_like(q);
    AT_DISPATCH_FLOATING_TYPES(q.scalar_type(), "pair_attention", [&] { forward_edges<scalar_t>(q, x, c, b, d, double(phantom), out); });
    return out;
  }
  static variable_list backward(AutogradContext* ctx, variable_list g) {
    const auto v = ctx->get_saved_variables();
    const bool geometry = wanted(ctx, 2, 3);
    auto out = Backward::apply(v[0], v[1], v[2], v[3], v[4], g[0].contiguous(), ctx->saved_data["phantom"].toInt(), geometry);
    if (!geometry) out[2] = out[3] = out[4] = Tensor();
    out.push_back(Tensor());
    return out;
  }
};

}  // namespace

Tensor pair_attention(const Tensor& q, const Tensor& x, const Tensor& c, const Tensor& b, const Tensor& d, int64_t phantom) {
  TORCH_CHECK(q.device().is_cpu(), "the cpp kernels work on CPU tensors");
  return Forward::apply(q.contiguous(), x.contiguous(), c.contiguous(), b.contiguous(), d.contiguous(), phantom);
}
}  // namespace lam
