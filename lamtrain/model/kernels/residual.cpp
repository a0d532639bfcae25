// Updates that are finished, scaled and added in one pass (see residual.py), with first and second derivatives.
//
//   u + r tanh(a)            with y = tanh(a), s = 1 - y^2 and g the cotangent:
//                              a' = g r s       r' = sum g y
//                            with A the cotangent of a':
//                              g' = A r s       r'' = sum A g s       a'' = -2 y s r A g
//
//   u + w norm(z) + b        with n = (z - <z>) rho, rho = (<(z - <z>)^2> + eps)^-1/2, <.> the mean over a row and P h = h - <h> - n <h n>:
//                              z' = rho P(g w)  w' = sum g n          b' = sum g
//                            with Z the cotangent of z' and h = g w:
//                              g' = w rho P(Z)  w'' = sum g rho P(Z)
//                              z'' = -rho^2 (n (<Zh> - <Z><h> - 3 <Zn><hn>) + (Z - <Z>) <hn> + (h - <h>) <Zn>)
//
// u, a, z are (..., K); r, w, b (K,). The gradient of u is g itself.
#include "common.h"

namespace lam {
namespace {

// Calls body(row, sums) for all rows; each thread has `sums` (K,) of its own, of which the total is returned.
template <class T, class Body>
Tensor over_rows(const Tensor& like, Body body) {
  const int64_t K = like.size(-1), rows = like.numel() / K, parts = parts_of(rows / 64);
  Tensor sums = at::zeros({parts, K}, like.options());
  over_parts(parts, [&](int64_t part) {
    for (int64_t row = rows * part / parts; row < rows * (part + 1) / parts; ++row) body(row * K, sums.data_ptr<T>() + part * K);
  });
  return parts == 1 ? sums[0] : sums.sum(0);
}

// sum over rows of g f
template <class T>
Tensor products(const Tensor& g, const Tensor& f) {
  const int64_t K = g.size(-1);
  const T *pg = data<T>(g), *pf = data<T>(f);
  return over_rows<T>(g, [&](int64_t p, T* sums) {
#pragma omp simd
    for (int64_t o = 0; o < K; ++o) sums[o] += pg[p + o] * pf[p + o];
  });
}

template <class T>
void tanh_slopes(const Tensor& g, const Tensor& r, const Tensor& y, Tensor& out) {
  const int64_t K = r.numel();
  const T *pg = data<T>(g), *pr = data<T>(r), *py = data<T>(y);
  T* po = out.data_ptr<T>();
  at::parallel_for(0, y.numel() / K, 256, [&](int64_t from, int64_t to) {
    for (int64_t p = from * K; p < to * K; p += K)
#pragma omp simd
      for (int64_t o = 0; o < K; ++o) po[p + o] = pg[p + o] * pr[o] * (1 - py[p + o] * py[p + o]);
  });
}

template <class T>
Tensor tanh_second(const Tensor& g, const Tensor& r, const Tensor& y, const Tensor& A, Tensor& gg, Tensor& ga) {
  const int64_t K = r.numel();
  const T *pg = data<T>(g), *pr = data<T>(r), *py = data<T>(y), *pA = data<T>(A);
  T *og = gg.data_ptr<T>(), *oa = ga.data_ptr<T>();
  return over_rows<T>(y, [&](int64_t p, T* sums) {
#pragma omp simd
    for (int64_t o = 0; o < K; ++o) {
      const T t = py[p + o], slope = (1 - t * t) * pA[p + o];
      og[p + o] = slope * pr[o];
      oa[p + o] = -2 * t * slope * pr[o] * pg[p + o];
      sums[o] += slope * pg[p + o];
    }
  });
}

template <class T>
void normalize(const Tensor& u, const Tensor& z, const Tensor& w, const Tensor& b, T eps, Tensor& out, Tensor& n, Tensor& rho) {
  const int64_t K = w.numel();
  const T *pu = data<T>(u), *pz = data<T>(z), *pw = data<T>(w), *pb = data<T>(b);
  T *po = out.data_ptr<T>(), *pn = n.data_ptr<T>(), *pr = rho.data_ptr<T>();
  at::parallel_for(0, z.numel() / K, 256, [&](int64_t from, int64_t to) {
    for (int64_t row = from, p = from * K; row < to; ++row, p += K) {
      T mean = 0, square = 0;
#pragma omp simd reduction(+ : mean)
      for (int64_t o = 0; o < K; ++o) mean += pz[p + o];
      mean /= K;
#pragma omp simd reduction(+ : square)
      for (int64_t o = 0; o < K; ++o) square += (pz[p + o] - mean) * (pz[p + o] - mean);
      const T r = pr[row] = 1 / std::sqrt(square / K + eps);
#pragma omp simd
      for (int64_t o = 0; o < K; ++o) {
        const T t = (pz[p + o] - mean) * r;
        pn[p + o] = t;
        po[p + o] = pu[p + o] + pw[o] * t + pb[o];
      }
    }
  });
}

template <class T>
void norm_slopes(const Tensor& g, const Tensor& w, const Tensor& n, const Tensor& rho, Tensor& out) {
  const int64_t K = w.numel();
  const T *pg = data<T>(g), *pw = data<T>(w), *pn = data<T>(n), *pr = data<T>(rho);
  T* po = out.data_ptr<T>();
  at::parallel_for(0, n.numel() / K, 256, [&](int64_t from, int64_t to) {
    for (int64_t row = from, p = from * K; row < to; ++row, p += K) {
      T h = 0, hn = 0;
#pragma omp simd reduction(+ : h, hn)
      for (int64_t o = 0; o < K; ++o) h += pg[p + o] * pw[o], hn += pg[p + o] * pw[o] * pn[p + o];
      h /= K, hn /= K;
#pragma omp simd
      for (int64_t o = 0; o < K; ++o) po[p + o] = pr[row] * (pg[p + o] * pw[o] - h - pn[p + o] * hn);
    }
  });
}

template <class T>
Tensor norm_second(const Tensor& g, const Tensor& w, const Tensor& n, const Tensor& rho, const Tensor& Z, Tensor& gg, Tensor& gz) {
  const int64_t K = w.numel();
  const T *pg = data<T>(g), *pw = data<T>(w), *pn = data<T>(n), *pr = data<T>(rho), *pZ = data<T>(Z);
  T *og = gg.data_ptr<T>(), *oz = gz.data_ptr<T>();
  return over_rows<T>(n, [&](int64_t p, T* sums) {
    T mZ = 0, mh = 0, Zh = 0, Zn = 0, hn = 0;
#pragma omp simd reduction(+ : mZ, mh, Zh, Zn, hn)
    for (int64_t o = 0; o < K; ++o) {
      const T z = pZ[p + o], h = pg[p + o] * pw[o], t = pn[p + o];
      mZ += z, mh += h, Zh += z * h, Zn += z * t, hn += h * t;
    }
    mZ /= K, mh /= K, Zh /= K, Zn /= K, hn /= K;
    const T r = pr[p / K], along = Zh - mZ * mh - 3 * Zn * hn;
#pragma omp simd
    for (int64_t o = 0; o < K; ++o) {
      const T z = pZ[p + o] - mZ, h = pg[p + o] * pw[o] - mh, t = pn[p + o], projected = r * (z - t * Zn);
      og[p + o] = pw[o] * projected;
      sums[o] += pg[p + o] * projected;
      oz[p + o] = -r * r * (t * along + z * hn + h * Zn);
    }
  });
}

// The gradient of a scale, whose factor is f.
Tensor by_weights(const Tensor& g, const Tensor& f) {
  TORCH_CHECK(!at::GradMode::is_enabled(), "the fused residual has no second derivative by its weights; use the plain kernels");
  Tensor out;
  AT_DISPATCH_FLOATING_TYPES(g.scalar_type(), "residual_weights", [&] { out = products<scalar_t>(g, f); });
  return out;
}

struct TanhBackward : torch::autograd::Function<TanhBackward> {  // (g, a, r; y) -> a'
  static Tensor forward(AutogradContext* ctx, Tensor g, Tensor a, Tensor r, Tensor y) {
    ctx->save_for_backward({g, r, y});
    Tensor out = at::empty_like(y);
    AT_DISPATCH_FLOATING_TYPES(y.scalar_type(), "add_tanh_backward", [&] { tanh_slopes<scalar_t>(g, r, y, out); });
    return out;
  }
  static variable_list backward(AutogradContext* ctx, variable_list cot) {
    const auto v = ctx->get_saved_variables();
    const Tensor A = filled(cot[0], v[2]);
    Tensor gg = at::empty_like(A), ga = at::empty_like(A), gr;
    AT_DISPATCH_FLOATING_TYPES(A.scalar_type(), "add_tanh_second", [&] { gr = tanh_second<scalar_t>(v[0], v[1], v[2], A, gg, ga); });
    return {gg, ga, gr, Tensor()};
  }
};

struct Tanh : torch::autograd::Function<Tanh> {  // (u, a, r) -> u + r tanh(a)
  static Tensor forward(AutogradContext* ctx, Tensor u, Tensor a, Tensor r) {
    const Tensor y = at::tanh(a);
    ctx->save_for_backward({a, r, y});
    return at::addcmul(u, r, y);
  }
  static variable_list backward(AutogradContext* ctx, variable_list cot) {
    const auto v = ctx->get_saved_variables();
    const Tensor a = v[0], r = v[1], y = v[2], g = cot[0].contiguous();
    const Tensor gr = ctx->needs_input_grad(2) ? by_weights(g, y) : Tensor();
    return {g, TanhBackward::apply(g, a, r, y), gr};
  }
};

struct NormBackward : torch::autograd::Function<NormBackward> {  // (g, z, w; n, rho) -> z'
  static Tensor forward(AutogradContext* ctx, Tensor g, Tensor z, Tensor w, Tensor n, Tensor rho) {
    ctx->save_for_backward({g, w, n, rho});
    Tensor out = at::empty_like(n);
    AT_DISPATCH_FLOATING_TYPES(n.scalar_type(), "add_norm_backward", [&] { norm_slopes<scalar_t>(g, w, n, rho, out); });
    return out;
  }
  static variable_list backward(AutogradContext* ctx, variable_list cot) {
    const auto v = ctx->get_saved_variables();
    const Tensor Z = filled(cot[0], v[2]);
    Tensor gg = at::empty_like(Z), gz = at::empty_like(Z), gw;
    AT_DISPATCH_FLOATING_TYPES(Z.scalar_type(), "add_norm_second", [&] { gw = norm_second<scalar_t>(v[0], v[1], v[2], v[3], Z, gg, gz); });
    return {gg, gz, gw, Tensor(), Tensor()};
  }
};

struct Norm : torch::autograd::Function<Norm> {  // (u, z, w, b) -> u + w norm(z) + b
  static Tensor forward(AutogradContext* ctx, Tensor u, Tensor z, Tensor w, Tensor b, double eps) {
    Tensor out = at::empty_like(z), n = at::empty_like(z), rho = at::empty({z.numel() / w.numel()}, z.options());
    AT_DISPATCH_FLOATING_TYPES(z.scalar_type(), "add_norm", [&] { normalize<scalar_t>(u, z, w, b, eps, out, n, rho); });
    ctx->save_for_backward({z, w, n, rho});
    return out;
  }
  static variable_list backward(AutogradContext* ctx, variable_list cot) {
    const auto v = ctx->get_saved_variables();
    const Tensor z = v[0], w = v[1], n = v[2], rho = v[3], g = cot[0].contiguous();
    const bool train = wanted(ctx, 2, 2);
    const Tensor gw = train ? by_weights(g, n) : Tensor(), gb = train ? g.flatten(0, -2).sum(0) : Tensor();
    return {g, NormBackward::apply(g, z, w, n, rho), gw, gb, Tensor()};
  }
};

}  // namespace

Tensor add_tanh(const Tensor& u, const Tensor& a, const Tensor& r) {
  TORCH_CHECK(u.device().is_cpu(), "the cpp kernels work on CPU tensors");
  return Tanh::apply(u.contiguous(), a.contiguous(), r.contiguous());
}

Tensor add_norm(const Tensor& u, const Tensor& z, const Tensor& w, const Tensor& b, double eps) {
  TORCH_CHECK(u.device().is_cpu(), "the cpp kernels work on CPU tensors");
  return Norm::apply(u.contiguous(), z.contiguous(), w.contiguous(), b.contiguous(), eps);
}
}  // namespace lam
