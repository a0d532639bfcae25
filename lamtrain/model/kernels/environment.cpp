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
#include "common.h"

namespace lam {
namespace {

struct Shape {  // of the switch; Å
  double smooth, cutoff, protection;
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
void over_edges(const Tensor& d, const Tensor& seen, const Shape& shape, Body body) {
  const int64_t N = d.size(0), W = d.size(1);
  const T *pd = d.const_data_ptr<T>(), *visible = seen.const_data_ptr<T>();
  at::parallel_for(0, N, 4, [&](int64_t first, int64_t last) {
    for (int64_t e = first * W; e < last * W; ++e) body(e, e / W, Radial<T>(pd + 3 * e, visible[e], shape));
  });
}

template <class T>
void evaluate(const Tensor& d, const Tensor& seen, const Tensor& mean, const Tensor& std, const Shape& shape, variable_list& out) {
  const T *pd = d.const_data_ptr<T>(), *visible = seen.const_data_ptr<T>(), *pm = mean.const_data_ptr<T>(), *ps = std.const_data_ptr<T>();
  T *s = out[0].data_ptr<T>(), *radial = out[1].data_ptr<T>(), *direction = out[2].data_ptr<T>();
  over_edges<T>(d, seen, shape, [&](int64_t e, int64_t n, const Radial<T>& f) {
    const T real = f.r < T(shape.cutoff) ? visible[e] : T(0);
    s[e] = f.s;
    radial[e] = (f.u - real * pm[n]) / ps[4 * n];
    for (int x = 0; x < 3; ++x) direction[3 * e + x] = f.q * pd[3 * e + x] / ps[4 * n + 1 + x];
  });
}

template <class T>
void reverse(const Tensor& d, const Tensor& seen, const Tensor& std, const Shape& shape, const Tensor& f, const Tensor& b, const Tensor& g, Tensor& out) {
  const T *pd = d.const_data_ptr<T>(), *ps = std.const_data_ptr<T>();
  const T *pf = f.const_data_ptr<T>(), *pb = b.const_data_ptr<T>(), *pg = g.const_data_ptr<T>();
  T* p = out.data_ptr<T>();
  over_edges<T>(d, seen, shape, [&](int64_t e, int64_t n, const Radial<T>& at) {
    const T *de = pd + 3 * e, *sd = ps + 4 * n, gx = pg[3 * e] / sd[1], gy = pg[3 * e + 1] / sd[2], gz = pg[3 * e + 2] / sd[3];
    const T B = gx * de[0] + gy * de[1] + gz * de[2], K = (pf[e] * at.s1 + pb[e] / sd[0] * at.u1 + B * at.q1) / at.r;
    p[3 * e] = K * de[0] + at.q * gx, p[3 * e + 1] = K * de[1] + at.q * gy, p[3 * e + 2] = K * de[2] + at.q * gz;
  });
}

// The derivatives of sum_x a_x d'_x by f, b, g and, if `by_edges` is given, by d.
template <class T>
void second(const Tensor& d, const Tensor& seen, const Tensor& std, const Shape& shape, const Tensor& f, const Tensor& b, const Tensor& g, const Tensor& a,
            variable_list& out, Tensor* by_edges) {
  const T *pd = d.const_data_ptr<T>(), *ps = std.const_data_ptr<T>(), *pa = a.const_data_ptr<T>();
  const T *pf = f.const_data_ptr<T>(), *pb = b.const_data_ptr<T>(), *pg = g.const_data_ptr<T>();
  T *of = out[0].data_ptr<T>(), *ob = out[1].data_ptr<T>(), *og = out[2].data_ptr<T>(), *od = by_edges ? by_edges->data_ptr<T>() : nullptr;
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

void keep(AutogradContext* ctx, const variable_list& tensors, const Shape& shape) {
  ctx->save_for_backward(tensors);
  ctx->saved_data["smooth"] = shape.smooth, ctx->saved_data["cutoff"] = shape.cutoff, ctx->saved_data["protection"] = shape.protection;
}
Shape kept(AutogradContext* ctx) {
  return {ctx->saved_data["smooth"].toDouble(), ctx->saved_data["cutoff"].toDouble(), ctx->saved_data["protection"].toDouble()};
}

struct Backward : torch::autograd::Function<Backward> {  // (d, f, b, g) -> d'
  static Tensor forward(AutogradContext* ctx, Tensor d, Tensor f, Tensor b, Tensor g, Tensor seen, Tensor std, Shape shape) {
    keep(ctx, {d, f, b, g, seen, std}, shape);
    Tensor out = at::empty_like(d);
    AT_DISPATCH_FLOATING_TYPES(d.scalar_type(), "environment_backward", [&] { reverse<scalar_t>(d, seen, std, shape, f, b, g, out); });
    return out;
  }
  static variable_list backward(AutogradContext* ctx, variable_list grad) {
    const auto v = ctx->get_saved_variables();
    const Tensor a = filled(grad[0], v[0]);
    variable_list out{at::empty_like(v[1]), at::empty_like(v[2]), at::empty_like(v[3])};
    Tensor by_edges = ctx->needs_input_grad(0) ? at::empty_like(v[0]) : Tensor();
    AT_DISPATCH_FLOATING_TYPES(a.scalar_type(), "environment_second", [&] {
      second<scalar_t>(v[0], v[4], v[5], kept(ctx), v[1], v[2], v[3], a, out, by_edges.defined() ? &by_edges : nullptr);
    });
    return {by_edges, out[0], out[1], out[2], Tensor(), Tensor(), Tensor()};
  }
};

struct Forward : torch::autograd::Function<Forward> {  // d -> s, R_0, R
  static variable_list forward(AutogradContext* ctx, Tensor d, Tensor seen, Tensor mean, Tensor std, Shape shape) {
    keep(ctx, {d, seen, std}, shape);
    variable_list out{at::empty({d.size(0), d.size(1)}, d.options()), at::empty({d.size(0), d.size(1)}, d.options()), at::empty_like(d)};
    AT_DISPATCH_FLOATING_TYPES(d.scalar_type(), "environment", [&] { evaluate<scalar_t>(d, seen, mean, std, shape, out); });
    return out;
  }
  static variable_list backward(AutogradContext* ctx, variable_list grad) {
    const auto v = ctx->get_saved_variables();
    const Tensor like = v[0].select(2, 0), f = filled(grad[0], like), b = filled(grad[1], like), g = filled(grad[2], v[0]);
    return {Backward::apply(v[0], f, b, g, v[1], v[2], kept(ctx)), Tensor(), Tensor(), Tensor(), Tensor()};
  }
};

}  // namespace

std::tuple<Tensor, Tensor, Tensor> environment(const Tensor& d, const std::optional<Tensor>& seen, const Tensor& mean, const Tensor& std, double smooth, double cutoff,
                                               double protection) {
  TORCH_CHECK(d.device().is_cpu(), "the cpp kernels work on CPU tensors");
  const Tensor visible = seen ? seen->to(d.dtype()).contiguous() : at::ones({d.size(0), d.size(1)}, d.options());
  auto out = Forward::apply(d.contiguous(), visible, mean.contiguous(), std.contiguous(), Shape{smooth, cutoff, protection});
  return {out[0], out[1], out[2]};
}
}  // namespace lam
