// A step of a structure that moves, by a DPA-1 with nets or with tables, in one call and without a graph.
//
//   positions and a list with a skin -> edges -> R -> M -> D -> E = net(D) + reference      E' -> D' -> M' -> forces F_i and virial -sum_ij d_ij e_ij^T
//
// As an atom's energy depends on its own edges alone, and their slopes on nothing else, a few atoms at a time go all the way and back: what is between
// stays in cache, and the fitting net is a product of matrices. With nets, value and slope of an edge's row come from one pass of the net (wide_net.h).
#pragma once
#include "edges.h"
#include "tabulated.h"
#include "wide_net.h"

namespace lam::step {
constexpr int64_t ATOMS = 12;  // at once: whole blocks of a product (tile.h)

// Those whose rows of G come from nets, each with its slope.
template <class T>
struct NetEdges : tabulated::Edges<T> {
  using Base = tabulated::Edges<T>;
  using Vec = typename Lane<T>::Vec;

  NetEdges(const tabulated::Block& in, int64_t most, const WideNet<T>* net) : Base(in, most), tile(*net), scalars(4 * TILE), last(TILE * in.M), table(TILE) {}

  // rows = h of all edges, then t of all.
  void collect() {
    const int64_t M = this->in.M;
    this->line_up();
    if (int64_t(rows.size()) < 2 * this->count * M) rows.resize(2 * this->count * M);
    for (int64_t from = 0; from < this->count; from += TILE) {
      const int64_t some = std::min(TILE, this->count - from);
      for (int64_t e = 0; e < some; ++e) scalars[4 * e] = this->at(this->R)[from + e], table[e] = this->in.factors ? 0 : this->row(this->type[from + e]);
      tile.evaluate(scalars.data(), table.data(), some, last.data(), false, true);
      std::copy_n(tile.last_h(), some * M, rows.data() + from * M);
      std::copy_n(tile.last_t(some), some * M, rows.data() + (this->count + from) * M);
    }
  }
  Vec value(int64_t e, int64_t o) const { return vec(&rows[e * this->in.M + o]); }
  void both(int64_t e, int64_t o, Vec& value, Vec& slope) const { value = this->value(e, o), slope = this->value(this->count + e, o); }

 private:
  WideTile<T> tile;
  Buffer<T> scalars, last, rows;
  std::vector<int64_t> table;
};

// The net of an energy head: y_k = tanh(x_k W_k + b_k), x_{k+1} = dt_k y_k + what skips, E = x w + b. Rows of all arrays are whole vectors.
// Sizes: layers, width of the input and of each. Arrays: W, its transpose, b and dt of each layer, w, and the reference energies by type.
template <class T>
struct Fitting {
  int64_t layers;
  std::vector<int64_t> width, cols;
  std::vector<const T*> matrix, turned, bias, dt;
  const T* last;
  const double* reference;
  double shift;

  Fitting(Call& in, int64_t types) : layers(in.size()) {
    for (int64_t k = 0; k <= layers; ++k) width.push_back(in.size()), cols.push_back(Lane<T>::padded(width[k]));
    for (int64_t k = 0; k < layers; ++k) {
      matrix.push_back(data<T>(in.array(width[k], cols[k + 1]))), turned.push_back(data<T>(in.array(width[k + 1], cols[k])));
      bias.push_back(data<T>(in.array(cols[k + 1]))), dt.push_back(data<T>(in.array(cols[k + 1])));
    }
    last = data<T>(in.array(cols[layers])), reference = data<double>(in.array(types)), shift = in.number();
  }
  int64_t skips(int64_t k) const { return width[k + 1] == width[k] ? 1 : width[k + 1] == 2 * width[k] ? 2 : 0; }
};

template <class T>
struct FittingTile {  // of ATOMS atoms
  const Fitting<T>& net;
  std::vector<Buffer<T>> x, y;  // of a layer at the place of its output
  Buffer<T> g, down;

  explicit FittingTile(const Fitting<T>& net) : net(net) {
    int64_t widest = 0;
    for (const int64_t cols : net.cols) x.emplace_back(ATOMS * cols), y.emplace_back(ATOMS * cols), widest = std::max(widest, cols);
    g.resize(ATOMS * widest), down.resize(ATOMS * widest);
  }
  T* input(int64_t n) { return &x[0][n * net.cols[0]]; }

