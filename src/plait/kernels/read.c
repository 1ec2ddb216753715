// Attention of a few queries over states that are read as they are; see read.py.
//
// A group's states, scores and means stay in the cache of the core that works on it: nothing is padded in memory, and
// nothing but contexts is written to it.
//
// What may change here: everything but the signatures of the two functions that are not static.

#include "tiles.h"

#include <sys/syscall.h>
#include <unistd.h>

typedef struct {
    const bf16 *states;      // [rows, width]
    const int64_t *rows;     // token t is row rows[t]; or row t, if NULL
    const float *sizes;      // how many tokens each row stands for; one, if NULL
    const int64_t *starts;   // first token of each group
    const int64_t *lengths;  // tokens of each group
} Source;

typedef struct {
    int64_t heads, size, width;
    float scale;
    const Source *sources;
    int64_t count;
    int sized;     // whether any source has sizes
    bf16 *values;  // tiles of each head's value matrix
    const bf16 *bias;
} Job;

// What one thread works in.
typedef struct {
    bf16 *query, *means;     // [a group's queries, width]
    bf16 *states;            // [a group's tokens, width]
    bf16 *across, *along;    // tiles of the states, summed over their width and over tokens
    bf16 *weights;           // [STEP, tokens]
    float *scores, *sums;    // [STEP, tokens], [STEP, width or size]
    float *sizes;            // [tokens]
    const bf16 *held;        // where `query` was copied from
} Room;

// Ask Linux for the matrix units; 0 if this process may use them, or needs none.
int plait_allow(void) {
#ifdef __AMX_BF16__
    return (int)syscall(SYS_arch_prctl, 0x1023 /* ARCH_REQ_XCOMP_PERM */, 18 /* tile data */);
#else
    return 0;
#endif
}

// A group's states side by side and as tiles; returns how many tokens they are.
static int64_t gather(const Job *job, int64_t group, Room *room) {
    int64_t width = job->width, keys = 0;
    for (int64_t s = 0; s < job->count; s++) {
        const Source *source = job->sources + s;
        for (int64_t i = 0; i < source->lengths[group]; i++, keys++) {
            int64_t token = source->starts[group] + i, row = source->rows ? source->rows[token] : token;
            memcpy(room->states + keys * width, source->states + row * width, sizeof(bf16) * width);
            room->sizes[keys] = source->sizes ? source->sizes[row] : 1;
        }
    }
    int64_t padded = up(keys, STEP);
    memset(room->states + keys * width, 0, sizeof(bf16) * (padded - keys) * width);
    pack_rows(room->states, padded, width, room->across);
    pack_columns(room->states, padded, width, room->along);
    return keys;
}

// The mean of the states under each query's softmax.
static void average(const Job *job, int64_t rows, int64_t keys, Room *room) {
    int64_t width = job->width, padded = up(keys, STEP);
    for (int64_t row = 0; row < rows; row += STEP) {
        int64_t some = rows - row < STEP ? rows - row : STEP;
        for (int64_t k = 0; k < padded; k += STEP)
            multiply(room->query + row * width, width, some > TILE, room->across + k * width, width / STEP,
                     room->scores + k, padded);
        float inverse[STEP];
        for (int64_t i = 0; i < some; i++)
            inverse[i] = soften(room->scores + i * padded, keys, padded, job->scale, job->sized ? room->sizes : NULL,
                                room->weights + i * padded, NULL);
        for (int64_t c = 0; c < width; c += STEP)
            multiply(room->weights, padded, some > TILE, room->along + c * padded, padded / STEP, room->sums + c, width);
        for (int64_t i = 0; i < some; i++)
            for (int64_t c = 0; c < width; c += TILE)
                store(room->means + (row + i) * width + c,
                      _mm512_mul_ps(_mm512_load_ps(room->sums + i * width + c), _mm512_set1_ps(inverse[i])));
    }
}

