/* The pointwise work between matrix products, each in one pass over its numbers. Plain C on data pointers.

   Every function here and in products.c is float32, reads and writes dense rows, and treats each row alone and in one
   order, so that a row's result does not depend on the batch it is in. The plain forms are in regard/ops; tests hold the
   pairs together. */

#include "vectors.h"

#ifndef SOURCE
#define SOURCE "" /* the installer gives a digest of the sources, so that an old library is not taken for a new one */
#endif
EXPORT const char *source(void) { return SOURCE; }

/* ---- LSTM, GRU: regard/ops/gates.py, regard/cells/packed.py ------------------------------------------------------------------------------- */

/* gates (rows, 4 hidden) before squashing: input, forget, candidate, output. squashed has their shape; it may be the
   same memory. tanh_cell, which the way back needs, may be NULL. */
EXPORT void lstm_forward(int64_t rows, int64_t hidden, const float *gates, const float *cell, float *squashed,
                         float *h, float *next, float *tanh_cell) {
    for (int64_t row = 0; row < rows; row++) {
        const float *in = gates + row * 4 * hidden;
        float *out = squashed + row * 4 * hidden;
        for (int64_t k = 0; k < hidden; k += LANES) {
            floats i = sigmoid_of(load(in + k)), f = sigmoid_of(load(in + hidden + k));
            floats g = tanh_of(load(in + 2 * hidden + k)), o = sigmoid_of(load(in + 3 * hidden + k));
            floats c = f * load(cell + row * hidden + k) + i * g, t = tanh_of(c);
            store(out + k, i);
            store(out + hidden + k, f);
            store(out + 2 * hidden + k, g);
            store(out + 3 * hidden + k, o);
            store(next + row * hidden + k, c);
            store(h + row * hidden + k, o * t);
            if (tanh_cell) store(tanh_cell + row * hidden + k, t);
        }
    }
}

/* grad_cell comes in as ∂L/∂c' from the next step; out go ∂L/∂gates (before squashing) and ∂L/∂c. */
EXPORT void lstm_backward(int64_t rows, int64_t hidden, const float *squashed, const float *cell,
                          const float *tanh_cell, const float *grad_h, const float *grad_next, float *grad_gates,
                          float *grad_cell) {
    const floats one = ALL(1.0f);
    for (int64_t row = 0; row < rows; row++) {
        const float *in = squashed + row * 4 * hidden;
        float *out = grad_gates + row * 4 * hidden;
        for (int64_t k = 0; k < hidden; k += LANES) {
            int64_t at = row * hidden + k;
            floats i = load(in + k), f = load(in + hidden + k), g = load(in + 2 * hidden + k);
            floats o = load(in + 3 * hidden + k), t = load(tanh_cell + at), dh = load(grad_h + at);
            floats dc = load(grad_next + at) + dh * o * (one - t * t);
            store(out + k, dc * g * i * (one - i));
            store(out + hidden + k, dc * load(cell + at) * f * (one - f));
            store(out + 2 * hidden + k, dc * i * (one - g * g));
            store(out + 3 * hidden + k, dh * t * o * (one - o));
            store(grad_cell + at, dc * f);
        }
    }
}

/* from_x, from_h (rows, 3 hidden): the two halves of reset, update and new gate, biases included; see regard/cells/gru.py. */
EXPORT void gru_forward(int64_t rows, int64_t hidden, const float *from_x, const float *from_h, const float *h,
                        float *next) {
    for (int64_t row = 0; row < rows; row++, from_x += 3 * hidden, from_h += 3 * hidden)
        for (int64_t k = 0; k < hidden; k += LANES) {
            floats r = sigmoid_of(load(from_x + k) + load(from_h + k));
            floats z = sigmoid_of(load(from_x + hidden + k) + load(from_h + hidden + k));
            floats n = tanh_of(load(from_x + 2 * hidden + k) + r * load(from_h + 2 * hidden + k));
            store(next + row * hidden + k, n + z * (load(h + row * hidden + k) - n));
        }
}

/* ---- Linear recurrences: regard/ops/scan.py --------------------------------------------------------------------------- */

/* h' = a h + b; a, b and states (rows, steps, dim), start (rows, dim). */
EXPORT void scan_forward(int64_t rows, int64_t steps, int64_t dim, const float *a, const float *b, const float *start,
                         float *states) {
    for (int64_t row = 0; row < rows; row++, start += dim) {
        const float *h = start;
        for (int64_t step = 0; step < steps; step++, h = states, states += dim, a += dim, b += dim)
            for (int64_t k = 0; k < dim; k += LANES) store(states + k, load(a + k) * load(h + k) + load(b + k));
    }
}