  // Energies of `count` inputs, without references, to `energies`; afterwards their slopes by the inputs are rows of `g`.
  void evaluate(int64_t count, T* energies) {
    for (int64_t k = 0; k < net.layers; ++k) {
      const int64_t cols = net.cols[k + 1];
      T *out = y[k + 1].data(), *next = x[k + 1].data();
      for (int64_t n = 0; n < count; ++n) std::copy_n(net.bias[k], cols, out + n * cols);
      multiply(rows_of<T>(x[k].data(), net.cols[k]), count, net.width[k], net.matrix[k], cols, out, true);
      tanh_all(out, count * cols);
      for (int64_t n = 0; n < count; ++n) {
        for (int64_t o = 0; o < cols; ++o) next[n * cols + o] = net.dt[k] ? net.dt[k][o] * out[n * cols + o] : out[n * cols + o];
        for (int64_t s = 0; s < net.skips(k); ++s)
          for (int64_t i = 0; i < net.width[k]; ++i) next[n * cols + s * net.width[k] + i] += x[k][n * net.cols[k] + i];
      }
    }
    const int64_t cols = net.cols[net.layers];
    for (int64_t n = 0; n < count; ++n) {
      T sum = 0;
      for (int64_t o = 0; o < cols; ++o) sum += net.last[o] * x[net.layers][n * cols + o], g[n * cols + o] = net.last[o];
      energies[n] = sum + T(net.shift);
    }
    for (int64_t k = net.layers - 1; k >= 0; --k) step_back(k, count);
  }

 private:
  void step_back(int64_t k, int64_t count) {
    const int64_t cols = net.cols[k + 1], below = net.cols[k];
    std::fill_n(down.data(), count * below, T(0));
    for (int64_t n = 0; n < count; ++n) {
      for (int64_t s = 0; s < net.skips(k); ++s)
        for (int64_t i = 0; i < net.width[k]; ++i) down[n * below + i] += g[n * cols + s * net.width[k] + i];
      for (int64_t o = 0; o < cols; ++o) {
        const T value = y[k + 1][n * cols + o], slope = 1 - value * value;
        g[n * cols + o] *= net.dt[k] ? net.dt[k][o] * slope : slope;
      }
    }
    multiply(rows_of<T>(g.data(), cols), count, net.width[k + 1], net.turned[k], below, down.data(), true);
    std::swap(g, down);
  }
};

// What parts of the atoms add up to.
template <class T>
struct Sums {
  Buffer<T> forces;
  double virial[9]{};
  int64_t outside = 0, truncated = 0;

  explicit Sums(int64_t atoms) : forces(3 * atoms) {}

  template <class E>
  void add(const E& edges, int64_t atom) {
    T own[3]{}, turned[9]{};
    for (int a = 0; a < 3; ++a) {
      const T *e = edges.at(E::BY_X + a), *x = edges.at(E::X), *y = edges.at(E::Y), *z = edges.at(E::Z);
      T sum = 0, by_x = 0, by_y = 0, by_z = 0;
#pragma omp simd reduction(+ : sum, by_x, by_y, by_z)
      for (int64_t k = 0; k < edges.count; ++k) sum += e[k], by_x += x[k] * e[k], by_y += y[k] * e[k], by_z += z[k] * e[k];
      own[a] = sum, turned[a] = by_x, turned[3 + a] = by_y, turned[6 + a] = by_z;
    }
    const T *x = edges.at(E::BY_X), *y = edges.at(E::BY_Y), *z = edges.at(E::BY_Z);
    const int64_t* slot = edges.slot.data();
    T* all = forces.data();
    for (int64_t k = 0; k < edges.count; ++k) {
      T* other = all + 3 * slot[k];
      other[0] -= x[k], other[1] -= y[k], other[2] -= z[k];
    }
    for (int a = 0; a < 3; ++a) all[3 * atom + a] += own[a];
    for (int k = 0; k < 9; ++k) virial[k] -= turned[k];
    outside += edges.outside;
  }
};

// Sizes: atoms, columns of the list, type of the first atom, those of the block, of its nets where it has no table, and of the fitting net.
// Arrays: positions, list, offsets (as of edges.h), types; those of the block, nets and fitting net; then what is written: energies (N,) in double
// precision, forces (N, 3), virial (9,) in double precision, and two counts: edges beyond the table, atoms with too many neighbours.
template <class T>
struct Inputs {
  int64_t N, L, lead;
  int threads;
  Array points, list, offsets, types;
  tabulated::Block block;
  Arrays weights;
  Fitting<T> fitting;
  Array energies, forces, virial, counts;

