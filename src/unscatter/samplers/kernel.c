/* Rosenblatt's map and its adjoint on the CPU; the notation is that of eager.py.
 *
 * Compiled once for float and, with -DDOUBLE, for double.  Events are worked through in blocks whose scratch arrays stay in the
 * first-level cache, one simple loop per operation, so that compilers turn the loops into vector instructions.
 *
 * Per axis d the tables are [rows][n]: the rows are the nodes of the earlier axes.
 *   cum   integral C from the first node to each node
 *   pair  C and M side by side: the four numbers that an event needs of a row are one load
 *   acc   (adjoint) per cell the sums that belong to its lower node, its upper node, C at its lower node, C at the end of the row
 */
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define BLOCK 256
#define MAX_DIMENSIONS 6
#define MAX_CORNERS 32 /* 2 ** (MAX_DIMENSIONS - 1) */
#define ACCURATE_EVENTS 4096 /* events in one cell that are added up before the sum is moved to double precision */

typedef struct {
    int64_t nodes; /* n */
    const void *position, *width, *weight;
    double low, high, length, step; /* step: distance of the nodes where it is constant, otherwise zero */
} Axis;

#ifdef DOUBLE
#define REAL double
#define INTEGER int64_t
#define EPS 2.220446049250313e-16
#define TINY 2.2250738585072014e-308
#define SQRT sqrt
#else
#define REAL float
#define INTEGER int32_t
#define EPS 1.1920929e-7f
#define TINY 1.17549435e-38f
#define SQRT sqrtf
#endif

#ifdef __clang__
#define SHUFFLE(a, b, i, j, k, l) __builtin_shufflevector(a, b, i, j, k, l)
#else
#define SHUFFLE(a, b, i, j, k, l) __builtin_shuffle(a, b, (Index){i, j, k, l})
#endif

typedef INTEGER Index __attribute__((vector_size(4 * sizeof(REAL))));
typedef REAL Four __attribute__((vector_size(4 * sizeof(REAL)), aligned(sizeof(REAL)), may_alias));

typedef struct {
    REAL *marginal[MAX_DIMENSIONS], *cum[MAX_DIMENSIONS], *pair[MAX_DIMENSIONS];
    int64_t rows[MAX_DIMENSIONS];
} Tables;

/* One allocation for all tables of one sample. */
static REAL *allocate(Tables *tables, int dimensions, const Axis *axes) {
    int64_t total = 0, rows = 1;
    for (int d = 0; d < dimensions; d++) {
        tables->rows[d] = rows;
        rows *= axes[d].nodes;
        total += 4 * rows;
    }
    REAL *memory = malloc(sizeof(REAL) * (size_t)(total + 16)), *next = memory;
    if (!memory) return NULL;
    for (int d = 0; d < dimensions; d++) {
        int64_t size = tables->rows[d] * axes[d].nodes;
        tables->marginal[d] = next, tables->cum[d] = next + size, tables->pair[d] = next + 2 * size;
        next += 4 * size;
    }
    return memory;
}

/* Tables of neighbouring rows.  Sums are in double precision; several at a time, because each waits for its predecessor. */
static inline __attribute__((always_inline)) void tabulate_rows(
    int rows, int64_t n, const REAL *restrict width, const REAL *restrict m, REAL *restrict cum, REAL *restrict pair) {
    double sum[4] = {0, 0, 0, 0}, last[4];
    for (int r = 0; r < rows; r++) cum[r * n] = 0, pair[2 * r * n] = 0, pair[2 * r * n + 1] = m[r * n], last[r] = m[r * n];
    for (int64_t k = 1; k < n; k++) {
        double half = 0.5 * width[k - 1];
        for (int r = 0; r < rows; r++) {
            REAL value = m[r * n + k];
            sum[r] += half * (last[r] + value);
            last[r] = value;
            cum[r * n + k] = (REAL)sum[r], pair[2 * (r * n + k)] = (REAL)sum[r], pair[2 * (r * n + k) + 1] = value;
        }
    }
}

