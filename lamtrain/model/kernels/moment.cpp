// Repinit's moment (see repinit.py): M = R^T G, with G_j = net(R_j0; types), as one operator.
//
// The net is a function of one scalar for each pair of types, so its slope G' is carried along with its value: forces then
// cost two small products an edge instead of a pass back through the net. With c the cotangent of M:
//
//   R'_j = G_j c^T + [R_j . (G'_j c^T), 0, 0, 0]
//
// R is (N, W, 4), row (N, W) of `tables`, M (N, 4, m). Of the second derivative only what training needs is
// written out: by c and by the weights, and by R. Slots behind an atom's last edge hold zeros and are left out: they add
// nothing to M, and their derivatives meet those of a switch that is 0 to the second order.
#include "wide_net.h"

namespace lam {
namespace {

// The edges of a chunk, one atom after the other: `slot` (P,) is atom * W + place, `ends` (N,) where the edges of each atom end.
struct Edges {
  Tensor slot, ends, R, row;  // R (P, 4), row (P,)

  // Of `R` (N, W, 4) and `row` (N, W).
  static Edges of(const Tensor& R, const Tensor& row) {
    const int64_t N = R.size(0), W = R.size(1);
    Tensor ends = at::empty({N}, row.options()), slot = at::empty({N * W}, row.options());
    AT_DISPATCH_FLOATING_TYPES(R.scalar_type(), "moment_edges", [&] {
      const scalar_t* r = R.const_data_ptr<scalar_t>();
      int64_t *s = slot.data_ptr<int64_t>(), *e = ends.data_ptr<int64_t>(), count = 0;
      for (int64_t n = 0; n < N; ++n) {
        int64_t last = W;
        for (const scalar_t* x = r + 4 * W * (n + 1); last && !(x[-4] != 0 || x[-3] != 0 || x[-2] != 0 || x[-1] != 0); x -= 4) --last;
        for (int64_t j = 0; j < last; ++j) s[count++] = n * W + j;
        e[n] = count;
      }
      slot = slot.narrow(0, 0, count);
    });
    return {slot, ends, R.view({N * W, 4}).index_select(0, slot), row.reshape(-1).index_select(0, slot)};
  }
  int64_t atoms() const { return ends.numel(); }
  int64_t count() const { return slot.numel(); }
};

// Some edges of one atom.
struct Piece {
  int64_t begin, count;
};

template <class T>
struct Atom {
  const Edges& edges;
  const WideNet<T>& net;
  WideTile<T> tile;
  const int64_t m;            // columns of G
  Buffer<T> c, ct, RC, dots;  // c (4, m) and its transpose (m, one vector) of the atom; R c (count, m) and products with c (count, one vector) of a piece

  Atom(const Edges& edges, const WideNet<T>& net)
      : edges(edges), net(net), tile(net), m(net.cols.back()), c(4 * m), ct(m * Lane<T>::COUNT), RC(TILE * m), dots(TILE * Lane<T>::COUNT) {}

