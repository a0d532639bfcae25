/* Functions that are built once for each level of x86-64, and chosen when the library is loaded, where the C library knows how. */

#ifndef LAMDATA_LEVELS_H
#define LAMDATA_LEVELS_H

#if defined(__x86_64__) && defined(__GLIBC__) && defined(__GNUC__) && !defined(__clang__) && __GNUC__ >= 12
#define LEVELS 1
#define FOR_EACH_LEVEL __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define LEVELS 0
#define FOR_EACH_LEVEL
#endif

#endif