static void tabulate(Tables *tables, int dimensions, const Axis *axes, const REAL *values, REAL scale) {
    int64_t size = tables->rows[dimensions - 1] * axes[dimensions - 1].nodes;
    REAL inverse = 1 / scale;
    for (int64_t k = 0; k < size; k++) tables->marginal[dimensions - 1][k] = values[k] * inverse;
    for (int d = dimensions - 1; d >= 0; d--) {
        int64_t n = axes[d].nodes, rows = tables->rows[d], row = 0;
#define ROWS(count) tabulate_rows(count, n, axes[d].width, tables->marginal[d] + row * n, tables->cum[d] + row * n, \
                                        tables->pair[d] + 2 * row * n)
        for (; row + 4 <= rows; row += 4) ROWS(4);
        for (; row < rows; row++) ROWS(1);
        if (d > 0)
            for (row = 0; row < rows; row++) tables->marginal[d - 1][row] = tables->cum[d][(row + 1) * n - 1];
    }
}

/* Cells in which the interpolated cumulative integral passes the target: branch-free bisection of a whole block. */
static inline __attribute__((always_inline)) void search(
    int count, int corners, int32_t n, const REAL *restrict cum, int32_t start[][BLOCK], REAL weight[][BLOCK],
    const REAL *restrict target, int32_t *restrict cell) {
    int32_t step = 1, last = n - 2;
    while (2 * step <= last) step *= 2;
    for (int i = 0; i < count; i++) cell[i] = 0;
    for (; step > 0; step /= 2)
        for (int i = 0; i < count; i++) {
            int32_t probe = cell[i] + step;
            probe = probe > last ? last : probe;
            REAL begins = corners == 1 ? cum[probe] : 0;
            if (corners > 1)
                for (int c = 0; c < corners; c++) begins += weight[c][i] * cum[start[c][i] + probe];
            cell[i] = begins <= target[i] ? probe : cell[i];
        }
}

/* C and M at both ends of one event's cell, interpolated between the corners' rows: four numbers that lie together are one vector. */
static inline __attribute__((always_inline)) Four ends_of_event(
    int i, int corners, const REAL *restrict pair, int32_t start[][BLOCK], REAL weight[][BLOCK], const int32_t *restrict cell) {
    if (corners == 1) return *(const Four *)(pair + 2 * cell[i]);
    Four sum = weight[0][i] * *(const Four *)(pair + 2 * (int64_t)(start[0][i] + cell[i]));
    for (int c = 1; c < corners; c++) sum += weight[c][i] * *(const Four *)(pair + 2 * (int64_t)(start[c][i] + cell[i]));
    return sum;
}

/* Four events' vectors to one array per number. */
static inline __attribute__((always_inline)) void transpose(
    Four p, Four q, Four r, Four s, REAL *before, REAL *low, REAL *after, REAL *high) {
    Four pq = SHUFFLE(p, q, 0, 4, 1, 5), rs = SHUFFLE(r, s, 0, 4, 1, 5);
    Four pq_after = SHUFFLE(p, q, 2, 6, 3, 7), rs_after = SHUFFLE(r, s, 2, 6, 3, 7);
    *(Four *)before = SHUFFLE(pq, rs, 0, 1, 4, 5), *(Four *)low = SHUFFLE(pq, rs, 2, 3, 6, 7);
    *(Four *)after = SHUFFLE(pq_after, rs_after, 0, 1, 4, 5), *(Four *)high = SHUFFLE(pq_after, rs_after, 2, 3, 6, 7);
}

/* The same for a block, one array per number. */
static inline __attribute__((always_inline)) void ends(
    int count, int corners, const REAL *restrict pair, int32_t start[][BLOCK], REAL weight[][BLOCK], const int32_t *restrict cell,
    REAL *restrict before, REAL *restrict low, REAL *restrict after, REAL *restrict high) {
#define ENDS(k) ends_of_event(i + k, corners, pair, start, weight, cell)
    int i = 0;
    for (; i + 4 <= count; i += 4) transpose(ENDS(0), ENDS(1), ENDS(2), ENDS(3), before + i, low + i, after + i, high + i);
    for (; i < count; i++) {
        Four p = ENDS(0);
        before[i] = p[0], low[i] = p[1], after[i] = p[2], high[i] = p[3];
    }
}

static inline REAL unit(REAL value) { return value < 0 ? 0 : value > 1 ? 1 : value; }

