// The operators for what every processor of its family has: SSE2, NEON.
#include "module.h"

PyMODINIT_FUNC PyInit__baseline() { return lam::create_module("_baseline"); }
