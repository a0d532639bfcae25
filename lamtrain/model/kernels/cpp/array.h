// What an operator is given: arrays of the caller by address, with their sizes, a few numbers, and how many threads to use.
//
// An operator is a function of one `Call`. It reads its sizes, numbers and arrays in the order that the file of its name in the folder
// above writes them; `Call` counts them, and `done` throws where one is left or missing. An array that is not asked for has no address.
#pragma once
#include <algorithm>
#include <array>
#include <cstdint>
#include <stdexcept>
#include <vector>

namespace lam {
struct Array {  // contiguous
  void* at = nullptr;
  std::array<int64_t, 4> shape{};
  int rank = 0;

  explicit operator bool() const { return at != nullptr; }
  int64_t size(int k) const { return shape[k]; }
  int64_t numel() const {
    int64_t n = 1;
    for (int k = 0; k < rank; ++k) n *= shape[k];
    return n;
  }
};
using Arrays = std::vector<Array>;

template <class T>
const T* data(const Array& a) {
  return static_cast<const T*>(a.at);
}
template <class T>
T* into(const Array& a) {
  return static_cast<T*>(a.at);
}

template <class T>
void zero_rows(const Array& a, int64_t first, int64_t last) {
  const int64_t width = a.shape[0] ? a.numel() / a.shape[0] : 0;
  std::fill(into<T>(a) + first * width, into<T>(a) + last * width, T(0));
}

struct Call {
  void* const* arrays;
  const int64_t* sizes;
  const double* numbers;
  int64_t array_count, size_count, number_count;
  int threads;

  template <class... Sizes>
  Array array(Sizes... sizes) {
    if (!array_count--) throw std::invalid_argument("too few arrays");
    return {*arrays++, {int64_t(sizes)...}, sizeof...(sizes)};
  }
  int64_t size() {
    if (!size_count--) throw std::invalid_argument("too few sizes");
    return *sizes++;
  }
  double number() {
    if (!number_count--) throw std::invalid_argument("too few numbers");
    return *numbers++;
  }
  void done() const {
    if (array_count || size_count || number_count) throw std::invalid_argument("too many arrays, sizes or numbers");
  }
};

// The weights of a net of one scalar. Sizes: rows of the table, layers, the width of each. Arrays: tables, first, then matrix and bias of every
// further layer; their gradients come as the same arrays.
struct NetShape {
  int64_t rows;
  std::vector<int64_t> width;

  explicit NetShape(Call& in) : rows(in.size()), width(in.size()) {
    for (int64_t& w : width) w = in.size();
  }
  Arrays weights(Call& in) const {
    Arrays all{in.array(rows, width[0]), in.array(width[0])};
    for (size_t k = 1; k < width.size(); ++k) all.push_back(in.array(width[k - 1], width[k])), all.push_back(in.array(width[k]));
    return all;
  }
};

// An array for each chunk of a list: `of(rows, slots)` reads it.
template <class Of>
Arrays each(const std::vector<std::array<int64_t, 2>>& chunks, Of of) {
  Arrays all;
  for (const auto& [rows, slots] : chunks) all.push_back(of(rows, slots));
  return all;
}
}  // namespace lam