// Each head's means through its value matrix.
static void project(const Job *job, int64_t tokens, Room *room, bf16 *context) {
    int64_t heads = job->heads, size = job->size, width = job->width;
    for (int64_t head = 0; head < heads; head++)
        for (int64_t token = 0; token < tokens; token += STEP) {
            int64_t some = tokens - token < STEP ? tokens - token : STEP;
            for (int64_t d = 0; d < size; d += STEP)
                multiply(room->means + (token * heads + head) * width, heads * width, some > TILE,
                         job->values + (head * size + d) * width, width / STEP, room->sums + d, size);
            for (int64_t i = 0; i < some; i++)
                for (int64_t d = 0; d < size; d += TILE) {
                    __m512 bias = (__m512)widened(job->bias + head * size + d);
                    store(context + ((token + i) * heads + head) * size + d,
                          _mm512_add_ps(_mm512_load_ps(room->sums + i * size + d), bias));
                }
        }
}

// Room for groups of so many tokens and queries; returns what is to be freed, or NULL.
static void *furnish(const Job *job, int64_t tokens, int64_t queries, Room *room) {
    int64_t rows = up(queries, STEP) * job->heads, keys = up(tokens, STEP), width = job->width;
    int64_t widest = job->size > width ? job->size : width;
    int64_t bytes = sizeof(bf16) * (2 * rows * width + 3 * keys * width + STEP * keys) +
                    sizeof(float) * (STEP * (keys + widest) + keys) + 9 * LINE;
    char *memory = aligned_alloc(LINE, up(bytes, LINE)), *rest = memory;
    if (!memory) return NULL;
    memset(memory, 0, bytes);  // tiles read past the last query: whatever stands there must be finite
    room->query = take(&rest, sizeof(bf16) * rows * width);
    room->means = take(&rest, sizeof(bf16) * rows * width);
    room->states = take(&rest, sizeof(bf16) * keys * width);
    room->across = take(&rest, sizeof(bf16) * keys * width);
    room->along = take(&rest, sizeof(bf16) * keys * width);
    room->weights = take(&rest, sizeof(bf16) * STEP * keys);
    room->scores = take(&rest, sizeof(float) * STEP * keys);
    room->sums = take(&rest, sizeof(float) * STEP * widest);
    room->sizes = take(&rest, sizeof(float) * keys);
    room->held = NULL;
    return memory;
}

// Contexts of all groups' queries over the tokens of all sources. Returns 0, or -1 if there is no memory.
//   query    [tokens, heads, width]: a query of each head, carried through its key matrix
//   values   [heads, size, width], bias [heads, size]: the value matrix; width and size are multiples of 32
//   context  [tokens, heads, size]
// Group g's queries are those of tokens query_starts[g] ... + query_lengths[g] - 1; its contexts begin at
// context_starts[g].
int plait_read(const bf16 *query, const int64_t *query_starts, const int64_t *query_lengths,
               const int64_t *context_starts, int64_t groups, const Source *sources, int64_t count, const bf16 *values,
               const bf16 *bias, int64_t heads, int64_t size, int64_t width, float scale, bf16 *context, int threads) {
    Job job = {heads, size, width, scale, sources, count, 0, NULL, bias};
    for (int64_t s = 0; s < count; s++) job.sized |= sources[s].sizes != NULL;
    int64_t most_tokens = 1, most_queries = 1;
    for (int64_t g = 0; g < groups; g++) {
        int64_t keys = 0;
        for (int64_t s = 0; s < count; s++) keys += sources[s].lengths[g];
        if (keys > most_tokens) most_tokens = keys;
        if (query_lengths[g] > most_queries) most_queries = query_lengths[g];
    }
    job.values = aligned_alloc(LINE, sizeof(bf16) * heads * size * width);
    if (!job.values) return -1;
    pack_rows(values, heads * size, width, job.values);
    int failed = 0;
#pragma omp parallel num_threads(threads)
    {
        Room room;
        void *memory = furnish(&job, most_tokens, most_queries, &room);
        if (!memory) {
#pragma omp atomic write
            failed = 1;
        } else {
            begin_tiles();
        }
#pragma omp for schedule(dynamic)
        for (int64_t g = 0; g < groups; g++) {
            if (!memory) continue;
            int64_t rows = query_lengths[g] * heads;
            const bf16 *mine = query + query_starts[g] * heads * width;
            if (room.held != mine) memcpy(room.query, mine, sizeof(bf16) * rows * width);
            room.held = rows ? mine : NULL;  // the next group of some begins where one of none does
            average(&job, rows, gather(&job, g, &room), &room);
            project(&job, query_lengths[g], &room, context + context_starts[g] * heads * size);
        }
        if (memory) end_tiles();
        free(memory);
    }
    free(job.values);
    return -failed;
}
