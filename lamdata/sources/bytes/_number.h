/* A decimal number in text -> the float64 nearest to it, as Python's `float` gives it; what is not decided here is said to be hard.

   Small numbers are one exact division or multiplication (Clinger, PLDI 1990); others the product with a power of five in 128 bits
   (Lemire, "Number parsing at a gigabyte per second", Software: Practice and Experience 51, 2021), which either decides or says that it
   does not. Powers are made when the module is loaded; without integers of 128 bits there is only the first way. */

#ifndef LAMDATA_NUMBER_H
#define LAMDATA_NUMBER_H

#include <float.h>
#include <stdint.h>
#include <string.h>

enum { MOST_DIGITS = 19 };    /* that a 64-bit integer always holds */
enum { EXACT = 22 };          /* 10**22 is exact in float64 */
enum { REACH = 54 };          /* 5**54 < 2**126: the powers that are made */
enum { MOST_EXPONENT = 9999 }; /* that is counted; beyond it the number is hard */

typedef enum { PLAIN, FORTRAN, COLUMNS } Style; /* 1.0E-3; 1.0D-3 too; and columns that ran together, and stars */
typedef enum { NONE, EASY, HARD } Found;

static const double TENS[EXACT + 1] = {1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,  1e8,  1e9,  1e10, 1e11,
                                       1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22};

#ifdef __SIZEOF_INT128__

typedef unsigned __int128 Wide;

static Wide powers[2 * REACH + 1]; /* 5**q with its first bit at the top, rounded as the proof asks for */

static void make_powers(void)
{
    Wide power = 1;
    for (int q = 0; q <= REACH; q++, power *= 5) {
        Wide top = power, remainder = 1, inverse = 0;
        while (!(top >> 127))
            top <<= 1;
        powers[REACH + q] = top;
        if (q == 0)
            continue;
        while (remainder < power)
            remainder <<= 1;
        remainder >>= 1;
        for (int bit = 0; bit < 128; bit++) { /* a long division */
            remainder <<= 1;
            inverse = inverse << 1 | (remainder >= power);
            if (remainder >= power)
                remainder -= power;
        }
        powers[REACH - q] = inverse + (q <= 27);
    }
}

/* digits * 10**q, or 0 where 128 bits do not decide. */
static int multiply(uint64_t digits, int q, double *value)
{
    if (q < -REACH || q > REACH)
        return 0;
    const int zeros = __builtin_clzll(digits);
    const Wide power = powers[REACH + q];
    digits <<= zeros;
    Wide product = (Wide)digits * (uint64_t)(power >> 64);
    uint64_t high = (uint64_t)(product >> 64), low = (uint64_t)product;
    if ((high & 0x1FF) == 0x1FF) { /* the lower half of the power may carry into what counts */
        const uint64_t carry = (uint64_t)(((Wide)digits * (uint64_t)power) >> 64);
        low += carry;
        high += carry > low;
    }
    if (low == UINT64_MAX && (q < -27 || q > 55))
        return 0;
    const int upper = (int)(high >> 63), shift = upper + 64 - 52 - 3;
    uint64_t mantissa = high >> shift;
    int exponent = ((217706 * q) >> 16) + 63 + upper - zeros + 1023;
    if (exponent <= 0)
        return 0;
    if (low <= 1 && q >= -4 && q <= 23 && (mantissa & 3) == 1 && mantissa << shift == high)
        mantissa &= ~(uint64_t)1; /* half way, to even */
    mantissa = (mantissa + (mantissa & 1)) >> 1;
    if (mantissa >> 53) {
        mantissa = (uint64_t)1 << 52;
        exponent++;
    }
    if (exponent >= 2047)
        return 0;
    const uint64_t bits = (mantissa & (((uint64_t)1 << 52) - 1)) | (uint64_t)exponent << 52;
    memcpy(value, &bits, sizeof bits);
    return 1;
}

#else

static void make_powers(void) {}

static int multiply(uint64_t digits, int q, double *value)
{
    (void)digits, (void)q, (void)value;
    return 0;
}

#endif

static int is_digit(char c) { return (unsigned char)(c - '0') < 10; }

static int is_sign(char c) { return c == '-' || c == '+'; }

/* Where eight bytes are taken at once: in the order of little-endian machines. */
#if defined(__GNUC__) && defined(__BYTE_ORDER__) && __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
#define EIGHT_AT_ONCE 1
#else
#define EIGHT_AT_ONCE 0
#endif

static uint64_t eight_bytes(const char *p)
{
    uint64_t eight;
    memcpy(&eight, p, sizeof eight);
    return eight;
}

/* The number that eight digits are, or values of digits, the first in the lowest byte. */
static uint64_t value_of_eight(uint64_t eight)
{
    eight = (eight & 0x0F0F0F0F0F0F0F0F) * 2561 >> 8;
    eight = (eight & 0x00FF00FF00FF00FF) * 6553601 >> 16;
    return (eight & 0x0000FFFF0000FFFF) * 42949672960001 >> 32;
}

