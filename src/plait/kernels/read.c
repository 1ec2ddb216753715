// Attention of a few queries over states that are read as they are; see read.py.
//
// Intel's matrix units (AMX) multiply tiles of bfloat16: A, 16 rows of 32 numbers; B, 16 rows of 16 pairs, a pair being
// two neighbours along the summed axis; C, 16 rows of 16 float32 sums. A group's states, scores and means stay in the
// cache of the core that works on it: nothing is padded in memory, and nothing but contexts is written to it.
//
// What may change here: everything but the signatures of the two functions that are not static.

#include <immintrin.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

typedef uint16_t bf16;

enum { TILE = 16, STEP = 32, LINE = 64 };  // rows or columns of a tile; numbers summed by one product; bytes

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

static int64_t up(int64_t n, int64_t multiple) { return (n + multiple - 1) / multiple * multiple; }

// Ask Linux for the matrix units; 0 if this process may use them.
int plait_allow(void) { return (int)syscall(SYS_arch_prctl, 0x1023 /* ARCH_REQ_XCOMP_PERM */, 18 /* tile data */); }

static void configure(void) {
    struct __attribute__((packed)) {
        uint8_t palette, start, reserved[14];
        uint16_t bytes[16];
        uint8_t rows[16];
    } tiles = {.palette = 1};
    for (int i = 0; i < 8; i++) {
        tiles.bytes[i] = LINE;
        tiles.rows[i] = TILE;
    }
    _tile_loadconfig(&tiles);
}

// c [16 or, if `both`, 32 rows; 32 columns] = a [rows, 32 * steps] times b, two columns of `steps` tiles.
static void multiply(const bf16 *a, int64_t a_row, int both, const bf16 *b, int64_t steps, float *c, int64_t c_row) {
    const bf16 *right = b + steps * TILE * STEP, *below = a + TILE * a_row;
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
    for (int64_t k = 0; k < steps; k++) {
        _tile_loadd(4, a + k * STEP, a_row * sizeof(bf16));
        _tile_loadd(6, b + k * TILE * STEP, LINE);
        _tile_loadd(7, right + k * TILE * STEP, LINE);
        _tile_dpbf16ps(0, 4, 6);
        _tile_dpbf16ps(1, 4, 7);
        if (both) {
            _tile_loadd(5, below + k * STEP, a_row * sizeof(bf16));
            _tile_dpbf16ps(2, 5, 6);
            _tile_dpbf16ps(3, 5, 7);
        }
    }
    _tile_stored(0, c, c_row * sizeof(float));
    _tile_stored(1, c + TILE, c_row * sizeof(float));
    if (both) {
        _tile_stored(2, c + TILE * c_row, c_row * sizeof(float));
        _tile_stored(3, c + TILE * c_row + TILE, c_row * sizeof(float));
    }
}

// x transposed, 16 rows of 16 pairs.
static void transpose(const __m512i x[TILE], __m512i *to) {
    __m512i a[TILE], b[TILE];
    for (int i = 0; i < TILE; i += 2) {
        a[i] = _mm512_unpacklo_epi32(x[i], x[i + 1]);
        a[i + 1] = _mm512_unpackhi_epi32(x[i], x[i + 1]);
    }
    for (int i = 0; i < TILE; i += 4)  // b[i + j]: pairs j, j + 4, j + 8, j + 12 of four rows, a quarter each
        for (int j = 0; j < 2; j++) {
            b[i + 2 * j] = _mm512_unpacklo_epi64(a[i + j], a[i + j + 2]);
            b[i + 2 * j + 1] = _mm512_unpackhi_epi64(a[i + j], a[i + j + 2]);
        }
    for (int j = 0; j < 4; j++) {
        __m512i even = _mm512_shuffle_i32x4(b[j], b[4 + j], 0x88), odd = _mm512_shuffle_i32x4(b[j], b[4 + j], 0xdd);
        __m512i even2 = _mm512_shuffle_i32x4(b[8 + j], b[12 + j], 0x88);
        __m512i odd2 = _mm512_shuffle_i32x4(b[8 + j], b[12 + j], 0xdd);
        to[j] = _mm512_shuffle_i32x4(even, even2, 0x88);
        to[4 + j] = _mm512_shuffle_i32x4(odd, odd2, 0x88);
        to[8 + j] = _mm512_shuffle_i32x4(even, even2, 0xdd);
        to[12 + j] = _mm512_shuffle_i32x4(odd, odd2, 0xdd);
    }
}

