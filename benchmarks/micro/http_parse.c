/* http_parse.c — one request head of three sizes, parsed over and over: small (36 bytes, one
 * field), typical (curl, 4 fields), large (a browser, 13 fields), with each instruction set there
 * is. Prints a line as micro.h describes it for each pair. */
#include "base/clock.h"
#include "base/defs.h"
#include "http/parser.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#if defined(__x86_64__)
#include <x86intrin.h>
#endif

enum { RUNS_MAX = 99, REQUESTS = 1000 * 1000 };

static const struct {
    const char *name;
    const char *text;
} heads[] = {
    {"small", "GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"},
    {"typical",
     "GET /items/1234?page=2 HTTP/1.1\r\nHost: localhost:8000\r\nUser-Agent: curl/8.5.0\r\n"
     "Accept: */*\r\nConnection: keep-alive\r\n\r\n"},
    {"large",
     "GET /static/assets/app.3f2a9c.js?v=20260101 HTTP/1.1\r\nHost: www.example.com\r\n"
     "User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0\r\n"
     "Accept: text/html,application/xhtml+xml,application/xml;q=0.9,image/webp,*/*;q=0.8\r\n"
     "Accept-Language: en-US,en;q=0.5\r\nAccept-Encoding: gzip, deflate, br\r\n"
     "Connection: keep-alive\r\nReferer: https://www.example.com/dashboard/overview\r\n"
     "Cookie: session=0123456789abcdef0123456789abcdef; theme=dark; _ga=GA1.2.1234567890.1234567890\r\n"
     "Upgrade-Insecure-Requests: 1\r\nSec-Fetch-Dest: document\r\nSec-Fetch-Mode: navigate\r\n"
     "Sec-Fetch-Site: same-origin\r\nIf-None-Match: \"33a64df551425fcc55e4d42a148795d9f25f89d4\"\r\n\r\n"},
};

static const char *const simd_names[] = {"scalar", "sse42", "avx2", "neon"};

static uint64_t cycles(void)
{
#if defined(__x86_64__)
    return __rdtsc(); /* of the reference clock, not of the core's */
#else
    return 0;
#endif
}

struct run {
    double ns;
    double cycles;
};

static struct run parse_many(const char *text, enum tc_http_simd simd, int count)
{
    static struct tc_http_request request;
    size_t len = strlen(text);
    int64_t start = tc_clock_now_ns();
    uint64_t first = cycles();

    for (int i = 0; i < count; i++) {
        __asm__ __volatile__("" : : "r"(text) : "memory"); /* another text, for all one knows */
        if (tc_http_parse_with(simd, &request, text, len, &tc_http_default_limits, NULL) !=
            (ssize_t)len) {
            abort();
        }
    }
    return (struct run){(double)(tc_clock_now_ns() - start) / count,
                        (double)(cycles() - first) / count};
}

static int compare(const void *a, const void *b)
{
    double left = ((const struct run *)a)->ns;
    double right = ((const struct run *)b)->ns;

    return (left > right) - (left < right);
}

static void measure(size_t head, enum tc_http_simd simd, size_t runs)
{
    struct run result[RUNS_MAX];

    (void)parse_many(heads[head].text, simd, REQUESTS / 10); /* warm-up */
    for (size_t run = 0; run < runs; run++) {
        result[run] = parse_many(heads[head].text, simd, REQUESTS);
    }
    qsort(result, runs, sizeof result[0], compare);
    printf("name=http_parse_%s_%s bytes=%zu workers=1 median=%.2f min=%.2f max=%.2f cycles=%.0f "
           "runs=%zu unit=ns\n",
           heads[head].name, simd_names[simd], strlen(heads[head].text), result[runs / 2].ns,
           result[0].ns, result[runs - 1].ns, result[runs / 2].cycles, runs);
}

/* usage: http_parse [--workers 1] [--runs N] [--width 1|2|3]      width: one of the sizes only,
 * with the best instruction set */
int main(int argc, char **argv)
{
    size_t runs = 9;
    size_t width = 0;

    for (int i = 1; i + 1 < argc; i += 2) {
        size_t value = (size_t)strtoul(argv[i + 1], NULL, 10);
        if (strcmp(argv[i], "--runs") == 0 && value > 0 && value <= RUNS_MAX) {
            runs = value;
        } else if (strcmp(argv[i], "--width") == 0 && value <= TC_ARRAY_LEN(heads)) {
            width = value;
        } else if (strcmp(argv[i], "--workers") != 0) {
            fprintf(stderr, "usage: %s [--runs N] [--width 1|2|3]\n", argv[0]);
            return 2;
        }
    }
    if (width != 0) {
        measure(width - 1, tc_http_best_simd(), runs);
        return 0;
    }
    for (size_t head = 0; head < TC_ARRAY_LEN(heads); head++) {
        for (int simd = TC_HTTP_SCALAR; simd <= (int)tc_http_best_simd(); simd++) {
            bool is_here = tc_http_best_simd() != TC_HTTP_NEON || simd == TC_HTTP_SCALAR ||
                           simd == TC_HTTP_NEON;
            if (is_here) {
                measure(head, (enum tc_http_simd)simd, runs);
            }
        }
    }
    return 0;
}
