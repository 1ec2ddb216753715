// Stored numbers as the numbers that layers read; see unpack.py.

#include <immintrin.h>
#include <stdint.h>

typedef uint16_t bf16;

// x, finite, rounded to bfloat16. By hand: the processor's instruction, which is faster, makes zeros of subnormals.
static inline __m256i rounded(__m512 x) {
    __m512i bits = _mm512_castps_si512(x);
    __m512i odd = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));
    bits = _mm512_add_epi32(bits, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7FFF)));
    return _mm512_cvtepi32_epi16(_mm512_srli_epi32(bits, 16));
}

// rows [count, width + 2] of int8 numbers and one bfloat16 scale -> out [count, width], number * scale, rounded once.
// width is a multiple of 16.
void plait_unpack(const uint8_t *rows, int64_t count, int64_t width, bf16 *out, int threads) {
#pragma omp parallel for num_threads(threads)
    for (int64_t i = 0; i < count; i++) {
        const uint8_t *row = rows + i * (width + 2);
        int bits = row[width] | row[width + 1] << 8, normal = bits & 0x7F80;  // then so are all products but zeros
        __m512 scale = _mm512_castsi512_ps(_mm512_set1_epi32(bits << 16));
        for (int64_t c = 0; c < width; c += 16) {
            __m512 x = _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128((const void *)(row + c))));
            x = _mm512_mul_ps(x, scale);
            _mm256_storeu_si256((void *)(out + i * width + c), normal ? (__m256i)_mm512_cvtneps_pbh(x) : rounded(x));
        }
    }
}

// The 16 products of the bfloat16 at `scale` with 0 ... 7, -8 ... -1, in the order of their four bits, rounded once.
static inline __m512i products(const uint8_t *scale) {
    const __m512 numbers = _mm512_setr_ps(0, 1, 2, 3, 4, 5, 6, 7, -8, -7, -6, -5, -4, -3, -2, -1);
    __m512 one = _mm512_castsi512_ps(_mm512_set1_epi32((scale[0] | scale[1] << 8) << 16));
    return _mm512_zextsi256_si512(rounded(_mm512_mul_ps(numbers, one)));
}

// rows [count, width / 2 + width / 16]: byte i holds number i (low four bits) and number width / 2 + i, in two's
// complement; then one bfloat16 scale for every 32 numbers -> out [count, width], number * scale, rounded once.
// width is a multiple of 64, so that no group of 32 lies in both halves.
void plait_unpack4(const uint8_t *rows, int64_t count, int64_t width, bf16 *out, int threads) {
    const int64_t half = width / 2;
#pragma omp parallel for num_threads(threads)
    for (int64_t i = 0; i < count; i++) {
        const uint8_t *row = rows + i * (half + width / 16), *scales = row + half;
        bf16 *low = out + i * width, *high = low + half;
        for (int64_t c = 0; c < half; c += 32) {  // a number's four bits are its place in the table
            __m512i pairs = _mm512_cvtepu8_epi16(_mm256_loadu_si256((const void *)(row + c)));
            __m512i first = _mm512_and_si512(pairs, _mm512_set1_epi16(15)), second = _mm512_srli_epi16(pairs, 4);
            _mm512_storeu_si512(low + c, _mm512_permutexvar_epi16(first, products(scales + c / 16)));
            _mm512_storeu_si512(high + c, _mm512_permutexvar_epi16(second, products(scales + (half + c) / 16)));
        }
    }
}
