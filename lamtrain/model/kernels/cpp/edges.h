// Edges of a structure that moves, and what slopes along edges add up to: work on lists, with no net in it.
//
//   Near     positions (N, 3) and a list with a skin, (N, M) neighbours j and offsets d (3, N, M), in double precision, infinite where a place is
//            empty -> of each atom those with r_j - r_i + d within the cutoff
//   sums     slopes e (N, W, 3) of the rows start ... start + N -> forces F_i += sum_j e_ij, F_j -= e_ij, and virials -sum_j d_ij e_ij^T (N, 3, 3)
#pragma once
#include "common.h"

namespace lam::edges {

// Neighbours of one atom within a cutoff, in the order of its list; of more than `most` the nearest.
class Near {
 public:
  Near(const Array& points, const Array& list, const Array& offsets, double cutoff, int64_t most)
      : at(data<double>(points)), list(data<int64_t>(list)), off(data<double>(offsets)), N(list.size(0)), M(list.size(1)), most(most), square_of_cutoff(cutoff * cutoff), square(M) {}

  // Writes vectors by component and the numbers of the neighbours, each with room for a row of the list; returns how many there were before any was
  // left out.
  template <class T>
  int64_t find(int64_t i, T* X, T* Y, T* Z, int64_t* neighbors) {
    const int64_t* j = list + i * M;
    const double *from = at + 3 * i, *ox = off + i * M, *oy = off + (N + i) * M, *oz = off + (2 * N + i) * M, px = from[0], py = from[1], pz = from[2], near = square_of_cutoff;
    double* squares = square.data();
    int64_t count = 0;
    for (int64_t k = 0; k < M; ++k) {
      const double* other = at + 3 * j[k];
      const double x = other[0] - px + ox[k], y = other[1] - py + oy[k], z = other[2] - pz + oz[k], r2 = x * x + y * y + z * z;
      neighbors[count] = j[k], squares[count] = r2, X[count] = T(x), Y[count] = T(y), Z[count] = T(z);
      count += r2 < near;
    }
    if (count > most) {  // the farthest go; the others keep their order
      place.resize(count);
      for (int64_t k = 0; k < count; ++k) place[k] = k;
      std::nth_element(place.begin(), place.begin() + most, place.end(), [&](int64_t a, int64_t b) { return square[a] < square[b] || (square[a] == square[b] && a < b); });
      std::sort(place.begin(), place.begin() + most);
      for (int64_t k = 0; k < most; ++k) X[k] = X[place[k]], Y[k] = Y[place[k]], Z[k] = Z[place[k]], neighbors[k] = neighbors[place[k]];
    }
    return count;
  }

 private:
  const double* at;
  const int64_t* list;
  const double* off;
  const int64_t N, M, most;
  const double square_of_cutoff;
  std::vector<double> square;
  std::vector<int64_t> place;
};

template <class T>
void sums(Call in) {
  const int64_t N = in.size(), W = in.size(), A = in.size(), start = in.size();
  const Array slopes = in.array(N, W, 3), vectors = in.array(N, W, 3), neighbors = in.array(N, W), forces = in.array(A, 3), virials = in.array(N, 3, 3);
  in.done();
  const T *e = data<T>(slopes), *d = data<T>(vectors);
  const int64_t* near = data<int64_t>(neighbors);
  T *F = into<T>(forces), *V = into<T>(virials);
  for (int64_t i = 0; i < N; ++i) {
    T own[3]{}, virial[9]{};
    for (int64_t k = i * W; k < (i + 1) * W; ++k) {
      T* other = F + 3 * near[k];
      for (int a = 0; a < 3; ++a) {
        own[a] += e[3 * k + a], other[a] -= e[3 * k + a];
        for (int b = 0; b < 3; ++b) virial[3 * a + b] -= d[3 * k + a] * e[3 * k + b];
      }
    }
    for (int a = 0; a < 3; ++a) F[3 * (start + i) + a] += own[a];
    std::copy_n(virial, 9, V + 9 * i);
  }
}
}  // namespace lam::edges