/* Eight digits at once, or 0: `*more` becomes their value. */
static int eight_digits(const char *p, uint64_t *more)
{
    const uint64_t eight = EIGHT_AT_ONCE ? eight_bytes(p) : 0;
    if (((eight & 0xF0F0F0F0F0F0F0F0) | (((eight + 0x0606060606060606) & 0xF0F0F0F0F0F0F0F0) >> 4)) != 0x3333333333333333)
        return 0;
    *more = value_of_eight(eight);
    return 1;
}

#if EIGHT_AT_ONCE

/* How many of the next eight bytes are digits before one that is none, and what they are as a number. */
static int digits_of_eight(const char *p, uint64_t *value)
{
    const uint64_t eight = eight_bytes(p) ^ 0x3030303030303030;
    const uint64_t other = ((eight + 0x7676767676767676) | eight) & 0x8080808080808080; /* right up to the first that is none */
    const int count = other ? __builtin_ctzll(other) >> 3 : 8;
    *value = count ? value_of_eight(eight << (64 - 8 * count)) : 0;
    return count;
}

/* A number as most are written, `-12.345` or `12`, and with it a blank or the line's end; up to `READS` bytes of it are looked at.
   0 where it is not so, or is not decided: then it has to be read in the other way. */
enum { READS = 40 };

static int is_easily_read(const char **at, const char *end, double *out)
{
    const char *p = *at;
    const int negative = *p == '-';
    uint64_t digits, more;
    p += negative;
    const int whole = digits_of_eight(p, &digits);
    int fraction = 0;
    if (whole == 0 || whole == 8)
        return 0;
    p += whole;
    if (*p == '.')
        for (int count = 8; count == 8 && fraction < 24; fraction += count) {
            count = digits_of_eight(p + 1 + fraction, &more);
            digits = digits * (uint64_t)TENS[count] + more;
        }
    p += *p == '.' ? 1 + fraction : 0;
    if (p > end || whole + fraction > MOST_DIGITS || (p < end && *p != ' '))
        return 0;
    if (FLT_EVAL_METHOD == 0 && digits <= (uint64_t)1 << 53)
        *out = (double)digits / TENS[fraction];
    else if (!multiply(digits, -fraction, out))
        return 0;
    if (negative)
        *out = -*out;
    *at = p;
    return 1;
}

#endif

/* The digits from `*at` on, appended to `digits`; leading zeros count for nothing in `*count`. */
static uint64_t take_digits(const char **at, const char *end, uint64_t digits, int *count)
{
    const char *p = *at;
    uint64_t more;
    while (end - p >= 8 && *count + 8 <= MOST_DIGITS && eight_digits(p, &more)) {
        digits = digits * 100000000 + more;
        *count = digits ? *count + 8 : 0; /* at most so many: a leading zero among them only sends a long number the slow way */
        p += 8;
    }
    for (; p < end && is_digit(*p); p++) {
        digits = digits * 10 + (uint64_t)(*p - '0');
        *count += *count || digits;
        if (*count > MOST_DIGITS) { /* the rest is passed over, and the number is hard */
            while (p < end && is_digit(*p))
                p++;
            break;
        }
    }
    *at = p;
    return digits;
}

/* Read a number from `*at` on, at most to `end`, and set `*at` behind it. What follows is not looked at. */
static Found read_number(const char **at, const char *end, Style style, double *out)
{
    const char *p = *at;
    const int negative = p < end && *p == '-';
    p += p < end && is_sign(*p);
    int count = 0, exponent = 0, fraction = 0;
    const char *first = p;
    uint64_t digits = take_digits(&p, end, 0, &count);
    Py_ssize_t written = p - first;
    if (p < end && *p == '.') {
        first = ++p;
        digits = take_digits(&p, end, digits, &count);
        written += p - first;
        fraction = p - first > MOST_EXPONENT ? MOST_EXPONENT : (int)(p - first);
    }
    if (written == 0)
        return NONE;
    if (p < end && (*p == 'e' || *p == 'E' || (style != PLAIN && (*p == 'd' || *p == 'D')))) {
        const int down = p + 1 < end && p[1] == '-';
        p += 1 + (p + 1 < end && is_sign(p[1]));
        if (p == end || !is_digit(*p))
            return NONE;
        for (; p < end && is_digit(*p); p++)
            exponent = exponent > MOST_EXPONENT ? exponent : 10 * exponent + (*p - '0');
        exponent = down ? -exponent : exponent;
    }
    *at = p;
    const int q = exponent - fraction;
    if (count > MOST_DIGITS || exponent > MOST_EXPONENT || exponent < -MOST_EXPONENT || fraction == MOST_EXPONENT)
        return HARD;
    if (digits == 0)
        *out = 0.0;
    else if (FLT_EVAL_METHOD == 0 && digits <= (uint64_t)1 << 53 && q >= -EXACT && q <= EXACT)
        *out = q < 0 ? (double)digits / TENS[-q] : (double)digits * TENS[q];
    else if (!multiply(digits, q, out))
        return HARD;
    if (negative)
        *out = -*out;
    return EASY;
}

#endif
