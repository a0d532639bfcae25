// The operators for AVX-512 F, DQ, BW, VL.
#include "module.h"

PyMODINIT_FUNC PyInit__avx512() { return lam::create_module("_avx512"); }
