#include "http/coding.h"

#include <stdbool.h>

#include "http/chars.h"

static bool is_space(char c)
{
    return c == ' ' || c == '\t';
}

static size_t skip_space(const char *text, size_t at, size_t len)
{
    while (at < len && is_space(text[at])) {
        at++;
    }
    return at;
}

/* RFC 9110 12.4.2: "0" or "1" and at most three decimals. Returns thousandths, -1: not a weight. */
static int read_weight(const char *text, size_t len)
{
    static const int places[] = {100, 10, 1};

    if (len == 0 || len > 5 || (text[0] != '0' && text[0] != '1') || (len > 1 && text[1] != '.')) {
        return -1;
    }
    int weight = text[0] == '1' ? 1000 : 0;
    for (size_t i = 2; i < len; i++) {
        if (!tc_http_is(text[i], TC_HTTP_DIGIT)) {
            return -1;
        }
        weight += (text[i] - '0') * places[i - 2];
    }
    return weight <= 1000 ? weight : -1;
}

/* What follows a coding: nothing, or ";q=". Returns thousandths, -1: neither. */
static int read_parameters(const char *text, size_t len)
{
    size_t at = skip_space(text, 0, len);

    if (at == len) {
        return 1000;
    }
    if (text[at] != ';') {
        return -1;
    }
    at = skip_space(text, at + 1, len);
    if (len - at < 2 || (text[at] | 0x20) != 'q' || text[at + 1] != '=') {
        return -1;
    }
    return read_weight(text + at + 2, len - at - 2);
}

static void read_element(struct tc_http_codings *codings, const char *text, size_t len)
{
    size_t name = 0;

    while (name < len && tc_http_is(text[name], TC_HTTP_TOKEN)) {
        name++;
    }
    int weight = read_parameters(text + name, len - name);
    if (name == 0 || weight < 0) {
        return;
    }
    int16_t value = (int16_t)(1 + weight);
    if (name == 1 && text[0] == '*') {
        codings->any = value;
    } else if (tc_http_is_word(text, name, "br", 2)) {
        codings->weights[TC_HTTP_BR] = value;
    } else if (tc_http_is_word(text, name, "gzip", 4) || tc_http_is_word(text, name, "x-gzip", 6)) {
        codings->weights[TC_HTTP_GZIP] = value;
    } else if (tc_http_is_word(text, name, "identity", 8)) {
        codings->weights[TC_HTTP_IDENTITY] = value;
    }
}

void tc_http_codings_add(struct tc_http_codings *codings, const char *value, size_t len)
{
    for (size_t at = 0; at < len;) {
        size_t end = at;
        while (end < len && value[end] != ',') {
            end++;
        }
        size_t to = end;
        at = skip_space(value, at, end);
        while (to > at && is_space(value[to - 1])) {
            to--;
        }
        read_element(codings, value + at, to - at);
        at = end + 1;
    }
}

enum tc_http_coding tc_http_codings_choose(const struct tc_http_codings *codings,
                                           unsigned available)
{
    enum tc_http_coding best = TC_HTTP_IDENTITY;
    int best_weight = 0;

    for (int coding = TC_HTTP_CODING_COUNT - 1; coding >= 0; coding--) {
        /* 1 is a weight of 0: forbidden. */
        int weight = codings->weights[coding] != 0 ? codings->weights[coding] : codings->any;
        if (weight > 1 && weight > best_weight && (available & TC_HTTP_CODING_BIT(coding)) != 0) {
            best = (enum tc_http_coding)coding;
            best_weight = weight;
        }
    }
    return best;
}
