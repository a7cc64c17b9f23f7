/* Products with a weight that stays the same, whose rows do not know of each other: regard/ops/packed.py and int8.py. */

#include "vectors.h"

#ifdef __AVX2__
#include <immintrin.h>
#endif

#define PANEL 16 /* columns side by side: two vectors, so that six rows of sums fill twelve of sixteen registers */
#define TALL 6 /* pairs of sums at a time */

/* weight (columns, inner), its rows `stride` floats apart → panels of (inner, PANEL), the last filled up with zeros. */
EXPORT void pack(int64_t columns, int64_t inner, int64_t stride, const float *weight, float *packed) {
    for (int64_t first = 0; first < columns; first += PANEL)
        for (int64_t k = 0; k < inner; k++)
            for (int64_t j = first; j < first + PANEL; j++)
                *packed++ = j < columns ? weight[j * stride + k] : 0.0f;
}

/* The same of the weight's transpose: rows of `columns` numbers, `stride` floats apart, one for each k. */
EXPORT void pack_transposed(int64_t columns, int64_t inner, int64_t stride, const float *weight, float *packed) {
    for (int64_t first = 0; first < columns; first += PANEL) {
        int64_t some = columns - first < PANEL ? columns - first : PANEL;
        for (int64_t k = 0; k < inner; k++, packed += PANEL) {
            memset(packed, 0, PANEL * sizeof(float));
            memcpy(packed, weight + k * stride + first, some * sizeof(float));
        }
    }
}

/* What a tile computes: out = start + x · weightᵀ. Rows of x lie `inner` apart, of start `stride`, of out `apart`. */
typedef struct {
    int64_t inner, stride, apart;
    const float *x, *packed, *start;
    float *out;
} Job;

/* The panels from column `first` on for `rows` rows from `row` on; `wide` columns of them are written. Each sum runs over k
   in order, in a register of its own, so that it is the same bits however many rows there are. */
static inline __attribute__((always_inline)) void tile(const Job *job, int rows, int panels, int64_t row, int64_t first,
                                                       int64_t wide) {
    const int64_t inner = job->inner, stride = job->stride, apart = job->apart;
    const float *x = job->x + row * inner, *packed = job->packed + first * inner;
    const float *start = job->start + row * stride + first;
    float *out = job->out + row * apart + first;
    floats left[TALL], right[TALL];
    for (int r = 0; r < rows; r++)
        for (int p = 0; p < panels; p++) {
            left[r * panels + p] = load(start + r * stride + p * PANEL);
            right[r * panels + p] = load(start + r * stride + p * PANEL + LANES);
        }
    for (int64_t k = 0; k < inner; k++)
        for (int p = 0; p < panels; p++) {
            const float *at = packed + (p * inner + k) * PANEL;
            floats one = load(at), two = load(at + LANES);
            for (int r = 0; r < rows; r++) {
                floats each = ALL(x[r * inner + k]);
                left[r * panels + p] += each * one;
                right[r * panels + p] += each * two;
            }
        }
    for (int r = 0; r < rows; r++)
        for (int p = 0; p < panels; p++) {
            float both[PANEL];
            int64_t rest = wide - p * PANEL;
            store(both, left[r * panels + p]);
            store(both + LANES, right[r * panels + p]);
            memcpy(out + r * apart + p * PANEL, both, (rest < PANEL ? rest : PANEL) * sizeof(float));
        }
}

/* All columns of `rows` rows, several panels at a time: one row alone would wait for its own sums. */
static inline __attribute__((always_inline)) void across(const Job *job, int rows, int panels, int64_t columns) {
    int64_t first = 0;
    for (; first + (panels - 1) * PANEL < columns; first += panels * PANEL)
        tile(job, rows, panels, 0, first, columns - first);
    for (; first < columns; first += PANEL) tile(job, rows, 1, 0, first, columns - first);
}