/* grad is ∂L/∂states as each step has it alone; grad_b becomes the whole of it. */
EXPORT void scan_backward(int64_t rows, int64_t steps, int64_t dim, const float *a, const float *states,
                          const float *start, const float *grad, float *grad_a, float *grad_b, float *grad_start) {
    for (int64_t row = 0; row < rows; row++)
        for (int64_t step = steps - 1; step >= 0; step--) {
            int64_t at = (row * steps + step) * dim;
            const float *before = step ? states + at - dim : start + row * dim;
            for (int64_t k = 0; k < dim; k += LANES) {
                floats whole = load(grad + at + k);
                if (step < steps - 1) whole += load(a + at + dim + k) * load(grad_b + at + dim + k);
                store(grad_b + at + k, whole);
                store(grad_a + at + k, whole * load(before + k));
                if (step == 0) store(grad_start + row * dim + k, whole * load(a + at + k));
            }
        }
}

/* ---- Attention: regard/ops/attention.py ------------------------------------------------------------------------ */

/* scores → weights in place, over the first n; the rest become zero. */
static void softmax(float *scores, int64_t n, int64_t all) {
    float most = -INFINITY, total = 0.0f;
    for (int64_t l = 0; l < n; l++) most = scores[l] > most ? scores[l] : most;
    for (int64_t l = 0; l < n; l += LANES) {
        int64_t some = n - l < LANES ? n - l : LANES;
        floats e = exp_of(load_some(scores + l, some, most) - ALL(most));
        memcpy(scores + l, &e, some * sizeof(float));
    }
    for (int64_t l = 0; l < n; l++) total += scores[l];
    for (int64_t l = 0; l < n; l++) scores[l] /= total;
    for (int64_t l = n; l < all; l++) scores[l] = 0.0f;
}

/* score · tanh(query + key), or query · key where score is NULL. */
static float match(int64_t dim, const float *query, const float *key, const float *score) {
    floats sum = ALL(0.0f);
    if (score)
        for (int64_t a = 0; a < dim; a += LANES) sum += load(score + a) * tanh_of(load(query + a) + load(key + a));
    else
        for (int64_t a = 0; a < dim; a += LANES) sum += load(query + a) * load(key + a);
    return sum_of(sum);
}

/* query (sentences, queries, dim), keys (sentences, steps, dim), values (sentences, steps, size), score (dim) or NULL;
   lengths (sentences), or NULL where every step is real → context (sentences, queries, size), weights (…, steps). */
EXPORT void attention_forward(int64_t sentences, int64_t queries, int64_t steps, int64_t dim, int64_t size,
                              const float *query, const float *keys, const float *values, const float *score,
                              const int64_t *lengths, float *context, float *weights) {
    for (int64_t row = 0; row < sentences * queries; row++) {
        int64_t sentence = row / queries, n = lengths ? lengths[sentence] : steps;
        const float *q = query + row * dim, *key = keys + sentence * steps * dim;
        const float *value = values + sentence * steps * size;
        float *w = weights + row * steps, *mixed = context + row * size;
        for (int64_t l = 0; l < n; l++) w[l] = match(dim, q, key + l * dim, score);
        softmax(w, n, steps);
        for (int64_t d = 0; d < size; d += LANES) {
            floats sum = ALL(0.0f);
            for (int64_t l = 0; l < n; l++) sum += ALL(w[l]) * load(value + l * size + d);
            store(mixed + d, sum);
        }
    }
}

/* The way back of the additive score. grad_context, and grad_weights or NULL, come in; grad_query is written; the gradients of keys, values
   and score are added to what their buffers hold. spare: `steps` floats. */
EXPORT void additive_backward(int64_t sentences, int64_t queries, int64_t steps, int64_t dim, int64_t size,
                              const float *query, const float *keys, const float *values, const float *score,
                              const int64_t *lengths, const float *weights, const float *grad_context,
                              const float *grad_weights, float *grad_query, float *grad_keys, float *grad_values,
                              float *grad_score, float *spare) {
    const floats one = ALL(1.0f);
    for (int64_t row = 0; row < sentences * queries; row++) {
        int64_t sentence = row / queries, n = lengths ? lengths[sentence] : steps;
        const float *q = query + row * dim, *key = keys + sentence * steps * dim, *w = weights + row * steps;
        const float *value = values + sentence * steps * size, *mixed = grad_context + row * size;
        float *grad_key = grad_keys + sentence * steps * dim, *grad_value = grad_values + sentence * steps * size;
        float mean = 0.0f;
        for (int64_t l = 0; l < n; l++) {
            floats sum = ALL(0.0f);
            for (int64_t d = 0; d < size; d += LANES) {
                floats g = load(mixed + d);
                sum += g * load(value + l * size + d);
                store(grad_value + l * size + d, load(grad_value + l * size + d) + ALL(w[l]) * g);
            }
            spare[l] = sum_of(sum) + (grad_weights ? grad_weights[row * steps + l] : 0.0f);
            mean += w[l] * spare[l];
        }
        for (int64_t l = 0; l < n; l++) spare[l] = w[l] * (spare[l] - mean); /* by the scores now */
        for (int64_t a = 0; a < dim; a += LANES) {
            floats asked = load(q + a), v = load(score + a), by_query = ALL(0.0f), by_score = ALL(0.0f);
            for (int64_t l = 0; l < n; l++) {
                floats t = tanh_of(asked + load(key + l * dim + a)), g = ALL(spare[l]);
                floats inner = g * v * (one - t * t);
                by_score += g * t;
                by_query += inner;
                store(grad_key + l * dim + a, load(grad_key + l * dim + a) + inner);
            }
            store(grad_query + row * dim + a, by_query);
            store(grad_score + a, load(grad_score + a) + by_score);
        }
    }
}

