// Softmax attention within groups of packed tokens, and its gradients; see attend.py.
//
// One head of one group at a time: its queries, keys and values are copied, everything of it stays in the cache of the
// core that works on it, and neither scores nor weights are kept for the gradients, which compute them again from the
// logarithm of each query's sum (FlashAttention, NeurIPS 2022, section 3).
//
// What may change here: everything but the signatures of the two functions that are not static.

#include "tiles.h"

typedef struct {
    const bf16 *key, *value;          // [tokens, heads, size]
    bf16 *key_slope, *value_slope;    // gradients, to be written; NULL forward
    const int64_t *starts, *lengths;  // tokens of each group
} Source;

typedef struct {
    int64_t heads, size;
    float scale;
    const bf16 *query;                // [tokens, heads, size]
    const int64_t *starts, *lengths;  // queries of each group
    int64_t groups;
    const Source *sources;
    int64_t count;
} Job;

// What one thread works in, for a head of a group. `slope` is the gradient of the contexts; what is `across` is summed
// over its width, what is `along` over its tokens.
typedef struct {
    bf16 *query, *slope, *key, *value;  // [tokens, size]
    bf16 *query_across, *query_along, *slope_across, *slope_along, *key_across, *key_along, *value_across, *value_along;
    bf16 *weights, *slopes;             // [STEP, tokens], and the gradient of the scores
    float *scores, *others;             // [STEP, tokens]
    float *sums;                        // [STEP, size]
    float *logs, *means;                // [tokens]: of each query, the logarithm of its sum, and its context's slope
} Room;

// One head of `count` tokens of x [tokens, heads, size], from `start` on, and blank up to a whole step.
static void copy(const Job *job, const bf16 *x, int64_t start, int64_t count, int64_t head, bf16 *to) {
    for (int64_t i = 0; i < count; i++)
        memcpy(to + i * job->size, x + ((start + i) * job->heads + head) * job->size, sizeof(bf16) * job->size);
    memset(to + count * job->size, 0, sizeof(bf16) * (up(count, STEP) - count) * job->size);
}

// The keys and values of all sources side by side; returns how many.
static int64_t gather(const Job *job, int64_t group, int64_t head, Room *room) {
    int64_t keys = 0;
    for (int64_t s = 0; s < job->count; s++) {
        const Source *source = job->sources + s;
        int64_t start = source->starts[group], count = source->lengths[group];
        copy(job, source->key, start, count, head, room->key + keys * job->size);
        copy(job, source->value, start, count, head, room->value + keys * job->size);
        keys += count;
    }
    return keys;
}

// c [some rows, columns] = a [some, sum] times the tiles of b.
static void product(const bf16 *a, int64_t some, int64_t sum, const bf16 *b, int64_t columns, float *c) {
    for (int64_t k = 0; k < columns; k += STEP)
        multiply(a, sum, some > TILE, b + k * sum, sum / STEP, c + k, columns);
}

// Rows of sums, each so many times, as one head of tokens of x [tokens, heads, size] from `start` on.
static void write(const Job *job, const float *sums, int64_t some, const float *times, int64_t start, int64_t head,
                  bf16 *x) {
    for (int64_t i = 0; i < some; i++)
        for (int64_t d = 0; d < job->size; d += TILE) {
            __m512 row = _mm512_load_ps(sums + i * job->size + d);
            if (times) row = _mm512_mul_ps(row, _mm512_set1_ps(times[i]));
            store(x + ((start + i) * job->heads + head) * job->size + d, row);
        }
}

static void forward(const Job *job, int64_t group, int64_t head, Room *room, bf16 *context, float *logs) {
    int64_t size = job->size, start = job->starts[group], queries = job->lengths[group];
    copy(job, job->query, start, queries, head, room->query);
    int64_t keys = gather(job, group, head, room), padded = up(keys, STEP);
    pack_rows(room->key, padded, size, room->key_across);
    pack_columns(room->value, padded, size, room->value_along);
    for (int64_t row = 0; row < queries; row += STEP) {
        int64_t some = queries - row < STEP ? queries - row : STEP;
        float inverse[STEP];
        product(room->query + row * size, some, size, room->key_across, padded, room->scores);
        for (int64_t i = 0; i < some; i++)
            inverse[i] = soften(room->scores + i * padded, keys, padded, job->scale, NULL, room->weights + i * padded,
                                logs + (start + row + i) * job->heads + head);
        product(room->weights, some, padded, room->value_along, size, room->sums);
        write(job, room->sums, some, inverse, start + row, head, context);
    }
}

