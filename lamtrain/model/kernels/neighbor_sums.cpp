// What atoms take from their neighbours' vectors, without writing those out for every edge:
//
//   conv_i = sum_j u_ij * g_n(ij)  (elementwise)        H_ia = sum_j h_aij g_n(ij),  a = x, y, z
//
// All chunks of a layer at once: u (N, V, d), h (N, 3, V) and n (N, V) are lists, one entry a chunk, over consecutive rows;
// g is (A, d), conv (A, d), H (A, 3, d). Every derivative is a sum of the same kind, as the form is linear in each factor.
#include "tile.h"

namespace lam {
namespace {

template <class T>
struct View {  // raw pointers of one chunk
  const T *u, *h;
  const int64_t* n;
  int64_t N, V, start;
};

template <class T>
std::vector<View<T>> views(at::TensorList u, at::TensorList h, at::TensorList n) {
  std::vector<View<T>> out;
  int64_t start = 0;
  for (size_t k = 0; k < n.size(); ++k) {
    out.push_back({u[k].const_data_ptr<T>(), h[k].const_data_ptr<T>(), n[k].const_data_ptr<int64_t>(), n[k].size(0), n[k].size(1), start});
    start += n[k].size(0);
  }
  return out;
}

// conv = sum u g, H = sum h g for B vectors of columns, from `o` on, of one atom; the sums stay in registers.
template <class V, int B, class T>
inline void sum_columns(const T* u, const T* h, const int64_t* n, int64_t count, const T* g, int64_t d, int64_t o, T* conv, T* H) {
  constexpr int64_t L = sizeof(V) / sizeof(T);
  V c[B] = {}, x[B] = {}, y[B] = {}, z[B] = {};
  for (int64_t j = 0; j < count; ++j) {
    const T *row = g + n[j] * d + o, *uj = u + j * d + o, hx = h[j], hy = h[count + j], hz = h[2 * count + j];
    for (int b = 0; b < B; ++b) {
      const V r = *reinterpret_cast<const V*>(row + b * L);
      c[b] += *reinterpret_cast<const V*>(uj + b * L) * r;
      x[b] += hx * r, y[b] += hy * r, z[b] += hz * r;
    }
  }
  for (int b = 0; b < B; ++b) {
    *reinterpret_cast<V*>(conv + o + b * L) = c[b];
    *reinterpret_cast<V*>(H + o + b * L) = x[b], *reinterpret_cast<V*>(H + d + o + b * L) = y[b], *reinterpret_cast<V*>(H + 2 * d + o + b * L) = z[b];
  }
}

template <class T>
void sum_edges(at::TensorList u, at::TensorList h, at::TensorList n, const Tensor& g, Tensor& conv, Tensor& H) {
  using Vec = typename Lane<T>::Vec;
  constexpr int64_t L = Lane<T>::COUNT;
  const int64_t d = g.size(1);
  const T* pg = g.const_data_ptr<T>();
  T *pc = conv.data_ptr<T>(), *ph = H.data_ptr<T>();
  for (const auto& v : views<T>(u, h, n))
    at::parallel_for(0, v.N, 8, [&](int64_t first, int64_t last) {
      for (int64_t i = first; i < last; ++i) {
        const T *ui = v.u + i * v.V * d, *hi = v.h + i * 3 * v.V;
        T *ci = pc + (v.start + i) * d, *Hi = ph + (v.start + i) * 3 * d;
        int64_t o = 0;
        for (; o + 4 * L <= d; o += 4 * L) sum_columns<Vec, 4>(ui, hi, v.n + i * v.V, v.V, pg, d, o, ci, Hi);
        for (; o + L <= d; o += L) sum_columns<Vec, 1>(ui, hi, v.n + i * v.V, v.V, pg, d, o, ci, Hi);
        for (; o < d; ++o) sum_columns<T, 1>(ui, hi, v.n + i * v.V, v.V, pg, d, o, ci, Hi);
      }
    });
}

// u'_ij = P_i * g_n,  h'_aij = Q_ia . g_n   (either may be left out)
template <class T>
void spread_edges(at::TensorList n, const Tensor& g, const Tensor& P, const Tensor& Q, std::vector<Tensor>* gu, std::vector<Tensor>* gh) {
  const int64_t d = g.size(1);
  const T *pg = g.const_data_ptr<T>(), *pP = P.const_data_ptr<T>(), *pQ = Q.const_data_ptr<T>();
  int64_t start = 0;
  for (size_t k = 0; k < n.size(); ++k) {
    const int64_t N = n[k].size(0), V = n[k].size(1);
    const int64_t* pn = n[k].const_data_ptr<int64_t>();
    T *out = gu ? (*gu)[k].data_ptr<T>() : nullptr, *turn = gh ? (*gh)[k].data_ptr<T>() : nullptr;
    at::parallel_for(0, N, 8, [&](int64_t first, int64_t last) {
      for (int64_t i = first; i < last; ++i) {
        const T *p = pP + (start + i) * d, *q = pQ + (start + i) * 3 * d;
        for (int64_t j = 0; j < V; ++j) {
          const T* row = pg + pn[i * V + j] * d;
          if (out)
#pragma omp simd
            for (int64_t o = 0; o < d; ++o) out[(i * V + j) * d + o] = p[o] * row[o];
          if (!turn) continue;
          T x = 0, y = 0, z = 0;
#pragma omp simd reduction(+ : x, y, z)
          for (int64_t o = 0; o < d; ++o) x += q[o] * row[o], y += q[d + o] * row[o], z += q[2 * d + o] * row[o];
          turn[(i * 3) * V + j] = x, turn[(i * 3 + 1) * V + j] = y, turn[(i * 3 + 2) * V + j] = z;
        }
      }
    });
    start += N;
  }
}

// g'_n += u_ij * P_i + sum_a h_aij Q_ia. One sum for each thread, added in order, so that equal input gives equal bits.
template <class T>
Tensor scatter_edges(at::TensorList u, at::TensorList h, at::TensorList n, const Tensor& P, const Tensor& Q, int64_t rows) {
  const int64_t d = P.size(1), A = P.size(0), parts = std::min<int64_t>(A, at::get_num_threads());
  const T *pP = P.const_data_ptr<T>(), *pQ = Q.const_data_ptr<T>();
  const auto chunks = views<T>(u, h, n);
  Tensor sums = at::zeros({parts, rows, d}, P.options());
  at::parallel_for(0, parts, 1, [&](int64_t from, int64_t to) {
    for (int64_t part = from; part < to; ++part) {
      T* out = sums.data_ptr<T>() + part * rows * d;
      for (const auto& v : chunks) {
        const int64_t first = v.N * part / parts, last = v.N * (part + 1) / parts;
        for (int64_t i = first; i < last; ++i) {
          const T *p = pP + (v.start + i) * d, *q = pQ + (v.start + i) * 3 * d;
          for (int64_t j = 0; j < v.V; ++j) {
            const T *uj = v.u + (i * v.V + j) * d, *hi = v.h + i * 3 * v.V + j, x = hi[0], y = hi[v.V], z = hi[2 * v.V];
            T* row = out + v.n[i * v.V + j] * d;
#pragma omp simd
            for (int64_t o = 0; o < d; ++o) row[o] += uj[o] * p[o] + x * q[o] + y * q[d + o] + z * q[2 * d + o];
          }
        }
      }
    }
  });
  return parts == 1 ? sums[0] : sums.sum(0);
}

std::vector<Tensor> like(at::TensorList list) {
  std::vector<Tensor> out;
  for (const auto& t : list) out.push_back(at::empty_like(t));
  return out;
}

variable_list part(const variable_list& v, int64_t from, int64_t count) { return {v.begin() + from, v.begin() + from + count}; }

std::pair<Tensor, Tensor> sums_of(at::TensorList u, at::TensorList h, at::TensorList n, const Tensor& g) {
  int64_t rows = 0;
  for (const auto& t : n) rows += t.size(0);
  Tensor conv = at::empty({rows, g.size(1)}, g.options()), H = at::empty({rows, 3, g.size(1)}, g.options());
  AT_DISPATCH_FLOATING_TYPES(g.scalar_type(), "neighbor_sums", [&] { sum_edges<scalar_t>(u, h, n, g, conv, H); });
  return {conv, H};
}

struct Backward : torch::autograd::Function<Backward> {  // (g, P, Q, u, h, n) -> (g', u', h')
  static variable_list forward(AutogradContext* ctx, Tensor g, Tensor P, Tensor Q, at::TensorList u, at::TensorList h, at::TensorList n,
                               std::vector<bool> want) {
    variable_list saved{g, P, Q};
    for (auto list : {u, h, n}) saved.insert(saved.end(), list.begin(), list.end());
    ctx->save_for_backward(saved);
    ctx->set_materialize_grads(false);
    std::vector<Tensor> gu = like(u), gh = like(h);
    Tensor gg = at::empty_like(g);
    AT_DISPATCH_FLOATING_TYPES(g.scalar_type(), "neighbor_sums_backward", [&] {
      spread_edges<scalar_t>(n, g, P, Q, want[1] ? &gu : nullptr, want[2] ? &gh : nullptr);
      if (want[0]) gg = scatter_edges<scalar_t>(u, h, n, P, Q, g.size(0));
    });
    variable_list out{gg};
    out.insert(out.end(), gu.begin(), gu.end());
    out.insert(out.end(), gh.begin(), gh.end());
    return out;
  }
  static variable_list backward(AutogradContext* ctx, variable_list cot) {
    auto v = ctx->get_saved_variables();
    const int64_t K = (v.size() - 3) / 3;
    const Tensor g = v[0], P = v[1], Q = v[2];
    const variable_list u = part(v, 3, K), h = part(v, 3 + K, K), n = part(v, 3 + 2 * K, K);
    variable_list a, b;
    for (int64_t k = 0; k < K; ++k) a.push_back(filled(cot[1 + k], u[k])), b.push_back(filled(cot[1 + K + k], h[k]));
    auto [gP, gQ] = sums_of(a, b, n, g);
    std::vector<Tensor> gu(K), gh(K);
    if (cot[0].defined()) {
      const Tensor c = cot[0].contiguous();
      auto [more_P, more_Q] = sums_of(u, h, n, c);
      gP += more_P, gQ += more_Q;
      const bool want_u = wanted(ctx, 3, K), want_h = wanted(ctx, 3 + K, K);
      if (want_u) gu = like(u);
      if (want_h) gh = like(h);
      AT_DISPATCH_FLOATING_TYPES(g.scalar_type(), "neighbor_sums_second",
                                 [&] { spread_edges<scalar_t>(n, c, P, Q, want_u ? &gu : nullptr, want_h ? &gh : nullptr); });
    }
    Tensor gg;
    AT_DISPATCH_FLOATING_TYPES(g.scalar_type(), "neighbor_sums_second", [&] { gg = scatter_edges<scalar_t>(a, b, n, P, Q, g.size(0)); });
    variable_list out{gg, gP, gQ};
    out.insert(out.end(), gu.begin(), gu.end());
    out.insert(out.end(), gh.begin(), gh.end());
    out.resize(out.size() + K + 1);
    return out;
  }
};

struct Forward : torch::autograd::Function<Forward> {  // (g, u, h, n) -> (conv, H)
  static variable_list forward(AutogradContext* ctx, Tensor g, at::TensorList u, at::TensorList h, at::TensorList n) {
    variable_list saved{g};
    for (auto list : {u, h, n}) saved.insert(saved.end(), list.begin(), list.end());
    ctx->save_for_backward(saved);
    auto [conv, H] = sums_of(u, h, n, g);
    return {conv, H};
  }
  static variable_list backward(AutogradContext* ctx, variable_list cot) {
    auto v = ctx->get_saved_variables();
    const int64_t K = (v.size() - 1) / 3;
    const std::vector<bool> want{ctx->needs_input_grad(0), wanted(ctx, 1, K), wanted(ctx, 1 + K, K)};
    const variable_list u = part(v, 1, K), h = part(v, 1 + K, K), n = part(v, 1 + 2 * K, K);
    auto out = Backward::apply(v[0], cot[0].contiguous(), cot[1].contiguous(), at::TensorList(u), at::TensorList(h), at::TensorList(n), want);
    out.resize(out.size() + K);
    return out;
  }
};

}  // namespace

std::tuple<Tensor, Tensor> neighbor_sums(const Tensor& g, at::TensorList u, at::TensorList h, at::TensorList n) {
  TORCH_CHECK(g.device().is_cpu(), "the cpp kernels work on CPU tensors");
  const variable_list cu = contiguous(u), ch = contiguous(h), cn = contiguous(n);
  auto out = Forward::apply(g.contiguous(), at::TensorList(cu), at::TensorList(ch), at::TensorList(cn));
  return {out[0], out[1]};
}
}  // namespace lam
