// What atoms take from their edges and from the atoms at the other end, without writing anything of an atom's width for every edge:
//
//   conv_i = sum_j (a_ij g2_ij W) * g1_n(ij)  (elementwise)        H_i = sum_j h_ij g1_n(ij)^T        I_i = sum_j h_ij g2_ij^T
//
// All chunks of a layer at once: g2 (N, V, K), a (N, V), h (N, 3, V) and n (N, V) are lists, one entry a chunk, over consecutive rows;
// g1, conv are (A, d), H (A, 3, d), I (A, 3, K), W (K, d). Slots behind an atom's last a that is not 0 are empty: h is 0 there too, and both
// have no slope. With P, Q, R the cotangents of conv, H, I, y = a g2, u = y W and
// T_j = P * g1_n, the first derivative is
//
//   g1'_n += u_j * P + h_j Q    g2'_j = a_j T_j W^T + h_j R    a'_j = T_j W^T . g2_j    h'_j = Q g1_n + R g2_j    W' = y^T T
//
// and the second, with G, Y, b, e the cotangents of g1', g2', a', h', v = b g2 + a Y and S_j = P * G_n,
//
//   P'' = sum_j (v_j W) * g1_n + u_j * G_n    Q'' = sum_j e_j g1_n + h_j G_n    R'' = sum_j e_j g2_j + h_j Y_j
//   g1''_n += (v_j W) * P + e_j Q    g2''_j = b_j T_j W^T + a_j S_j W^T + e_j R    a''_j = T_j W^T . Y_j + S_j W^T . g2_j
//   h''_j = Q G_n + R Y_j    W'' = v^T T + y^T S
#include "neighbor_sums.h"

namespace lam {
namespace {
using namespace neighbors;

struct ValueResults {
  Tensor conv, H, I;
  bool atoms = false, weights = false;
};

template <class T>
struct Value {
  Cotangents<T> out;  // of the same shapes
  explicit Value(const Shape<T>& n) : out(n) {}

  void operator()(const Place& at, Atom<T>& atom, const ValueResults& to, Sums<T>&) {
    atom.sum(atom.u, atom.h, atom.g1, out.P.data(), out.Q.data(), false);
    atom.sum_narrow(atom.h, atom.g2, out.R.data(), false);
    out.write(to.conv, to.H, to.I, at.row, atom.n);
  }
};

struct FirstResults {
  Tensor P, Q, R;          // the cotangents
  variable_list g2, a, h;  // g2' and, if wanted, a' and h'
  bool geometry, atoms, weights;
};

template <class T>
struct First {
  Cotangents<T> c;
  Buffer<T> tall, back, gg2, ga, gh;  // T, T W^T and g2', a', h' of each edge
  explicit First(const Shape<T>& n) : c(n), tall(n.atoms()), back(n.edges()), gg2(back), ga(n.most), gh(3 * n.most) {}

  void operator()(const Place& at, Atom<T>& atom, const FirstResults& out, Sums<T>& sums) {
    c.load(out.P, out.Q, out.R, at.row, atom.n);
    atom.product(atom.g1, c.P.data(), tall);
    atom.times_wt(tall, back);
    atom.scale(atom.a, back, gg2, false), atom.add_turned(atom.h, c.R.data(), gg2);
    atom.write(gg2, at, out.g2);
    if (out.geometry) {
      atom.dot_rows(back, atom.g2, ga, false);
      atom.dots(c.Q.data(), atom.g1, c.R.data(), atom.g2, gh);
      atom.write_factors(ga, gh, at, out.a, out.h);
    }
    if (out.atoms) atom.scatter(atom.u, c.P.data(), atom.h, c.Q.data(), sums.g1.data());
    if (out.weights) atom.add_w(atom.y, tall, sums.W);
  }
};

struct SecondResults {
  Tensor P, Q, R, G;       // the cotangents of conv, H, I and g1'
  variable_list Y, b, e;   // those of g2', a', h'
  Tensor gP, gQ, gR;       // P'', Q'', R''
  variable_list g2, a, h;  // g2'' and, if wanted, a'' and h''
  bool geometry, atoms, weights;
};

template <class T>
struct Second {
  Cotangents<T> c, more;
  Buffer<T> G, vW, tall, tall_G, Y, v, back, back_G, gg2, b, e, ga, gh;
  explicit Second(const Shape<T>& n)
      : c(n), more(n), G(n.atoms()), vW(G), tall(G), tall_G(G), Y(n.edges()), v(Y), back(Y), back_G(Y), gg2(Y), b(n.most), e(3 * n.most), ga(b), gh(e) {}