// B tiles of x [columns, sum], a row a column: [columns / 16][sum / 32] tiles.
static void pack_rows(const bf16 *x, int64_t columns, int64_t sum, bf16 *tiles) {
    for (int64_t c = 0; c < columns; c += TILE)
        for (int64_t k = 0; k < sum; k += STEP, tiles += TILE * STEP) {
            __m512i rows[TILE];
            for (int i = 0; i < TILE; i++) rows[i] = _mm512_loadu_si512(x + (c + i) * sum + k);
            transpose(rows, (__m512i *)tiles);
        }
}

// 16 bfloat16 numbers as the upper halves of float32 ones.
static __m512i widened(const bf16 *x) {
    return _mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_loadu_si256((const void *)x)), 16);
}

// B tiles of x [sum, columns]: [columns / 16][sum / 32] tiles.
static void pack_columns(const bf16 *x, int64_t sum, int64_t columns, bf16 *tiles) {
    for (int64_t c = 0; c < columns; c += TILE)
        for (int64_t k = 0; k < sum; k += 2, tiles += STEP) {
            const bf16 *pair = x + k * columns + c;
            __m512i first = _mm512_srli_epi32(widened(pair), 16);
            _mm512_store_si512(tiles, _mm512_or_si512(first, widened(pair + columns)));
        }
}

// e^x for x <= 0, as 2^whole 2^t with |t| <= 1/2 and Taylor's polynomial, exact to 3e-6.
static __m512 exponential(__m512 x) {
    __m512 power = _mm512_mul_ps(_mm512_max_ps(x, _mm512_set1_ps(-100)), _mm512_set1_ps(1.44269504f));
    __m512 whole = _mm512_roundscale_ps(power, 0), t = _mm512_sub_ps(power, whole);
    __m512 p = _mm512_set1_ps(1.33335581e-3f);
    p = _mm512_fmadd_ps(p, t, _mm512_set1_ps(9.61812910e-3f));
    p = _mm512_fmadd_ps(p, t, _mm512_set1_ps(5.55041087e-2f));
    p = _mm512_fmadd_ps(p, t, _mm512_set1_ps(2.40226507e-1f));
    p = _mm512_fmadd_ps(p, t, _mm512_set1_ps(6.93147181e-1f));
    p = _mm512_fmadd_ps(p, t, _mm512_set1_ps(1));
    return _mm512_scalef_ps(p, whole);
}

static void store(bf16 *to, __m512 x) { _mm256_storeu_si256((void *)to, (__m256i)_mm512_cvtneps_pbh(x)); }

// Scores of one query over `keys` tokens -> e^(scale (score - largest)), so many times as `sizes` say if it is not NULL,
// 0 from `keys` to `padded`; 1 / their sum.
static float soften(float *scores, int64_t keys, int64_t padded, float scale, const float *sizes, bf16 *weights) {
    const __m512 lowest = _mm512_set1_ps(-3e38f);
    for (int64_t k = keys; k < padded; k++) scores[k] = -3e38f;
    __m512 top = lowest, sum = _mm512_setzero_ps();
    for (int64_t k = 0; k < padded; k += TILE) top = _mm512_max_ps(top, _mm512_load_ps(scores + k));
    top = _mm512_set1_ps(_mm512_reduce_max_ps(top));
    for (int64_t k = 0; k < padded; k += TILE) {
        __m512 x = _mm512_load_ps(scores + k);
        __mmask16 real = _mm512_cmp_ps_mask(x, lowest, _CMP_GT_OQ);
        x = _mm512_mul_ps(_mm512_sub_ps(x, top), _mm512_set1_ps(scale));
        x = _mm512_maskz_mov_ps(real, exponential(x));
        if (sizes) x = _mm512_mul_ps(x, _mm512_load_ps(sizes + k));
        sum = _mm512_add_ps(sum, x);
        store(weights + k, x);
    }
    return 1 / _mm512_reduce_add_ps(sum);
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
                                room->weights + i * padded);
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

static void *take(char **memory, int64_t bytes) {
    void *here = *memory;
    *memory += up(bytes, LINE);
    return here;
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
            configure();
        }
#pragma omp for schedule(dynamic)
        for (int64_t g = 0; g < groups; g++) {
            if (!memory) continue;
            int64_t rows = query_lengths[g] * heads;
            const bf16 *mine = query + query_starts[g] * heads * width;
            if (room.held != mine) memcpy(room.query, mine, sizeof(bf16) * rows * width);
            room.held = mine;
            average(&job, rows, gather(&job, g, &room), &room);
            project(&job, query_lengths[g], &room, context + context_starts[g] * heads * size);
        }
        if (memory) _tile_release();
        free(memory);
    }
    free(job.values);
    return -failed;
}