/* See eager.invert_cell. */
static inline REAL invert(REAL low, REAL high, REAL below, REAL above) {
    REAL share = low + high, mass = below + above;
    REAL per_share = 1 / (share > TINY ? share : TINY), per_mass = 1 / (mass > TINY ? mass : TINY);
    REAL alpha = low * per_share, beta = high * per_share;
    REAL passed = unit(below * per_mass), left = unit(above * per_mass);
    REAL root = SQRT(alpha * alpha * left + beta * beta * passed) + alpha;
    return unit(passed / (root > TINY ? root : TINY));
}

/* One coordinate of a block; leaves cells, fractions and the density at the events, which normalises the next coordinate. */
static inline __attribute__((always_inline)) void coordinate(
    int count, int corners, int d, int dimensions, const Axis *axis, const REAL *cum, const REAL *pair, int32_t start[][BLOCK],
    REAL weight[][BLOCK], const REAL *restrict uniforms, REAL *restrict total, int32_t *restrict cell, REAL *restrict fraction,
    REAL *restrict events) {
    REAL target[BLOCK], before[BLOCK], low[BLOCK], after[BLOCK], high[BLOCK]; /* C and M at the ends of the cell */
    const REAL *position = axis->position;
    for (int i = 0; i < count; i++) {
        REAL wanted = uniforms[i * dimensions + d] * total[i], most = total[i] * (1 - EPS);
        target[i] = wanted < most ? wanted : most;
    }
    search(count, corners, (int32_t)axis->nodes, cum, start, weight, target, cell);
    ends(count, corners, pair, start, weight, cell, before, low, after, high);
    int empty = 0;
    for (int i = 0; i < count; i++) empty |= !(after[i] > before[i]);
    if (empty) /* Rounding may put the target at the very end, behind the last cell with mass. */
        for (int i = 0; i < count; i++)
            while (!(after[i] > before[i]) && cell[i] > 0) {
                cell[i]--;
                Four p = ENDS(0);
                before[i] = p[0], low[i] = p[1], after[i] = p[2], high[i] = p[3];
            }
    for (int i = 0; i < count; i++) {
        fraction[i] = invert(low[i], high[i], target[i] - before[i], after[i] - target[i]);
        total[i] = low[i] + (high[i] - low[i]) * fraction[i];
    }
    REAL lowest = (REAL)axis->low, highest = (REAL)axis->high;
    if (axis->step > 0) { /* nodes at equal distances: nothing to look up */
        REAL step = (REAL)axis->step;
        for (int i = 0; i < count; i++) {
            REAL x = lowest + ((REAL)cell[i] + fraction[i]) * step;
            events[i * dimensions + d] = x < lowest ? lowest : x > highest ? highest : x;
        }
        return;
    }
    for (int i = 0; i < count; i++) {
        REAL left = position[cell[i]], right = position[cell[i] + 1];
        REAL x = left + (right - left) * fraction[i];
        events[i * dimensions + d] = x < lowest ? lowest : x > highest ? highest : x;
    }
}

/* Corners one dimension further, as in eager._refine. */
static inline __attribute__((always_inline)) void refine(
    int count, int corners, int32_t n, int32_t next_n, int32_t row[][BLOCK], REAL weight[][BLOCK], int32_t start[][BLOCK],
    const int32_t *restrict cell, const REAL *restrict fraction) {
    for (int c = corners - 1; c >= 0; c--)
        for (int i = 0; i < count; i++) {
            int32_t below = (corners == 1 ? 0 : row[c][i] * n) + cell[i];
            REAL w = corners == 1 ? 1 : weight[c][i];
            row[c][i] = below, row[c + corners][i] = below + 1;
            weight[c][i] = w * (1 - fraction[i]), weight[c + corners][i] = w * fraction[i];
            start[c][i] = below * next_n, start[c + corners][i] = (below + 1) * next_n;
        }
}