  const T* R(const Piece& at) const { return data<T>(edges.R) + 4 * at.begin; }
  const int64_t* row(const Piece& at) const { return data<int64_t>(edges.row) + at.begin; }
  void load(const Tensor& cotangent, int64_t atom) {
    const int64_t width = net.width.back();
    copy_rows(data<T>(cotangent) + atom * 4 * width, width, 4, width, c.data(), m);
    for (int64_t a = 0; a < 4; ++a)
      for (int64_t o = 0; o < m; ++o) ct[o * Lane<T>::COUNT + a] = c[a * m + o];
  }
  void evaluate(const Piece& at, const Tensor& y, bool known, bool slope) {
    tile.evaluate(R(at), row(at), at.count, y.data_ptr<T>() + at.begin * m, known, slope);
  }
  void write(const Buffer<T>& from, Tensor& to, int64_t atom) const {
    const int64_t width = net.width.back();
    copy_rows(from.data(), m, 4, width, to.data_ptr<T>() + atom * 4 * width, width);
  }
  // out (4, m) += A^T rows
  void sum(const T* A, int64_t count, const T* rows, T* out) const { multiply(transpose_of(A, 4), 4, count, rows, m, out, true); }
  // out (count, m) = A c
  void spread(const T* A, int64_t count, T* out) const { multiply(rows_of(A, 4), count, 4, c.data(), m, out); }
  // dots (count, one vector) = rows c^T
  void dot(const T* rows, int64_t count) { multiply(rows_of(rows, m), count, m, ct.data(), Lane<T>::COUNT, dots.data()); }
};

// Calls body(part, its buffers, atom, edges of the atom a piece at a time) in parallel, one part for each thread.
template <class T, class Body>
void over_atoms(const Edges& edges, const WideNet<T>& net, int64_t parts, Body body) {
  const int64_t N = edges.atoms(), *ends = data<int64_t>(edges.ends);
  over_parts(parts, [&](int64_t part) {
    Atom<T> atom(edges, net);
    for (int64_t n = N * part / parts; n < N * (part + 1) / parts; ++n) {
      const int64_t begin = n ? ends[n - 1] : 0, count = ends[n] - begin, pieces = (count + TILE - 1) / TILE;
      std::vector<Piece> all;
      for (int64_t k = 0; k < pieces; ++k) all.push_back({begin + count * k / pieces, count * (k + 1) / pieces - count * k / pieces});
      body(part, atom, n, all);
    }
  });
}

// M, and y (P, cols) of the last layer.
template <class T>
void moments(const Edges& edges, at::TensorList weights, const Tensor& y, Tensor& M) {
  const WideNet<T> net(weights);
  over_atoms<T>(edges, net, parts_of(edges.atoms()), [&](int64_t, Atom<T>& atom, int64_t n, const std::vector<Piece>& pieces) {
    Buffer<T> sum(4 * atom.m);
    for (const Piece& at : pieces) {
      atom.evaluate(at, y, false, false);
      atom.sum(atom.R(at), at.count, atom.tile.last_h(), sum.data());
    }
    atom.write(sum, M, n);
  });
}

// R' of every edge, into its slot.
template <class T>
void slopes(const Edges& edges, at::TensorList weights, const Tensor& y, const Tensor& c, Tensor& out) {
  const WideNet<T> net(weights);
  const int64_t* slot = data<int64_t>(edges.slot);
  T* to = out.data_ptr<T>();
  over_atoms<T>(edges, net, parts_of(edges.atoms()), [&](int64_t, Atom<T>& atom, int64_t n, const std::vector<Piece>& pieces) {
    atom.load(c, n);
    for (const Piece& at : pieces) {
      atom.evaluate(at, y, true, true);
      atom.dot(atom.tile.last_h(), at.count);
      atom.spread(atom.R(at), at.count, atom.RC.data());
      for (int64_t e = 0; e < at.count; ++e) {
        const T *t = atom.tile.last_t(at.count) + e * atom.m, *rc = &atom.RC[e * atom.m], *dots = &atom.dots[e * Lane<T>::COUNT];
        T more = 0, *g = to + 4 * slot[at.begin + e];
#pragma omp simd reduction(+ : more)
        for (int64_t o = 0; o < atom.m; ++o) more += t[o] * rc[o];
        for (int64_t a = 0; a < 4; ++a) g[a] = dots[a] + (a ? T(0) : more);
      }
    }
  });
}

// Gradients of the weights, of the moment.
template <class T>
variable_list by_weights(const Edges& edges, at::TensorList weights, const Tensor& y, const Tensor& c) {
  const WideNet<T> net(weights);
  std::vector<WideGradients<T>> grads(parts_of(edges.atoms()), WideGradients<T>(net));
  over_atoms<T>(edges, net, grads.size(), [&](int64_t part, Atom<T>& atom, int64_t n, const std::vector<Piece>& pieces) {
    atom.load(c, n);
    for (const Piece& at : pieces) {
      atom.evaluate(at, y, true, false);
      atom.spread(atom.R(at), at.count, atom.tile.g.data());
      atom.tile.template reverse<false>(atom.R(at), atom.row(at), at.count, grads[part], nullptr);
    }
  });
  return WideGradients<T>::total(grads, net, weights);
}

// Derivatives of sum_e A_e R'_e: `gc` (N, 4, m), those by the weights if `train`, and by R (P, 4) if `gR` is given.
template <class T>
variable_list second(const Edges& edges, at::TensorList weights, const Tensor& y, const Tensor& c, const Tensor& A, bool train, Tensor& gc, Tensor* gR) {
  const WideNet<T> net(weights);
  std::vector<WideGradients<T>> grads(parts_of(edges.atoms()), WideGradients<T>(net));
  over_atoms<T>(edges, net, grads.size(), [&](int64_t part, Atom<T>& atom, int64_t n, const std::vector<Piece>& pieces) {
    const int64_t m = atom.m;
    atom.load(c, n);
    Buffer<T> sum(4 * m), AR(4 * TILE), gx(TILE);
    for (const Piece& at : pieces) {
      const T *a = data<T>(A) + 4 * at.begin, *r = atom.R(at);
      atom.evaluate(at, y, true, true);
      for (int64_t k = 0; k < 4 * at.count; ++k) AR[k] = a[k / 4 * 4] * r[k];
      atom.sum(a, at.count, atom.tile.last_h(), sum.data()), atom.sum(AR.data(), at.count, atom.tile.last_t(at.count), sum.data());
      if (gR) atom.dot(atom.tile.last_t(at.count), at.count);
      if (train || gR) {
        atom.spread(a, at.count, atom.tile.g.data()), atom.spread(AR.data(), at.count, &atom.tile.g[at.count * m]);
        atom.tile.template reverse<true>(r, atom.row(at), at.count, grads[part], gx.data());
      }
      T* out = gR ? gR->data_ptr<T>() + 4 * at.begin : nullptr;
      for (int64_t k = 0; gR && k < 4 * at.count; ++k) out[k] = a[k / 4 * 4] * atom.dots[k / 4 * Lane<T>::COUNT + k % 4] + (k % 4 ? T(0) : gx[k / 4]);
    }
    atom.write(sum, gc, n);
  });
  return train ? WideGradients<T>::total(grads, net, weights) : variable_list(weights.size());
}

// What both functions below keep for their backward.
struct Saved {
  Edges edges;
  Tensor R, y, c;
  variable_list weights;

