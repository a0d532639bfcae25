// All operators by name, for one kind of processor: a file that is compiled for it includes this one.
#pragma once
#include "edges.h"
#include "environment.h"
#include "gate_softmax.h"
#include "moment.h"
#include "neighbor_sums.h"
#include "node_update.h"
#include "pair_attention.h"
#include "pair_update.h"
#include "step.h"
#include "symmetrize.h"
#include "tabulated.h"
#include "three_body.h"

namespace lam {
struct Operator {
  const char* name;
  void (*single)(Call);
  void (*whole)(Call);  // in double precision
};

#define LAM_OPERATOR(file, function) {#file "_" #function, file::function<float>, file::function<double>}
inline const Operator OPERATORS[] = {
    LAM_OPERATOR(environment, value),    LAM_OPERATOR(environment, first),    LAM_OPERATOR(environment, second),
    LAM_OPERATOR(gate_softmax, value),   LAM_OPERATOR(gate_softmax, first),   LAM_OPERATOR(gate_softmax, second),
    LAM_OPERATOR(moment, edges),         LAM_OPERATOR(moment, value),         LAM_OPERATOR(moment, slope),
    LAM_OPERATOR(moment, by_weights),    LAM_OPERATOR(moment, second),        LAM_OPERATOR(neighbor_sums, value),
    LAM_OPERATOR(neighbor_sums, first),  LAM_OPERATOR(neighbor_sums, second), LAM_OPERATOR(pair_attention, value),
    LAM_OPERATOR(pair_attention, first), LAM_OPERATOR(pair_attention, second), LAM_OPERATOR(pair_update, value),
    LAM_OPERATOR(pair_update, first),    LAM_OPERATOR(pair_update, second),   LAM_OPERATOR(symmetrize, bilinear),
    LAM_OPERATOR(symmetrize, transpose), LAM_OPERATOR(three_body, value),     LAM_OPERATOR(three_body, slope),
    LAM_OPERATOR(three_body, reverse),   LAM_OPERATOR(node_update, value),    LAM_OPERATOR(node_update, first),
    LAM_OPERATOR(node_update, second),   LAM_OPERATOR(tabulated, value),      LAM_OPERATOR(tabulated, first),
    LAM_OPERATOR(edges, sums),           LAM_OPERATOR(step, value),
};
#undef LAM_OPERATOR
}  // namespace lam