static void run(const Job *job, int64_t rows, int64_t columns) {
    if (rows == 1) { across(job, 1, 4, columns); return; }
    if (rows == 2) { across(job, 2, 3, columns); return; }
    if (rows == 3) { across(job, 3, 2, columns); return; }
    for (int64_t first = 0; first < columns; first += PANEL) {
        int64_t row = 0;
        for (; row + TALL <= rows; row += TALL) tile(job, TALL, 1, row, first, columns - first);
        switch (rows - row) {
        case 5: tile(job, 5, 1, row, first, columns - first); break;
        case 4: tile(job, 4, 1, row, first, columns - first); break;
        case 3: tile(job, 3, 1, row, first, columns - first); break;
        case 2: tile(job, 2, 1, row, first, columns - first); break;
        case 1: tile(job, 1, 1, row, first, columns - first); break;
        }
    }
}

/* out (rows, columns) = start + x (rows, inner) · weightᵀ, from panels. start: PANEL-filled, `stride` floats from row
   to row: 0 for a bias. */
EXPORT void product(int64_t rows, int64_t inner, int64_t columns, int64_t stride, const float *x, const float *packed,
                    const float *start, float *out) {
    Job job = {inner, stride, columns, x, packed, start, out};
    run(&job, rows, columns);
}

/* Group g's rows of x (groups, rows, inner) by a weight of its own: `width[s]` columns from column `begin[s]` on (a multiple
   of PANEL) of one packed weight, with s = which[g]. out (groups, rows, widest) is -inf past a group's columns. */
EXPORT void product_each(int64_t groups, int64_t rows, int64_t inner, int64_t widest, const int64_t *which,
                         const int64_t *begin, const int64_t *width, const float *x, const float *packed,
                         const float *bias, float *out) {
    for (int64_t g = 0; g < groups; g++, x += rows * inner, out += rows * widest) {
        int64_t s = which[g], columns = width[s];
        Job job = {inner, 0, widest, x, packed + begin[s] * inner, bias + begin[s], out};
        run(&job, rows, columns);
        for (int64_t r = 0; r < rows; r++)
            for (int64_t j = columns; j < widest; j++) out[r * widest + j] = -INFINITY;
    }
}

/* ---- Weights of seven bits, rows of eight: regard/ops/int8.py -------------------------------------------------------- */

#define QUAD 4 /* neighbours along a row that one instruction multiplies and adds */
#define ZERO 128 /* what stands for 0.0: a row's numbers are unsigned, 1 to 255 */

typedef uint8_t octet __attribute__((vector_size(8)));

/* A row x → whole numbers q with x ≈ scale · (q − ZERO), `padded` of them; returns scale, not-a-number for such a row. */
static float quantize(int64_t inner, int64_t padded, const float *x, uint8_t *q) {
    floats most = ALL(0.0f), bad = ALL(0.0f);
    int64_t k = 0;
    for (; k < inner; k += LANES) {
        floats v = k + LANES <= inner ? load(x + k) : load_some(x + k, inner - k, 0.0f);
        most = larger(larger(v, -v), most);
        bad += v * ALL(0.0f); /* zero, unless there is an infinity or no number */
    }
    float absmax = max_of(most), inverse_scale = absmax > 0.0f ? 127.0f / absmax : 0.0f;
    const floats shift = ALL(12582912.0f); /* 1.5 · 2^23: adding it rounds to a whole number */
    for (k = 0; k < inner; k += LANES) {
        int64_t some = inner - k < LANES ? inner - k : LANES;
        floats v = some == LANES ? load(x + k) : load_some(x + k, some, 0.0f);
        ints whole = (ints)(v * ALL(inverse_scale) + shift) - (ints)shift + ZERO;
        octet bytes = __builtin_convertvector(whole, octet);
        memcpy(q + k, &bytes, some);
    }
    for (k = inner; k < padded; k++) q[k] = ZERO;
    return absmax / 127.0f + sum_of(bad);
}

