// The operators under torch.ops.lam.
#include <torch/library.h>
#include "common.h"

namespace lam {
std::tuple<Tensor, Tensor, Tensor> environment(const Tensor& d, const std::optional<Tensor>& seen, const Tensor& mean, const Tensor& std, double smooth, double cutoff,
                                               double protection);
Tensor gate_softmax(const Tensor& s, const Tensor& c, const Tensor& b, const Tensor& d, int64_t phantom);
Tensor pair_attention(const Tensor& x, const Tensor& M, const Tensor& Z, const Tensor& bias, const Tensor& f, const Tensor& k, double C, double D, bool gated,
                      int64_t phantom);
Tensor pair_update(const Tensor& x, const Tensor& W, const Tensor& b, const Tensor& r, const std::optional<Tensor>& z, const std::optional<Tensor>& w,
                   const std::optional<Tensor>& c, double eps);
Tensor moment(const Tensor& R, const Tensor& row, at::TensorList weights);
Tensor symmetrize(at::TensorList moments, int64_t axis);
Tensor three_body(const Tensor& e, const Tensor& types, int64_t ntypes, at::TensorList weights);
std::tuple<Tensor, Tensor, Tensor> neighbor_sums(const Tensor& g1, const Tensor& W, at::TensorList g2, at::TensorList a, at::TensorList h, at::TensorList n);
}  // namespace lam

TORCH_LIBRARY(lam, m) {
  m.def("environment(Tensor d, Tensor? seen, Tensor mean, Tensor std, float smooth, float cutoff, float protection) -> (Tensor, Tensor, Tensor)", &lam::environment);
  m.def("gate_softmax(Tensor s, Tensor c, Tensor b, Tensor d, int phantom) -> Tensor", &lam::gate_softmax);
  m.def("pair_attention(Tensor x, Tensor m, Tensor z, Tensor bias, Tensor fading, Tensor both, float c, float d, bool gated, int phantom) -> Tensor", &lam::pair_attention);
  m.def("pair_update(Tensor x, Tensor w, Tensor b, Tensor r, Tensor? z, Tensor? scale, Tensor? shift, float eps) -> Tensor", &lam::pair_update);
  m.def("moment(Tensor r, Tensor row, Tensor[] weights) -> Tensor", &lam::moment);
  m.def("symmetrize(Tensor[] moments, int axis) -> Tensor", &lam::symmetrize);
  m.def("three_body(Tensor e, Tensor types, int ntypes, Tensor[] weights) -> Tensor", &lam::three_body);
  m.def("neighbor_sums(Tensor g1, Tensor w, Tensor[] g2, Tensor[] a, Tensor[] h, Tensor[] n) -> (Tensor, Tensor, Tensor)", &lam::neighbor_sums);
}
