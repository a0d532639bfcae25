// The operators for AVX2 and FMA.
#include "module.h"

PyMODINIT_FUNC PyInit__avx2() { return lam::create_module("_avx2"); }
