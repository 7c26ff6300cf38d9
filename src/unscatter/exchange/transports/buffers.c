/* Passes over flat buffers that add up what they write: one call, one trip through the memory.

   Sums are taken in double precision in LANES independent parts, in the order of the numbers within each part, so that the compiler may use
   vector registers and every process that adds up the same numbers finds the same bits. */

#include <stdint.h>

#define LANES 16

/* The formula that loses no precision on either side, as torch.lerp has it. */
#define NEAR_OWN(a, b) ((a) + share * ((b) - (a)))
#define NEAR_OTHER(a, b) ((b) - rest * ((b) - (a)))

/* Runs WRITE for every i and returns the sum of the values that it leaves in `value`. */
#define SUM_OVER(REAL, WRITE)                              \
    double parts[LANES] = {0}, total = 0;                  \
    int64_t start = 0;                                     \
    for (; start + LANES <= size; start += LANES)          \
        for (int64_t lane = 0; lane < LANES; lane++) {     \
            const int64_t i = start + lane;                \
            REAL value;                                    \
            WRITE;                                         \
            parts[lane] += value;                          \
        }                                                  \
    for (int64_t i = start; i < size; i++) {               \
        REAL value;                                        \
        WRITE;                                             \
        total += value;                                    \
    }                                                      \
    for (int lane = 0; lane < LANES; lane++)               \
        total += parts[lane];                              \
    return total;

#define FUNCTIONS(REAL)                                                                                   \
    double sum_##REAL(const REAL *restrict from, int64_t size) {                                          \
        SUM_OVER(REAL, value = from[i])                                                                   \
    }                                                                                                     \
    double copy_and_sum_##REAL(const REAL *restrict from, REAL *restrict into, int64_t size) {            \
        SUM_OVER(REAL, into[i] = value = from[i])                                                         \
    }                                                                                                     \
    double blend_##REAL(REAL *restrict own, const REAL *restrict other, double part, int64_t size) {      \
        const REAL share = (REAL)part, rest = (REAL)(1 - part);                                           \
        if (part < 0.5) {                                                                                 \
            SUM_OVER(REAL, own[i] = value = NEAR_OWN(own[i], other[i]))                                   \
        } else {                                                                                          \
            SUM_OVER(REAL, own[i] = value = NEAR_OTHER(own[i], other[i]))                                 \
        }                                                                                                 \
    }

FUNCTIONS(float)
FUNCTIONS(double)