/* Returns 0, or 1 when memory is short. */
int forward(int64_t samples, int64_t events, int dimensions, const Axis *axes, const REAL *values, const REAL *scale,
                  const REAL *uniforms, REAL *out) {
    Tables tables;
    REAL *memory = allocate(&tables, dimensions, axes);
    if (!memory) return 1;
    int64_t size = tables.rows[dimensions - 1] * axes[dimensions - 1].nodes;
    static _Thread_local int32_t row[MAX_CORNERS][BLOCK], start[MAX_CORNERS][BLOCK], cell[BLOCK];
    static _Thread_local REAL weight[MAX_CORNERS][BLOCK], total[BLOCK], fraction[BLOCK];
    for (int64_t s = 0; s < samples; s++) {
        tabulate(&tables, dimensions, axes, values + s * size, scale[s]);
        REAL everything = tables.cum[0][axes[0].nodes - 1];
        for (int64_t first = 0; first < events; first += BLOCK) {
            int count = (int)(events - first < BLOCK ? events - first : BLOCK);
            int64_t offset = (s * events + first) * dimensions;
            for (int i = 0; i < count; i++) total[i] = everything;
            for (int d = 0; d < dimensions; d++) {
#define COORDINATE(corners) coordinate(count, corners, d, dimensions, axes + d, tables.cum[d], tables.pair[d], start, weight, \
                                             uniforms + offset, total, cell, fraction, out + offset)
                switch (d) {
                    case 0: COORDINATE(1); break;
                    case 1: COORDINATE(2); break;
                    default: COORDINATE(1 << d);
                }
                if (d + 1 == dimensions) break;
                int32_t n = (int32_t)axes[d].nodes, next = (int32_t)axes[d + 1].nodes;
                if (d == 0) refine(count, 1, n, next, row, weight, start, cell, fraction);
                else refine(count, 1 << d, n, next, row, weight, start, cell, fraction);
            }
        }
    }
    free(memory);
    return 0;
}

/* What one coordinate of a block looks like from its event; the adjoint walks back over these. */
typedef struct {
    int32_t cell[BLOCK], start[MAX_CORNERS][BLOCK];
    REAL fraction[BLOCK], width[BLOCK], weight[MAX_CORNERS][BLOCK], low[MAX_CORNERS][BLOCK], high[MAX_CORNERS][BLOCK];
    REAL integral[MAX_CORNERS][BLOCK], total[MAX_CORNERS][BLOCK];
    REAL density[BLOCK], normalisation[BLOCK], reached[BLOCK], wanted[BLOCK];
} Place;

static inline __attribute__((always_inline)) void locate(
    int count, int corners, int d, int dimensions, const Axis *axis, const REAL *pair, const REAL *restrict events,
    const REAL *restrict gradient, Place *restrict here) {
    const REAL *position = axis->position, *width = axis->width;
    REAL x[BLOCK], before[BLOCK], after[BLOCK];
    for (int i = 0; i < count; i++) {
        x[i] = events[i * dimensions + d];
        here->wanted[i] = gradient[i * dimensions + d] * (REAL)axis->length;
        here->density[i] = 0, here->normalisation[i] = 0, here->reached[i] = 0;
    }
    if (axis->step > 0) {
        REAL lowest = (REAL)axis->low, per_step = (REAL)(1 / axis->step);
        int32_t last = (int32_t)axis->nodes - 2;
        for (int i = 0; i < count; i++) {
            REAL t = (x[i] - lowest) * per_step;
            int32_t k = (int32_t)t;
            k = k < 0 ? 0 : k > last ? last : k;
            here->cell[i] = k, here->fraction[i] = unit(t - (REAL)k), here->width[i] = width[0];
        }
    } else {
        search(count, 1, (int32_t)axis->nodes, position, NULL, NULL, x, here->cell);
        for (int i = 0; i < count; i++) {
            int32_t k = here->cell[i];
            here->fraction[i] = unit((x[i] - position[k]) / (position[k + 1] - position[k])), here->width[i] = width[k];
        }
    }
    for (int c = 0; c < corners; c++) {
        const int32_t *start = here->start[c], *cell = here->cell;
        REAL *low = here->low[c], *high = here->high[c];
        int i = 0;
#define PAIR(k) (*(const Four *)(pair + 2 * (int64_t)((corners == 1 ? 0 : start[i + k]) + cell[i + k])))
        for (; i + 4 <= count; i += 4) transpose(PAIR(0), PAIR(1), PAIR(2), PAIR(3), before + i, low + i, after + i, high + i);
        for (; i < count; i++) before[i] = PAIR(0)[0], low[i] = PAIR(0)[1], high[i] = PAIR(0)[3];
#undef PAIR
        for (i = 0; i < count; i++) {
            REAL a = low[i], b = high[i], s = here->fraction[i], w = corners == 1 ? 1 : here->weight[c][i];
            REAL integral = before[i] + here->width[i] * s * (a + (b - a) * s / 2);
            here->integral[c][i] = integral;
            here->density[i] += w * (a + (b - a) * s);
            here->normalisation[i] += w * here->total[c][i];
            here->reached[i] += w * integral;
        }
    }
    for (int i = 0; i < count; i++) here->reached[i] /= here->normalisation[i] > TINY ? here->normalisation[i] : TINY;
}