// From scores and their weights' gradients [16 columns]: the weights, and the scores' gradients.
static void slopes(const float *scores, const float *others, __m512 log, __m512 mean, float scale, __mmask16 real,
                   bf16 *weights, bf16 *slopes) {
    __m512 times = _mm512_set1_ps(scale), x = _mm512_fmsub_ps(_mm512_load_ps(scores), times, log);
    x = _mm512_maskz_mov_ps(real, exponential(x));
    if (weights) store(weights, x);
    store(slopes, _mm512_mul_ps(_mm512_mul_ps(x, times), _mm512_sub_ps(_mm512_load_ps(others), mean)));
}

static void backward(const Job *job, int64_t group, int64_t head, Room *room, const bf16 *context, const float *logs,
                     const bf16 *slope, bf16 *query_slope) {
    int64_t size = job->size, start = job->starts[group], queries = job->lengths[group], rows = up(queries, STEP);
    copy(job, job->query, start, queries, head, room->query);
    copy(job, slope, start, queries, head, room->slope);
    int64_t keys = gather(job, group, head, room), padded = up(keys, STEP);
    for (int64_t i = 0; i < rows; i++) {
        __m512 sum = _mm512_setzero_ps();
        if (i < queries)
            for (int64_t d = 0; d < size; d += TILE)
                sum = _mm512_fmadd_ps((__m512)widened(room->slope + i * size + d),
                                      (__m512)widened(context + ((start + i) * job->heads + head) * size + d), sum);
        room->means[i] = _mm512_reduce_add_ps(sum);
        room->logs[i] = i < queries ? logs[(start + i) * job->heads + head] : 3e38f;  // which weighs nothing
    }
    pack_rows(room->key, padded, size, room->key_across);
    pack_columns(room->key, padded, size, room->key_along);
    pack_rows(room->value, padded, size, room->value_across);
    for (int64_t row = 0; row < queries; row += STEP) {
        int64_t some = queries - row < STEP ? queries - row : STEP;
        product(room->query + row * size, some, size, room->key_across, padded, room->scores);
        product(room->slope + row * size, some, size, room->value_across, padded, room->others);
        for (int64_t i = 0; i < some; i++) {
            __m512 log = _mm512_set1_ps(room->logs[row + i]), mean = _mm512_set1_ps(room->means[row + i]);
            for (int64_t k = 0; k < padded; k += TILE) {
                __mmask16 real = keys - k >= TILE ? 0xffff : keys > k ? (1 << (keys - k)) - 1 : 0;
                int64_t at = i * padded + k;
                slopes(room->scores + at, room->others + at, log, mean, job->scale, real, NULL, room->slopes + at);
            }
        }
        product(room->slopes, some, padded, room->key_along, size, room->sums);
        write(job, room->sums, some, NULL, start + row, head, query_slope);
    }
    pack_rows(room->query, rows, size, room->query_across);
    pack_columns(room->query, rows, size, room->query_along);
    pack_rows(room->slope, rows, size, room->slope_across);
    pack_columns(room->slope, rows, size, room->slope_along);
    int64_t before = 0;
    for (int64_t s = 0; s < job->count; s++) {
        const Source *source = job->sources + s;
        for (int64_t row = 0; row < source->lengths[group]; row += STEP) {
            int64_t some = source->lengths[group] - row < STEP ? source->lengths[group] - row : STEP;
            const bf16 *key = room->key + (before + row) * size, *value = room->value + (before + row) * size;
            product(key, some, size, room->query_across, rows, room->scores);
            product(value, some, size, room->slope_across, rows, room->others);
            for (int64_t i = 0; i < some; i++)
                for (int64_t k = 0; k < rows; k += TILE) {
                    __m512 log = _mm512_load_ps(room->logs + k), mean = _mm512_load_ps(room->means + k);
                    int64_t at = i * rows + k;
                    slopes(room->scores + at, room->others + at, log, mean, job->scale, 0xffff, room->weights + at,
                           room->slopes + at);
                }
            product(room->weights, some, rows, room->slope_along, size, room->sums);
            write(job, room->sums, some, NULL, source->starts[group] + row, head, source->value_slope);
            product(room->slopes, some, rows, room->query_along, size, room->sums);
            write(job, room->sums, some, NULL, source->starts[group] + row, head, source->key_slope);
        }
        before += source->lengths[group];
    }
}