/* ---- Softmax over the vocabulary: regard/ops/loss.py, regard/decode/{scores,topk}.py ---------------------- */

static float max_in(const float *x, int64_t n) {
    floats most = ALL(-INFINITY);
    int64_t k = 0;
    for (; k + LANES <= n; k += LANES) most = larger(most, load(x + k));
    return max_of(larger(most, load_some(x + k, n - k, -INFINITY)));
}

/* Logits (rows, vocab) → in place the gradient of the smoothed cross-entropy, softmax − q, with
   q = (1 − smoothing) one-hot + smoothing / vocab. sums: nll, −Σ log p / vocab and correct are added to. */
EXPORT void nll_backward(int64_t rows, int64_t vocab, float *logits, const int64_t *targets, double smoothing,
                         double *sums) {
    for (int64_t row = 0; row < rows; row++) {
        float *x = logits + row * vocab;
        float most = max_in(x, vocab), at_target = x[targets[row]];
        floats total = ALL(0.0f), plain = ALL(0.0f);
        int64_t k = 0, winner = 0;
        while (x[winner] != most && winner < vocab - 1) winner++;
        for (; k + LANES <= vocab; k += LANES) {
            floats each = load(x + k), e = exp_of(each - ALL(most));
            plain += each;
            total += e;
            store(x + k, e);
        }
        double sum = sum_of(total), mean = sum_of(plain);
        for (; k < vocab; k++) {
            mean += x[k];
            x[k] = exp_of(ALL(x[k] - most))[0];
            sum += x[k];
        }
        double log_total = log(sum) + most;
        sums[0] += log_total - at_target;
        sums[1] += log_total - mean / vocab;
        sums[2] += winner == targets[row];
        floats scale = ALL((float)(1.0 / sum)), less = ALL((float)(smoothing / vocab));
        for (k = 0; k + LANES <= vocab; k += LANES) store(x + k, load(x + k) * scale - less);
        for (; k < vocab; k++) x[k] = x[k] * scale[0] - less[0];
        x[targets[row]] -= (float)(1.0 - smoothing);
    }
}

/* Logits (rows, vocab) → log-probabilities, in place. */
EXPORT void log_softmax(int64_t rows, int64_t vocab, float *logits) {
    for (int64_t row = 0; row < rows; row++) {
        float *x = logits + row * vocab, most = max_in(x, vocab);
        floats total = ALL(0.0f);
        int64_t k = 0;
        for (; k + LANES <= vocab; k += LANES) total += exp_of(load(x + k) - ALL(most));
        double sum = sum_of(total);
        for (; k < vocab; k++) sum += exp_of(ALL(x[k] - most))[0];
        floats log_total = ALL((float)(log(sum) + most));
        for (k = 0; k + LANES <= vocab; k += LANES) store(x + k, load(x + k) - log_total);
        for (; k < vocab; k++) x[k] -= log_total[0];
    }
}

/* ---- Mixtures of softmaxes: regard/ops/mixture.py ---------------------------------------------------------- */

/* The first n floats of v; a whole vector where there is room. */
static inline void store_some(float *p, floats v, int64_t n) {
    if (n < LANES)
        memcpy(p, &v, n * sizeof(float));
    else
        store(p, v);
}

static inline floats load_up_to(const float *p, int64_t n, float fill) {
    return n < LANES ? load_some(p, n, fill) : load(p);
}

/* e^x, and zero below e^-80: times a gradient it would soon be a number of the slow kind (denormal), and there are many,
   as no step past a source's end ever writes. */
static inline floats share_of(floats x) { return choose(x < ALL(-80.0f), ALL(0.0f), exp_of(x)); }

