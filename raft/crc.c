#include "raft/crc.h"

#include <stdint.h>

#if defined(__x86_64__)

#include <immintrin.h>

enum { BLOCK_BYTES = 16 };

__attribute__((target("ssse3"))) static __m128i load_block(const uint8_t *at)
{
    const __m128i reverse = _mm_set_epi8(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    return _mm_shuffle_epi8(_mm_loadu_si128((const __m128i *)(const void *)at), reverse);
}

/* Source: V. Gopal et al., "Fast CRC Computation for Generic Polynomials Using PCLMULQDQ Instruction", Intel
 * 2009. The first bit is the highest coefficient of a polynomial over GF(2). What is before the newest block
 * is, modulo the CRC's polynomial P, the 128 bits of `rest` times x^128: its upper half times
 * x^192 mod P, plus its lower half times x^128 mod P, which again are less than 128 bits. */
__attribute__((target("pclmul,ssse3"))) static unsigned fold(const uint8_t *at, size_t size, unsigned init)
{
    const __m128i factors = _mm_set_epi64x(0xc5b9cd4c /* x^192 mod P */, 0xe8a45605 /* x^128 mod P */);
    __m128i rest = _mm_xor_si128(load_block(at), _mm_set_epi32((int)init, 0, 0, 0));
    for (at += BLOCK_BYTES, size -= BLOCK_BYTES; size >= BLOCK_BYTES;
         at += BLOCK_BYTES, size -= BLOCK_BYTES) {
        __m128i upper = _mm_clmulepi64_si128(rest, factors, 0x11);
        __m128i lower = _mm_clmulepi64_si128(rest, factors, 0x00);
        rest = _mm_xor_si128(_mm_xor_si128(upper, lower), load_block(at));
    }
    const __m128i reverse = _mm_set_epi8(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    uint8_t last[BLOCK_BYTES];
    _mm_storeu_si128((__m128i *)(void *)last, _mm_shuffle_epi8(rest, reverse));
    return __real_byteCrc32(at, size, __real_byteCrc32(last, sizeof last, 0));
}

unsigned __wrap_byteCrc32(const void *buf, size_t size, unsigned init)
{
    if (size >= 4 * BLOCK_BYTES && __builtin_cpu_supports("pclmul") && __builtin_cpu_supports("ssse3")) {
        return fold(buf, size, init);
    }
    return __real_byteCrc32(buf, size, init);
}

#else

unsigned __wrap_byteCrc32(const void *buf, size_t size, unsigned init)
{
    return __real_byteCrc32(buf, size, init);
}

#endif