  static void keep(AutogradContext* ctx, const Edges& edges, const Tensor& R, const Tensor& y, const Tensor& c, at::TensorList weights) {
    variable_list all{edges.slot, edges.ends, edges.R, edges.row, R, y, c};
    all.insert(all.end(), weights.begin(), weights.end());
    ctx->save_for_backward(all);
  }
  explicit Saved(AutogradContext* ctx) {
    const auto v = ctx->get_saved_variables();
    edges = {v[0], v[1], v[2], v[3]}, R = v[4], y = v[5], c = v[6], weights.assign(v.begin() + 7, v.end());
  }
};

struct Slope : torch::autograd::Function<Slope> {  // (R, c, weights; edges, y) -> R'
  static Tensor forward(AutogradContext* ctx, Tensor R, Tensor slot, Tensor ends, Tensor flat, Tensor row, Tensor y, Tensor c, at::TensorList weights) {
    const Edges edges{slot, ends, flat, row};
    Saved::keep(ctx, edges, R, y, c, weights);
    Tensor out = at::zeros_like(R);
    AT_DISPATCH_FLOATING_TYPES(R.scalar_type(), "moment_slope", [&] { slopes<scalar_t>(edges, weights, y, c, out); });
    return out;
  }
  static variable_list backward(AutogradContext* ctx, variable_list g) {
    const Saved saved(ctx);
    const bool geometry = ctx->needs_input_grad(0), train = wanted(ctx, 7, saved.weights.size());
    const Tensor A = g[0].reshape({-1, 4}).index_select(0, saved.edges.slot);
    Tensor gc = at::empty_like(saved.c), gR = geometry ? at::empty_like(A) : Tensor();
    variable_list grads;
    AT_DISPATCH_FLOATING_TYPES(A.scalar_type(), "moment_second", [&] {
      grads = second<scalar_t>(saved.edges, saved.weights, saved.y, saved.c, A, train, gc, geometry ? &gR : nullptr);
    });
    if (geometry) gR = at::zeros({saved.R.numel() / 4, 4}, A.options()).index_copy_(0, saved.edges.slot, gR).view_as(saved.R);
    variable_list out{gR, Tensor(), Tensor(), Tensor(), Tensor(), Tensor(), gc};
    out.insert(out.end(), grads.begin(), grads.end());
    return out;
  }
};

struct Moment : torch::autograd::Function<Moment> {  // (R, weights; edges) -> M
  static Tensor forward(AutogradContext* ctx, Tensor R, Tensor slot, Tensor ends, Tensor flat, Tensor row, at::TensorList weights) {
    const Edges edges{slot, ends, flat, row};
    const size_t layers = weights.size() / 2;
    Tensor M = at::empty({R.size(0), 4, layers > 1 ? weights.back().numel() : weights[1].numel()}, R.options());
    Tensor y;
    AT_DISPATCH_FLOATING_TYPES(R.scalar_type(), "moment", [&] {
      y = at::empty({edges.count(), Lane<scalar_t>::padded(M.size(2))}, R.options());
      moments<scalar_t>(edges, weights, y, M);
    });
    Saved::keep(ctx, edges, R, y, Tensor(), weights);
    return M;
  }
  static variable_list backward(AutogradContext* ctx, variable_list g) {
    const Saved saved(ctx);
    const Edges& edges = saved.edges;
    const Tensor c = g[0].contiguous();
    variable_list out(5), grads(saved.weights.size());
    if (ctx->needs_input_grad(0))
      out[0] = Slope::apply(saved.R, edges.slot, edges.ends, edges.R, edges.row, saved.y, c, at::TensorList(saved.weights));
    if (wanted(ctx, 5, grads.size())) {
      TORCH_CHECK(!at::GradMode::is_enabled(), "the fused moment has no second derivative by its weights; use the plain kernels");
      AT_DISPATCH_FLOATING_TYPES(c.scalar_type(), "moment_weights", [&] { grads = by_weights<scalar_t>(edges, saved.weights, saved.y, c); });
    }
    out.insert(out.end(), grads.begin(), grads.end());
    return out;
  }
};

}  // namespace

Tensor moment(const Tensor& R, const Tensor& row, at::TensorList weights) {
  TORCH_CHECK(R.device().is_cpu(), "the cpp kernels work on CPU tensors");
  const variable_list plain = contiguous(weights);
  const Tensor matrix = R.contiguous();
  const Edges edges = Edges::of(matrix.detach(), row);
  return Moment::apply(matrix, edges.slot, edges.ends, edges.R, edges.row, at::TensorList(plain));
}
}  // namespace lam
