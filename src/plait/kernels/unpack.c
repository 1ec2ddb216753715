// Stored numbers as the numbers that layers read; see unpack.py.

#include <immintrin.h>
#include <stdint.h>

typedef uint16_t bf16;

// rows [count, width + 2] of int8 numbers and one bfloat16 scale -> out [count, width], number * scale, rounded once.
// width is a multiple of 16.
void plait_unpack(const uint8_t *rows, int64_t count, int64_t width, bf16 *out, int threads) {
#pragma omp parallel for num_threads(threads)
    for (int64_t i = 0; i < count; i++) {
        const uint8_t *row = rows + i * (width + 2);
        __m512 scale = _mm512_castsi512_ps(_mm512_set1_epi32((row[width] | row[width + 1] << 8) << 16));
        for (int64_t c = 0; c < width; c += 16) {
            __m512 x = _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128((const void *)(row + c))));
            _mm256_storeu_si256((void *)(out + i * width + c), (__m256i)_mm512_cvtneps_pbh(_mm512_mul_ps(x, scale)));
        }
    }
}
