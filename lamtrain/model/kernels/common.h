// What the fused operators share: rows split over threads, and shorthand for autograd functions.
//
// Each operator is a torch::autograd::Function whose backward is another such function, so that forces can be trained on:
// forward, first derivative and second derivative are all written out. `ctx->needs_input_grad(i)` is asked before every
// output of a derivative: taking forces must not compute gradients of weights, and training must not compute Hessians.
// Lists of tensors go into `apply` as at::TensorList, and only so: a std::vector would be taken for a constant.
#pragma once
#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <torch/csrc/autograd/custom_function.h>
#include <algorithm>
#include <vector>
#include "elementary.h"

namespace lam {
using at::Tensor;
using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

template <class T>
const T* data(const Tensor& t) {
  return t.const_data_ptr<T>();
}

inline variable_list contiguous(at::TensorList list) {
  variable_list out;
  for (const auto& t : list) out.push_back(t.contiguous());
  return out;
}

// Into how many parts work on `rows` is split, one for each thread. Their sums are added in order, so that equal input gives equal bits.
inline int64_t parts_of(int64_t rows) { return std::max<int64_t>(1, std::min<int64_t>(rows, at::get_num_threads())); }

// Calls body(part) for each part, in parallel.
template <class Body>
void over_parts(int64_t parts, Body body) {
  at::parallel_for(0, parts, 1, [&](int64_t from, int64_t to) {
    for (int64_t part = from; part < to; ++part) body(part);
  });
}

// A gradient that autograd did not fill in stands for zeros of that shape.
inline Tensor filled(const Tensor& grad, const Tensor& like) { return grad.defined() ? grad.contiguous() : at::zeros_like(like); }

// Outputs of a forward that were not computed, as autograd wants them: empty, not undefined.
inline variable_list stand_ins(variable_list outputs, const Tensor& like) {
  for (auto& t : outputs)
    if (!t.defined()) t = at::empty({0}, like.options());
  return outputs;
}

// Whether any of the inputs `first ... first + count`, counted among tensors only, is to get a gradient in this pass.
inline bool wanted(AutogradContext* ctx, size_t first, size_t count) {
  for (size_t k = first; k < first + count; ++k)
    if (ctx->needs_input_grad(k)) return true;
  return false;
}
}  // namespace lam