  void operator()(const Place& at, Atom<T>& atom, const SecondResults& out, Sums<T>& sums) {
    const T *P = c.P.data(), *Q = c.Q.data(), *R = c.R.data();
    c.load(out.P, out.Q, out.R, at.row, atom.n);
    atom.gather(out.G, G), atom.channel(out.Y, at, Y);
    atom.factors(out.b, out.e, at, b, e);
    atom.scale(b, atom.g2, v, false), atom.scale(atom.a, Y, v, true);
    atom.times_w(v, vW);
    atom.sum(vW, e, atom.g1, more.P.data(), more.Q.data(), false), atom.sum(atom.u, atom.h, G, more.P.data(), more.Q.data(), true);
    atom.sum_narrow(e, atom.g2, more.R.data(), false), atom.sum_narrow(atom.h, Y, more.R.data(), true);
    more.write(out.gP, out.gQ, out.gR, at.row, atom.n);
    if (out.atoms) atom.scatter(vW, P, e, Q, sums.g1.data());
    atom.product(atom.g1, P, tall), atom.product(G, P, tall_G);
    atom.times_wt(tall, back), atom.times_wt(tall_G, back_G);
    atom.scale(b, back, gg2, false), atom.scale(atom.a, back_G, gg2, true), atom.add_turned(e, R, gg2);
    atom.write(gg2, at, out.g2);
    if (out.geometry) {
      atom.dot_rows(back, Y, ga, false), atom.dot_rows(back_G, atom.g2, ga, true);
      atom.dots(Q, G, R, Y, gh);
      atom.write_factors(ga, gh, at, out.a, out.h);
    }
    if (out.weights) atom.add_w(v, tall, sums.W), atom.add_w(atom.y, tall_G, sums.W);
  }
};

variable_list like(const variable_list& list) {
  variable_list out;
  for (const auto& t : list) out.push_back(at::empty_like(t));
  return out;
}
variable_list part(const variable_list& v, int64_t from, int64_t count) { return {v.begin() + from, v.begin() + from + count}; }
void append(variable_list& to, const variable_list& more) { to.insert(to.end(), more.begin(), more.end()); }

// Keeps the inputs, after `first`; and takes them back.
void keep(AutogradContext* ctx, const Inputs& in, variable_list first) {
  append(first, {in.g1, in.W});
  for (const auto* list : {&in.g2, &in.a, &in.h, &in.n}) append(first, *list);
  ctx->save_for_backward(first);
}
Inputs kept(const variable_list& saved, int64_t first) {
  const int64_t K = (saved.size() - first - 2) / 4, lists = first + 2;
  return {saved[first], saved[first + 1], part(saved, lists, K), part(saved, lists + K, K), part(saved, lists + 2 * K, K), part(saved, lists + 3 * K, K)};
}

// (g1', W', g2', a', h'), each if wanted
variable_list first(const Inputs& in, const Tensor& P, const Tensor& Q, const Tensor& R, bool geometry, bool atoms, bool weights) {
  const size_t K = in.n.size();
  const FirstResults out{P, Q, R, like(in.g2), geometry ? like(in.a) : variable_list(K), geometry ? like(in.h) : variable_list(K), geometry, atoms, weights};
  variable_list grads;
  AT_DISPATCH_FLOATING_TYPES(P.scalar_type(), "neighbor_sums_backward", [&] {
    const auto sums = over_atoms<scalar_t, First>(in, out);
    const Shape<scalar_t> n(in);
    grads = {Sums<scalar_t>::total(sums, &Sums<scalar_t>::g1, n, in.g1), Sums<scalar_t>::total(sums, &Sums<scalar_t>::W, n, in.W)};
  });
  append(grads, out.g2), append(grads, out.a), append(grads, out.h);
  return grads;
}

struct Backward : torch::autograd::Function<Backward> {  // (P, Q, R, g1, W, g2, a, h; n) -> (g1', g2', a', h')
  static variable_list forward(AutogradContext* ctx, Tensor P, Tensor Q, Tensor R, Tensor g1, Tensor W, at::TensorList g2, at::TensorList a, at::TensorList h,
                               at::TensorList n, bool geometry, bool atoms) {
    const Inputs in{g1, W, g2.vec(), a.vec(), h.vec(), n.vec()};
    keep(ctx, in, {P, Q, R});
    ctx->set_materialize_grads(false);
    variable_list grads = first(in, P, Q, R, geometry, atoms, false);
    grads.erase(grads.begin() + 1);
    return stand_ins(grads, g1);
  }
  static variable_list backward(AutogradContext* ctx, variable_list cot) {
    const variable_list saved = ctx->get_saved_variables();
    const Inputs in = kept(saved, 3);
    const int64_t K = in.n.size();
    const bool geometry = wanted(ctx, 5 + K, 2 * K), atoms = ctx->needs_input_grad(3), weights = ctx->needs_input_grad(4);
    SecondResults out{saved[0], saved[1], saved[2], filled(cot[0], in.g1), {}, {}, {}, at::empty_like(saved[0]), at::empty_like(saved[1]), at::empty_like(saved[2]),
                      like(in.g2), geometry ? like(in.a) : variable_list(K), geometry ? like(in.h) : variable_list(K), geometry, atoms, weights};
    for (int64_t k = 0; k < K; ++k) {
      out.Y.push_back(filled(cot[1 + k], in.g2[k]));
      out.b.push_back(filled(cot[1 + K + k], in.a[k])), out.e.push_back(filled(cot[1 + 2 * K + k], in.h[k]));
    }
    variable_list grads{out.gP, out.gQ, out.gR};
    AT_DISPATCH_FLOATING_TYPES(in.g1.scalar_type(), "neighbor_sums_second", [&] {
      const auto sums = over_atoms<scalar_t, Second>(in, out);
      const Shape<scalar_t> n(in);
      append(grads, {Sums<scalar_t>::total(sums, &Sums<scalar_t>::g1, n, in.g1), Sums<scalar_t>::total(sums, &Sums<scalar_t>::W, n, in.W)});
    });
    append(grads, out.g2), append(grads, out.a), append(grads, out.h);
    grads.resize(grads.size() + K + 2);
    return grads;
  }
};

struct Forward : torch::autograd::Function<Forward> {  // (g1, W, g2, a, h; n) -> (conv, H, I)
  static variable_list forward(AutogradContext* ctx, Tensor g1, Tensor W, at::TensorList g2, at::TensorList a, at::TensorList h, at::TensorList n) {
    const Inputs in{g1, W, g2.vec(), a.vec(), h.vec(), n.vec()};
    keep(ctx, in, {});
    const int64_t A = g1.size(0);
    const ValueResults out{at::empty_like(g1), at::empty({A, 3, g1.size(1)}, g1.options()), at::empty({A, 3, W.size(0)}, g1.options())};
    AT_DISPATCH_FLOATING_TYPES(g1.scalar_type(), "neighbor_sums", [&] { over_atoms<scalar_t, Value>(in, out); });
    return {out.conv, out.H, out.I};
  }
  static variable_list backward(AutogradContext* ctx, variable_list cot) {
    const Inputs in = kept(ctx->get_saved_variables(), 0);
    const int64_t K = in.n.size(), A = in.g1.size(0);
    const Tensor P = filled(cot[0], in.g1);
    const Tensor Q = cot[1].defined() ? cot[1].contiguous() : at::zeros({A, 3, in.g1.size(1)}, P.options());
    const Tensor R = cot[2].defined() ? cot[2].contiguous() : at::zeros({A, 3, in.W.size(0)}, P.options());
    const bool geometry = wanted(ctx, 2 + K, 2 * K), atoms = ctx->needs_input_grad(0);
    variable_list grads;
    if (ctx->needs_input_grad(1)) {
      TORCH_CHECK(!at::GradMode::is_enabled(), "the fused neighbour sums have no second derivative by their weights; use the plain kernels");
      grads = first(in, P, Q, R, geometry, atoms, true);
    } else {
      grads = Backward::apply(P, Q, R, in.g1, in.W, at::TensorList(in.g2), at::TensorList(in.a), at::TensorList(in.h), at::TensorList(in.n), geometry, atoms);
      if (!atoms) grads[0] = Tensor();
      for (int64_t k = 1 + K; !geometry && k < 1 + 3 * K; ++k) grads[k] = Tensor();
      grads.insert(grads.begin() + 1, Tensor());
    }
    grads.resize(grads.size() + K);
    return grads;
  }
};

}  // namespace

std::tuple<Tensor, Tensor, Tensor> neighbor_sums(const Tensor& g1, const Tensor& W, at::TensorList g2, at::TensorList a, at::TensorList h, at::TensorList n) {
  TORCH_CHECK(g1.device().is_cpu(), "the cpp kernels work on CPU tensors");
  const variable_list cg = contiguous(g2), ca = contiguous(a), ch = contiguous(h), cn = contiguous(n);
  auto out = Forward::apply(g1.contiguous(), W.contiguous(), at::TensorList(cg), at::TensorList(ca), at::TensorList(ch), at::TensorList(cn));
  return {out[0], out[1], out[2]};
}
}  // namespace lam
