// What the kernels have in common: products of tiles of bfloat16, by matrix units (Intel's AMX) or, on processors
// without (AMD's from Zen 4 on), by vectors (AVX-512's bfloat16).
//
// Tiles: A, 16 rows of 32 numbers; B, 16 rows of 16 pairs, a pair being two neighbours along the summed axis; C, 16 rows
// of 16 float32 sums.

#include <immintrin.h>
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

typedef uint16_t bf16;

enum { TILE = 16, STEP = 32, LINE = 64 };  // rows or columns of a tile; numbers summed by one product; bytes

static int64_t up(int64_t n, int64_t multiple) { return (n + multiple - 1) / multiple * multiple; }

// A thread calls begin_tiles, then multiply as often as it wants, then end_tiles.
//
// multiply: c [16 or, if `both`, 32 rows; 32 columns] = a [rows, 32 * steps] times b, two columns of `steps` tiles.
#ifdef __AMX_BF16__

static void begin_tiles(void) {
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

static void end_tiles(void) { _tile_release(); }

#else

enum { ROWS = 8 };  // of C that are summed at once: all that the registers hold

static void begin_tiles(void) {}

static void multiply(const bf16 *a, int64_t a_row, int both, const bf16 *b, int64_t steps, float *c, int64_t c_row) {
    const bf16 *right = b + steps * TILE * STEP;
    for (int64_t row = 0; row < (both ? 2 : 1) * TILE; row += ROWS, a += ROWS * a_row, c += ROWS * c_row) {
        __m512 sums[ROWS][2];
        for (int i = 0; i < ROWS; i++) sums[i][0] = sums[i][1] = _mm512_setzero_ps();
        for (int64_t k = 0; k < steps * STEP; k += 2) {  // a pair of every row, with the same pair of 32 columns
            __m512bh first = (__m512bh)_mm512_load_si512(b + k * TILE);
            __m512bh second = (__m512bh)_mm512_load_si512(right + k * TILE);
            for (int i = 0; i < ROWS; i++) {
                int32_t pair;
                memcpy(&pair, a + i * a_row + k, sizeof pair);
                __m512bh pairs = (__m512bh)_mm512_set1_epi32(pair);
                sums[i][0] = _mm512_dpbf16_ps(sums[i][0], pairs, first);
                sums[i][1] = _mm512_dpbf16_ps(sums[i][1], pairs, second);
            }
        }
        for (int i = 0; i < ROWS; i++) {
            _mm512_storeu_ps(c + i * c_row, sums[i][0]);
            _mm512_storeu_ps(c + i * c_row + TILE, sums[i][1]);
        }
    }
}

static void end_tiles(void) {}

#endif

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
// 0 from `keys` to `padded`; 1 / their sum. `log_sum`, if not NULL: the logarithm of the sum of all e^(scale score).
static float soften(float *scores, int64_t keys, int64_t padded, float scale, const float *sizes, bf16 *weights,
                    float *log_sum) {
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
    float whole = _mm512_reduce_add_ps(sum);
    if (log_sum) *log_sum = scale * _mm512_cvtss_f32(top) + logf(whole);
    return 1 / whole;
}

static void *take(char **memory, int64_t bytes) {
    void *here = *memory;
    *memory += up(bytes, LINE);
    return here;
}
