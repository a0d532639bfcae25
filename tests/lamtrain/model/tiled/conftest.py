"""Triton's interpreter runs the kernels on CPU tensors: it must be chosen before triton is imported, so as soon as these tests are collected."""

import os

os.environ["TRITON_INTERPRET"] = "1"
