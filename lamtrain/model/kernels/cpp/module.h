// The Python module of one kind of processor, written to the stable interface of Python 3.11, so that one build serves every later version.
//
//   run(name, double, arrays, sizes, numbers, threads)   addresses, sizes and numbers as sequences; other Python threads run meanwhile
//   lanes(itemsize)                                      values in a vector: rows that are kept between two functions have a whole number of them
#pragma once
#define PY_SSIZE_T_CLEAN
#define Py_LIMITED_API 0x030B0000
#include <Python.h>
#include <cstring>
#include <new>
#include <string>
#include "operators.h"

namespace lam {
inline const Operator* find_operator(const char* name) {
  for (const Operator& one : OPERATORS)
    if (!std::strcmp(one.name, name)) return &one;
  return nullptr;
}

// Appends what `one` makes of each item; false with an exception set.
template <class T, class One>
bool read_all(PyObject* list, std::vector<T>& to, One one) {
  const Py_ssize_t count = PyList_Size(list);
  for (Py_ssize_t k = 0; k < count; ++k) to.push_back(one(PyList_GetItem(list, k)));
  return !PyErr_Occurred();
}

inline PyObject* run(PyObject*, PyObject* args) {
  const char* name;
  int whole, threads;
  PyObject *arrays, *sizes, *numbers;
  if (!PyArg_ParseTuple(args, "spO!O!O!i", &name, &whole, &PyList_Type, &arrays, &PyList_Type, &sizes, &PyList_Type, &numbers, &threads)) return nullptr;
  const Operator* found = find_operator(name);
  if (!found) return PyErr_Format(PyExc_ValueError, "no operator called %s", name);
  std::vector<void*> where;
  std::vector<int64_t> counts;
  std::vector<double> values;
  if (!read_all(arrays, where, PyLong_AsVoidPtr) || !read_all(sizes, counts, PyLong_AsLongLong) || !read_all(numbers, values, PyFloat_AsDouble)) return nullptr;
  const Call call{where.data(), counts.data(), values.data(), int64_t(where.size()), int64_t(counts.size()), int64_t(values.size()), threads};
  std::string wrong;
  bool full = false;
  Py_BEGIN_ALLOW_THREADS;
  try {
    (whole ? found->whole : found->single)(call);
  } catch (const std::bad_alloc&) {
    full = true;
  } catch (const std::exception& err) {
    wrong = err.what();
  }
  Py_END_ALLOW_THREADS;
  if (full) return PyErr_NoMemory();
  if (!wrong.empty()) return PyErr_Format(PyExc_ValueError, "%s: %s", name, wrong.c_str());
  Py_RETURN_NONE;
}

inline PyObject* lanes(PyObject*, PyObject* itemsize) {
  const long bytes = PyLong_AsLong(itemsize);
  return PyErr_Occurred() ? nullptr : PyLong_FromLong(VECTOR_BYTES / bytes);
}

// The best kind of processor that this one is, among those that there are files for.
inline PyObject* processor(PyObject*, PyObject*) {
#if defined(__x86_64__) || defined(__i386__)
  __builtin_cpu_init();
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl"))
    return PyUnicode_FromString("avx512");
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return PyUnicode_FromString("avx2");
#endif
  return PyUnicode_FromString("baseline");
}

inline PyObject* create_module(const char* name) {
  static PyMethodDef methods[] = {{"run", run, METH_VARARGS, "run(name, double, arrays, sizes, numbers, threads): one operator on arrays given by address."},
                                  {"lanes", lanes, METH_O, "lanes(itemsize): how many values a vector holds."},
                                  {"processor", processor, METH_NOARGS, "processor(): the kind of this processor."},
                                  {nullptr, nullptr, 0, nullptr}};
  static PyModuleDef module = {PyModuleDef_HEAD_INIT, name, "The fused operators, for one kind of processor.", -1, methods, nullptr, nullptr, nullptr, nullptr};
  return PyModule_Create(&module);
}
}  // namespace lam
