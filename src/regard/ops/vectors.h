/* What the kernels share: eight floats at a time, in GCC's and Clang's portable vectors (two registers where the machine
   has four to one). */

#ifndef VECTORS_H
#define VECTORS_H

#include <math.h>
#include <stdint.h>
#include <string.h>

typedef float floats __attribute__((vector_size(32)));
typedef int32_t ints __attribute__((vector_size(32)));

#define EXPORT __attribute__((visibility("default")))
#define ALL(x) ((floats){(x), (x), (x), (x), (x), (x), (x), (x)})
#define LANES 8

static inline floats load(const float *p) {
    floats v;
    memcpy(&v, p, sizeof v);
    return v;
}

static inline void store(float *p, floats v) { memcpy(p, &v, sizeof v); }

/* The first n floats, the rest filled. */
static inline floats load_some(const float *p, int64_t n, float fill) {
    floats v = ALL(fill);
    memcpy(&v, p, n * sizeof(float));
    return v;
}

static inline floats choose(ints mask, floats yes, floats no) { return (floats)((mask & (ints)yes) | (~mask & (ints)no)); }

static inline floats larger(floats a, floats b) { return choose(a > b, a, b); }

/* The lanes in a fixed order. */
static inline float sum_of(floats v) { return ((v[0] + v[4]) + (v[1] + v[5])) + ((v[2] + v[6]) + (v[3] + v[7])); }

static inline float max_of(floats v) {
    float most = v[0];
    for (int i = 1; i < LANES; i++) most = v[i] > most ? v[i] : most;
    return most;
}

/* e^x: x = n ln 2 + r with |r| ≤ ln 2 / 2, and Taylor's series of e^r up to r^7, whose remainder is below 6e-9.
   Below -87 the result is e^-87, above 88 it is e^88: callers do not come near, or do not mind. */
static inline floats exp_of(floats x) {
    const floats shift = ALL(12582912.0f); /* 1.5 · 2^23: adding it rounds to a whole number */
    x = choose(x < ALL(-87.0f), ALL(-87.0f), x); /* written so that not-a-number stays one */
    x = choose(x > ALL(88.0f), ALL(88.0f), x);
    floats n = x * ALL(1.44269504f) + shift;
    ints whole = (ints)n - (ints)shift;
    n -= shift;
    floats r = x - n * ALL(0.693359375f); /* ln 2 in two parts: the first product is exact */
    r = r - n * ALL(-2.12194440e-4f);
    floats p = ALL(1.0f / 5040.0f);
    p = p * r + ALL(1.0f / 720.0f);
    p = p * r + ALL(1.0f / 120.0f);
    p = p * r + ALL(1.0f / 24.0f);
    p = p * r + ALL(1.0f / 6.0f);
    p = p * r + ALL(0.5f);
    p = p * r + ALL(1.0f);
    p = p * r + ALL(1.0f);
    return p * (floats)((whole + 127) << 23);
}

static inline floats sigmoid_of(floats x) { return ALL(1.0f) / (ALL(1.0f) + exp_of(-x)); }

/* Off by at most 2e-7. */
static inline floats tanh_of(floats x) { return ALL(1.0f) - ALL(2.0f) / (exp_of(x + x) + ALL(1.0f)); }

#endif