/* log Σ exp of each row. */
EXPORT void log_sums(int64_t rows, int64_t vocab, const float *logits, float *sums) {
    for (int64_t row = 0; row < rows; row++) {
        const float *x = logits + row * vocab;
        float top = max_in(x, vocab);
        floats most = ALL(top), total = ALL(0.0f);
        int64_t k = 0;
        for (; k + LANES <= vocab; k += LANES) total += exp_of(load(x + k) - most);
        float sum = sum_of(total);
        for (; k < vocab; k++) sum += exp_of(ALL(x[k]) - most)[0];
        sums[row] = logf(sum) + top;
    }
}

/* grad (rows) of the sums, added to grad_logits. */
EXPORT void log_sums_backward(int64_t rows, int64_t vocab, const float *logits, const float *sums, const float *grad,
                              float *grad_logits) {
    for (int64_t row = 0; row < rows; row++) {
        const float *x = logits + row * vocab;
        float *out = grad_logits + row * vocab;
        floats total = ALL(sums[row]), g = ALL(grad[row]);
        for (int64_t k = 0; k < vocab; k += LANES) {
            int64_t n = vocab - k;
            floats e = share_of(load_up_to(x + k, n, 0.0f) - total);
            store_some(out + k, load_up_to(out + k, n, 0.0f) + g * e, n);
        }
    }
}

/* log Σ_s exp(logits[s] + weights[s]): logits (mixtures, steps, vocab), weights (mixtures, steps) → mixed (mixtures, vocab). */
EXPORT void mixture_forward(int64_t mixtures, int64_t steps, int64_t vocab, const float *logits, const float *weights,
                            float *mixed) {
    for (int64_t m = 0; m < mixtures; m++, logits += steps * vocab, weights += steps, mixed += vocab)
        for (int64_t k = 0; k < vocab; k += LANES) {
            int64_t n = vocab - k;
            floats most = ALL(-INFINITY), sum = ALL(0.0f);
            for (int64_t s = 0; s < steps; s++)
                most = larger(most, load_up_to(logits + s * vocab + k, n, 0.0f) + ALL(weights[s]));
            for (int64_t s = 0; s < steps; s++)
                sum += exp_of(load_up_to(logits + s * vocab + k, n, 0.0f) + ALL(weights[s]) - most);
            for (int i = 0; i < LANES; i++) most[i] += logf(sum[i]);
            store_some(mixed + k, most, n);
        }
}

/* grad (mixtures, vocab) of what was mixed → grad_logits and grad_weights. */
EXPORT void mixture_backward(int64_t mixtures, int64_t steps, int64_t vocab, const float *logits, const float *weights,
                             const float *mixed, const float *grad, float *grad_logits, float *grad_weights) {
    for (int64_t m = 0; m < mixtures; m++, mixed += vocab, grad += vocab)
        for (int64_t s = 0; s < steps; s++, logits += vocab, grad_logits += vocab) {
            float own = *weights++; /* ALL names its argument eight times */
            floats sum = ALL(0.0f), weight = ALL(own);
            for (int64_t k = 0; k < vocab; k += LANES) {
                int64_t n = vocab - k;
                floats share = share_of(load_up_to(logits + k, n, 0.0f) + weight - load_up_to(mixed + k, n, 0.0f));
                share *= load_up_to(grad + k, n, 0.0f);
                sum += share;
                store_some(grad_logits + k, share, n);
            }
            *grad_weights++ = sum_of(sum);
        }
}

/* The k largest of each row, best first, equal ones by lower index. values, index: (rows, k). */
EXPORT void largest(int64_t rows, int64_t width, int64_t k, const float *x, float *values, int64_t *index) {
    for (int64_t row = 0; row < rows; row++, x += width, values += k, index += k) {
        int64_t found = 0;
        float least = -INFINITY; /* what a newcomer must beat once there are k */
        for (int64_t at = 0; at < width; at += LANES) {
            int64_t some = width - at < LANES ? width - at : LANES;
            if (found == k) { /* usually nothing here is large enough */
                ints above = (some == LANES ? load(x + at) : load_some(x + at, some, -INFINITY)) > ALL(least);
                int64_t halves[4];
                memcpy(halves, &above, sizeof halves);
                if (!(halves[0] | halves[1] | halves[2] | halves[3])) continue;
            }
            for (int64_t i = at; i < at + some; i++) {
                float value = x[i];
                if (found == k && !(value > least)) continue;
                int64_t place = found < k ? found++ : k - 1;
                for (; place > 0 && values[place - 1] < value; place--) {
                    values[place] = values[place - 1];
                    index[place] = index[place - 1];
                }
                values[place] = value;
                index[place] = i;
                least = values[found - 1];
            }
        }
    }
}