// Room for groups of so many queries and keys; returns what is to be freed, or NULL.
static void *furnish(const Job *job, Room *room) {
    int64_t queries = 1, keys = 1;
    for (int64_t g = 0; g < job->groups; g++) {
        int64_t some = 0;
        for (int64_t s = 0; s < job->count; s++) some += job->sources[s].lengths[g];
        if (some > keys) keys = some;
        if (job->lengths[g] > queries) queries = job->lengths[g];
    }
    int64_t rows = up(queries, STEP), columns = up(keys, STEP) + STEP, longest = rows > columns ? rows : columns;
    bf16 **of_queries[] = {&room->query, &room->slope, &room->query_across, &room->query_along, &room->slope_across,
                           &room->slope_along};
    bf16 **of_keys[] = {&room->key, &room->value, &room->key_across, &room->key_along, &room->value_across,
                        &room->value_along};
    int64_t bytes = sizeof(bf16) * (6 * (rows + columns) * job->size + 2 * STEP * longest) +
                    sizeof(float) * (2 * STEP * longest + STEP * job->size + 2 * rows) + 32 * LINE;
    char *memory = aligned_alloc(LINE, up(bytes, LINE)), *rest = memory;
    if (!memory) return NULL;
    memset(memory, 0, bytes);  // tiles are read past the last row: whatever stands there must be finite
    for (int i = 0; i < 6; i++) *of_queries[i] = take(&rest, sizeof(bf16) * rows * job->size);
    for (int i = 0; i < 6; i++) *of_keys[i] = take(&rest, sizeof(bf16) * columns * job->size);
    room->weights = take(&rest, sizeof(bf16) * STEP * longest);
    room->slopes = take(&rest, sizeof(bf16) * STEP * longest);
    room->scores = take(&rest, sizeof(float) * STEP * longest);
    room->others = take(&rest, sizeof(float) * STEP * longest);
    room->sums = take(&rest, sizeof(float) * STEP * job->size);
    room->logs = take(&rest, sizeof(float) * rows);
    room->means = take(&rest, sizeof(float) * rows);
    return memory;
}

// Contexts [tokens, heads, size] of all groups' queries over the tokens of all sources, and `logs` [tokens, heads], the
// logarithms of their sums; or, if `slope` is not NULL, from these the gradients of queries, keys and values. Size is a
// multiple of 32. Returns 0, or -1 if there is no memory.
int plait_attend(const bf16 *query, const int64_t *starts, const int64_t *lengths, int64_t groups,
                 const Source *sources, int64_t count, int64_t heads, int64_t size, float scale, bf16 *context,
                 float *logs, const bf16 *slope, bf16 *query_slope, int threads) {
    Job job = {heads, size, scale, query, starts, lengths, groups, sources, count};
    int failed = 0;
#pragma omp parallel num_threads(threads)
    {
        Room room;
        void *memory = furnish(&job, &room);
        if (!memory) {
#pragma omp atomic write
            failed = 1;
        } else {
            begin_tiles();
        }
#pragma omp for schedule(dynamic)
        for (int64_t task = 0; task < groups * heads; task++) {
            int64_t group = task / heads, head = task % heads;
            if (memory && slope)
                backward(&job, group, head, &room, context, logs, slope, query_slope);
            else if (memory)
                forward(&job, group, head, &room, context, logs);
        }
        if (memory) end_tiles();
        free(memory);
    }
    return -failed;
}