/* Sums of products of one panel and `rows` rows of bytes; panels: (padded / QUAD, PANEL, QUAD). */
static inline __attribute__((always_inline)) void sums8(int rows, int64_t padded, const uint8_t *x, const int8_t *packed,
                                                        int32_t sums[TALL][PANEL]) {
#ifdef __AVX2__
    /* Bytes times bytes, added in pairs, are at most 2 · 255 · 63 and so fit into 16 bits: regard/ops/int8.py. */
    const __m256i ones = _mm256_set1_epi16(1);
    __m256i left[TALL], right[TALL];
    for (int r = 0; r < rows; r++) left[r] = right[r] = _mm256_setzero_si256();
    for (int64_t k = 0; k < padded; k += QUAD) {
        __m256i one = _mm256_loadu_si256((const __m256i *)(packed + k * PANEL));
        __m256i two = _mm256_loadu_si256((const __m256i *)(packed + k * PANEL + 32));
        for (int r = 0; r < rows; r++) {
            int32_t four;
            memcpy(&four, x + r * padded + k, sizeof four);
            __m256i each = _mm256_set1_epi32(four);
            left[r] = _mm256_add_epi32(left[r], _mm256_madd_epi16(_mm256_maddubs_epi16(each, one), ones));
            right[r] = _mm256_add_epi32(right[r], _mm256_madd_epi16(_mm256_maddubs_epi16(each, two), ones));
        }
    }
    for (int r = 0; r < rows; r++) {
        memcpy(sums[r], &left[r], sizeof left[r]);
        memcpy(sums[r] + LANES, &right[r], sizeof right[r]);
    }
#else
    memset(sums, 0, rows * sizeof sums[0]);
    for (int64_t k = 0; k < padded; k += QUAD)
        for (int r = 0; r < rows; r++)
            for (int c = 0; c < PANEL; c++)
                for (int i = 0; i < QUAD; i++) sums[r][c] += x[r * padded + k + i] * packed[k * PANEL + c * QUAD + i];
#endif
}

/* out (rows, columns) = start + x (rows, inner) · weightᵀ with `packed` panels of whole numbers, each column's `scale`, and
   `zeros`, ZERO times the sum of a column's numbers. spare: rows · padded bytes, and a float for each row. */
EXPORT void product8(int64_t rows, int64_t inner, int64_t padded, int64_t columns, int64_t stride, const float *x,
                     const int8_t *packed, const float *scale, const int32_t *zeros, const float *start, uint8_t *spare,
                     float *row_scale, float *out) {
    for (int64_t row = 0; row < rows; row++)
        row_scale[row] = quantize(inner, padded, x + row * inner, spare + row * padded);
    for (int64_t first = 0; first < columns; first += PANEL) {
        int64_t wide = columns - first < PANEL ? columns - first : PANEL;
        for (int64_t row = 0; row < rows; row += TALL) {
            int some = rows - row < TALL ? (int)(rows - row) : TALL;
            int32_t sums[TALL][PANEL];
            const uint8_t *from = spare + row * padded;
            const int8_t *panel = packed + first * padded;
            switch (some) { /* so that each number of rows has registers of its own */
            case 1: sums8(1, padded, from, panel, sums); break;
            case 2: sums8(2, padded, from, panel, sums); break;
            case 3: sums8(3, padded, from, panel, sums); break;
            case 4: sums8(4, padded, from, panel, sums); break;
            case 5: sums8(5, padded, from, panel, sums); break;
            default: sums8(TALL, padded, from, panel, sums);
            }
            for (int r = 0; r < some; r++)
                for (int64_t j = 0; j < wide; j++)
                    out[(row + r) * columns + first + j] =
                        start[(row + r) * stride + first + j] +
                        (float)(sums[r][j] - zeros[first + j]) * (row_scale[row + r] * scale[first + j]);
        }
    }
}