  explicit Inputs(Call& in)
      : N(in.size()), L(in.size()), lead(in.size()), threads(in.threads), points(in.array(N, 3)), list(in.array(N, L)), offsets(in.array(3, N, L)), types(in.array(N)),
        block(in), weights(block.tables ? Arrays{} : NetShape(in).weights(in)), fitting(in, block.T), energies(in.array(N)), forces(in.array(N, 3)), virial(in.array(9)), counts(in.array(2)) {
    in.done();
  }
};

template <class T, class Kind, class... More>
void over_atoms(const Inputs<T>& at, int64_t first, int64_t last, Sums<T>& sums, More... more) {
  using Passes = tabulated::Passes<T, Kind>;
  const tabulated::Block& in = at.block;
  const int64_t* types = data<int64_t>(at.types);
  edges::Near near(at.points, at.list, at.offsets, in.cutoff, in.nsel);
  std::vector<Kind> edges;
  edges.reserve(ATOMS);
  for (int64_t k = 0; k < std::min(ATOMS, last - first); ++k) edges.emplace_back(in, at.L, more...);
  FittingTile<T> tile(at.fitting);
  Buffer<T> moments(ATOMS * 4 * in.M), turned(in.axis * in.M), c(4 * in.M), energies(ATOMS);
  for (int64_t n = first; n < last; n += ATOMS) {
    const int64_t some = std::min(ATOMS, last - n);
    for (int64_t k = 0; k < some; ++k) {
      const int64_t found = near.find(n + k, edges[k].at(Kind::X), edges[k].at(Kind::Y), edges[k].at(Kind::Z), edges[k].slot.data()), given = std::min(found, in.nsel);
      sums.truncated += found > given;
      for (int64_t e = 0; e < given; ++e) edges[k].type[e] = types[edges[k].slot[e]];
      edges[k].begin(types[n + k], given);
      edges[k].evaluate(), edges[k].collect(), Passes::sum(edges[k], &moments[4 * in.M * k]);
      tabulated::complete_moment<T>(in, edges[k], at.lead, &moments[4 * in.M * k]);
      tabulated::set_invariants<T>(in, &moments[4 * in.M * k], edges[k].own, turned, tile.input(k));
    }
    tile.evaluate(some, energies.data());
    for (int64_t k = 0; k < some; ++k) {
      into<double>(at.energies)[n + k] = double(energies[k]) + at.fitting.reference[edges[k].own];
      tabulated::by_moment<T>(in, &moments[4 * in.M * k], &tile.g[k * at.fitting.cols[0]], turned, c.data());
      Passes::reverse(edges[k], c.data()), edges[k].finish();
      sums.add(edges[k], n + k);
    }
  }
}

template <class T>
void value(Call in) {
  const Inputs<T> at(in);
  const int64_t parts = parts_of(at.N / ATOMS, at.threads);
  std::vector<Sums<T>> sums(parts, Sums<T>(at.N));
  if (at.block.tables) {
    over_parts(parts, at.threads, [&](int64_t p) { over_atoms<T, tabulated::TableEdges<T>>(at, at.N * p / parts, at.N * (p + 1) / parts, sums[p]); });
  } else {
    const WideNet<T> net(at.weights);
    over_parts(parts, at.threads, [&](int64_t p) { over_atoms<T, NetEdges<T>>(at, at.N * p / parts, at.N * (p + 1) / parts, sums[p], &net); });
  }
  std::fill_n(into<T>(at.forces), 3 * at.N, T(0)), std::fill_n(into<double>(at.virial), 9, 0.0), std::fill_n(into<int64_t>(at.counts), 2, 0);
  for (const Sums<T>& part : sums) {
    for (int64_t k = 0; k < 3 * at.N; ++k) into<T>(at.forces)[k] += part.forces[k];
    for (int k = 0; k < 9; ++k) into<double>(at.virial)[k] += part.virial[k];
    into<int64_t>(at.counts)[0] += part.outside, into<int64_t>(at.counts)[1] += part.truncated;
  }
}
}  // namespace lam::step