static inline __attribute__((always_inline)) void corners_of(
    int count, int corners, int32_t n, int32_t next_n, const Place *restrict from, Place *restrict to) {
    for (int c = 0; c < corners; c++)
        for (int i = 0; i < count; i++) {
            int32_t below = (corners == 1 ? 0 : from->start[c][i]) + from->cell[i];
            REAL w = corners == 1 ? 1 : from->weight[c][i], s = from->fraction[i];
            to->start[c][i] = below * next_n, to->start[c + corners][i] = (below + 1) * next_n;
            to->weight[c][i] = w * (1 - s), to->weight[c + corners][i] = w * s;
            to->total[c][i] = from->low[c][i], to->total[c + corners][i] = from->high[c][i];
        }
    (void)n;
}

/* Pass the gradient of a coordinate on to the earlier coordinates and to the sums of its cells. */
static inline __attribute__((always_inline)) void push(
    int count, int corners, int d, Place *places, const REAL *restrict visible, REAL *restrict acc) {
    Place *here = places + d;
    REAL push[BLOCK], part[MAX_CORNERS][BLOCK];
    for (int i = 0; i < count; i++) push[i] = visible[i] > 0 ? -here->wanted[i] / here->density[i] : 0;
    for (int j = 0; j < d; j++) {
        int half = corners;
        for (int c = 0; c < corners; c++)
            for (int i = 0; i < count; i++) part[c][i] = here->integral[c][i] - here->reached[i] * here->total[c][i];
        for (int e = d - 1; e >= 0; e--) {
            half /= 2;
            for (int c = 0; c < half; c++)
                for (int i = 0; i < count; i++) {
                    REAL rise = part[c + half][i] - part[c][i];
                    part[c][i] = e == j ? rise / places[e].width[i] : part[c][i] + rise * places[e].fraction[i];
                }
        }
        for (int i = 0; i < count; i++) places[j].wanted[i] += push[i] * part[0][i];
    }
    for (int i = 0; i < count; i++) {
        REAL s = here->fraction[i], upper = here->width[i] * s * s / 2, lower = here->width[i] * s - upper;
        Four share = {push[i] * lower, push[i] * upper, push[i], -push[i] * here->reached[i]};
        for (int c = 0; c < corners; c++) {
            Four *sum = (Four *)(acc + 4 * (int64_t)((corners == 1 ? 0 : here->start[c][i]) + here->cell[i]));
            *sum += (corners == 1 ? 1 : here->weight[c][i]) * share;
        }
    }
}

static void pull_block(int count, int dimensions, const Axis *axes, const Tables *tables, const REAL *events,
                             const REAL *gradient, Place *places, REAL *const *acc) {
    REAL visible[MAX_DIMENSIONS][BLOCK];
    REAL everything = tables->cum[0][axes[0].nodes - 1];
    for (int i = 0; i < count; i++) places[0].total[0][i] = everything;
    for (int d = 0; d < dimensions; d++) {
        Place *here = places + d;
#define LOCATE(corners) locate(count, corners, d, dimensions, axes + d, tables->pair[d], events, gradient, here)
        switch (d) {
            case 0: LOCATE(1); break;
            case 1: LOCATE(2); break;
            default: LOCATE(1 << d);
        }
        for (int i = 0; i < count; i++)
            visible[d][i] = here->density[i] > EPS * here->normalisation[i] && (d == 0 || visible[d - 1][i] > 0) ? 1 : 0;
        if (d + 1 == dimensions) break;
        int32_t n = (int32_t)axes[d].nodes, next = (int32_t)axes[d + 1].nodes;
        if (d == 0) corners_of(count, 1, n, next, here, here + 1);
        else corners_of(count, 1 << d, n, next, here, here + 1);
    }
    for (int d = dimensions - 1; d >= 0; d--) switch (d) {
        case 0: push(count, 1, 0, places, visible[d], acc[d]); break;
        case 1: push(count, 2, 1, places, visible[d], acc[d]); break;
        default: push(count, 1 << d, d, places, visible[d], acc[d]);
    }
}

