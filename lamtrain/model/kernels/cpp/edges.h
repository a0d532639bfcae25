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
      : at(data<double>(points)), list(data<int64_t>(list)), off(data<double>(offsets)), N(list.size(0)), M(list.size(1)), most(most), square_of_cutoff(cutoff * cutoff), way(3 * M), squares(M), found(M) {}

  int64_t count = 0;  // before any is left out
  int64_t kept() const { return std::min(count, most); }
  int64_t neighbor(int64_t k) const { return found[number(k)]; }
  const double* vector(int64_t k) const { return &way[3 * number(k)]; }

  void find(int64_t i) {
    const int64_t* j = list + i * M;
    count = 0;
    for (int64_t k = 0; k < M; ++k) {
      const double *to = at + 3 * j[k], *from = at + 3 * i;
      const double x = to[0] - from[0] + off[i * M + k], y = to[1] - from[1] + off[(N + i) * M + k], z = to[2] - from[2] + off[(2 * N + i) * M + k];
      const double square = x * x + y * y + z * z;
      found[count] = j[k], squares[count] = square, way[3 * count] = x, way[3 * count + 1] = y, way[3 * count + 2] = z;
      count += square < square_of_cutoff;
    }
    if (count > most) cut();
  }

 private:
  const double* at;
  const int64_t* list;
  const double* off;
  const int64_t N, M, most;
  const double square_of_cutoff;
  std::vector<double> way, squares;
  std::vector<int64_t> found, place;

  int64_t number(int64_t k) const { return count > most ? place[k] : k; }
  void cut() {  // the farthest go; the others keep their order
    place.resize(count);
    for (int64_t k = 0; k < count; ++k) place[k] = k;
    std::nth_element(place.begin(), place.begin() + most, place.end(), [&](int64_t a, int64_t b) { return squares[a] < squares[b] || (squares[a] == squares[b] && a < b); });
    std::sort(place.begin(), place.begin() + most);
  }
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
