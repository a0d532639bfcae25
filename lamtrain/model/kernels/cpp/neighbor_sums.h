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
#pragma once
#include "neighbor_atoms.h"

namespace lam::neighbor_sums {

struct ValueResults {
  Array conv, H, I;
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
  Array P, Q, R;          // the cotangents
  Arrays g2, a, h;  // g2' and, if wanted, a' and h'
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
  Array P, Q, R, G;       // the cotangents of conv, H, I and g1'
  Arrays Y, b, e;   // those of g2', a', h'
  Array gP, gQ, gR;       // P'', Q'', R''
  Arrays g2, a, h;  // g2'' and, if wanted, a'' and h''
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

// Sizes: atoms, d, K, chunks, then rows and slots of each chunk. Arrays: g1, W, and of each chunk g2, a, h, n; then those of each function.
struct Reader {
  int64_t A, d, K;
  std::vector<std::array<int64_t, 2>> chunks;

  explicit Reader(Call& in) : A(in.size()), d(in.size()), K(in.size()), chunks(in.size()) {
    for (auto& [rows, slots] : chunks) rows = in.size(), slots = in.size();
  }
  Array atoms(Call& in) const { return in.array(A, d); }
  Array turned(Call& in) const { return in.array(A, 3, d); }
  Array narrow(Call& in) const { return in.array(A, 3, K); }
  Array weights(Call& in) const { return in.array(K, d); }
  Arrays channels(Call& in) const {
    return each(chunks, [&](int64_t rows, int64_t slots) { return in.array(rows, slots, K); });
  }
  Arrays scales(Call& in) const {
    return each(chunks, [&](int64_t rows, int64_t slots) { return in.array(rows, slots); });
  }
  Arrays turns(Call& in) const {
    return each(chunks, [&](int64_t rows, int64_t slots) { return in.array(rows, 3, slots); });
  }
  Inputs inputs(Call& in) const { return {atoms(in), weights(in), channels(in), scales(in), turns(in), scales(in), in.threads}; }
};

template <class T>
void value(Call in) {
  const Reader at(in);
  const Inputs inputs = at.inputs(in);
  const ValueResults to{at.atoms(in), at.turned(in), at.narrow(in)};
  in.done();
  over_atoms<T, Value>(inputs, to);
}

template <class T>
void first(Call in) {
  const Reader at(in);
  const Inputs inputs = at.inputs(in);
  FirstResults to{at.atoms(in), at.turned(in), at.narrow(in)};
  const Array g1 = at.atoms(in), W = at.weights(in);
  to.g2 = at.channels(in), to.a = at.scales(in), to.h = at.turns(in);
  in.done();
  to.geometry = bool(to.a[0]), to.atoms = bool(g1), to.weights = bool(W);
  const auto sums = over_atoms<T, First>(inputs, to);
  Sums<T>::total(sums, &Sums<T>::g1, Shape<T>(inputs), g1), Sums<T>::total(sums, &Sums<T>::W, Shape<T>(inputs), W);
}

template <class T>
void second(Call in) {
  const Reader at(in);
  const Inputs inputs = at.inputs(in);
  SecondResults to{at.atoms(in), at.turned(in), at.narrow(in), at.atoms(in), at.channels(in), at.scales(in), at.turns(in)};
  to.gP = at.atoms(in), to.gQ = at.turned(in), to.gR = at.narrow(in);
  const Array g1 = at.atoms(in), W = at.weights(in);
  to.g2 = at.channels(in), to.a = at.scales(in), to.h = at.turns(in);
  in.done();
  to.geometry = bool(to.a[0]), to.atoms = bool(g1), to.weights = bool(W);
  const auto sums = over_atoms<T, Second>(inputs, to);
  Sums<T>::total(sums, &Sums<T>::g1, Shape<T>(inputs), g1), Sums<T>::total(sums, &Sums<T>::W, Shape<T>(inputs), W);
}
}  // namespace lam::neighbor_sums