/* From the sums of the cells to the node values: the transpose of tabulate. */
static void gather_nodes(const Tables *tables, int dimensions, const Axis *axes, double *const *sums, double *const *nodes,
                               REAL scale, REAL *out) {
    for (int d = 0; d < dimensions; d++) {
        const REAL *width = axes[d].width, *weight = axes[d].weight;
        int64_t n = axes[d].nodes;
        for (int64_t row = 0; row < tables->rows[d]; row++) {
            const double *acc = sums[d] + 4 * row * n;
            double *g = nodes[d] + row * n, inherited = d > 0 ? nodes[d - 1][row] : 0, later = 0, carried = 0;
            for (int64_t k = 0; k < n - 1; k++) later += acc[4 * k + 3];
            for (int64_t k = n - 2; k >= 0; k--) {
                double mass = later * width[k] / 2;
                g[k + 1] = inherited * weight[k + 1] + carried + mass + acc[4 * k + 1];
                carried = mass + acc[4 * k];
                later += acc[4 * k + 2];
            }
            g[0] = inherited * weight[0] + carried;
        }
    }
    int64_t size = tables->rows[dimensions - 1] * axes[dimensions - 1].nodes;
    for (int64_t k = 0; k < size; k++) out[k] = (REAL)(nodes[dimensions - 1][k] / (double)scale);
}

/* Returns 0, or 1 when memory is short. */
int adjoint(int64_t samples, int64_t events, int dimensions, const Axis *axes, const REAL *values, const REAL *scale,
                  const REAL *where, const REAL *gradient, REAL *out) {
    Tables tables;
    REAL *memory = allocate(&tables, dimensions, axes);
    int64_t size = memory ? tables.rows[dimensions - 1] * axes[dimensions - 1].nodes : 0, all = 0;
    for (int d = 0; memory && d < dimensions; d++) all += tables.rows[d] * axes[d].nodes;
    REAL *acc = malloc(sizeof(REAL) * 4 * (size_t)(all + 1)), *accs[MAX_DIMENSIONS];
    double *sums = malloc(sizeof(double) * 5 * (size_t)(all + 1)), *sum[MAX_DIMENSIONS], *nodes[MAX_DIMENSIONS];
    Place *places = malloc(sizeof(Place) * (size_t)dimensions);
    int failed = !(memory && acc && sums && places);
    int64_t stride = 4 * all > ACCURATE_EVENTS ? 4 * all : ACCURATE_EVENTS; /* many cells: few events in each */
    for (int64_t d = 0, offset = 0; !failed && d < dimensions; d++) {
        accs[d] = acc + 4 * offset, sum[d] = sums + 4 * offset, nodes[d] = sums + 4 * all + offset;
        offset += tables.rows[d] * axes[d].nodes;
    }
    for (int64_t s = 0; !failed && s < samples; s++) {
        tabulate(&tables, dimensions, axes, values + s * size, scale[s]);
        for (int64_t chunk = 0; chunk < events || chunk == 0; chunk += stride) {
            int64_t end = chunk + stride < events ? chunk + stride : events;
            memset(acc, 0, sizeof(REAL) * 4 * (size_t)all);
            for (int64_t first = chunk; first < end; first += BLOCK) {
                int64_t offset = (s * events + first) * dimensions;
                pull_block((int)(end - first < BLOCK ? end - first : BLOCK), dimensions, axes, &tables, where + offset,
                                 gradient + offset, places, accs);
            }
            for (int64_t k = 0; k < 4 * all; k++) sums[k] = chunk ? sums[k] + acc[k] : acc[k];
        }
        gather_nodes(&tables, dimensions, axes, sum, nodes, scale[s], out + s * size);
    }
    free(memory), free(acc), free(sums), free(places);
    return failed;
}
