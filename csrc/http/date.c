#include "http/date.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>

enum { DAY = 86400 };

static const char weekdays[] = "SunMonTueWedThuFriSat";
static const char months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";

struct civil {
    int64_t year;
    int month; /* 1 to 12 */
    int day;
    int hour;
    int minute;
    int second;
};

/* ---- calendar ----------------------------------------------------------------------------- */

/* Days from 1970-01-01. Years are counted from March, so that the leap day is the last one; 400 of
 * them have 146097 days. */
static int64_t days_from_civil(int64_t year, int month, int day)
{
    int64_t y = month <= 2 ? year - 1 : year;
    int64_t era = (y >= 0 ? y : y - 399) / 400;
    int64_t year_of_era = y - era * 400;
    int64_t day_of_year = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;

    return era * 146097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year -
           719468;
}

static void civil_from_days(int64_t days, struct civil *out)
{
    int64_t z = days + 719468;
    int64_t era = (z >= 0 ? z : z - 146096) / 146097;
    int64_t day_of_era = z - era * 146097;
    int64_t year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36524 - day_of_era / 146096) / 365;
    int64_t day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    int64_t month = (5 * day_of_year + 2) / 153;

    out->day = (int)(day_of_year - (153 * month + 2) / 5 + 1);
    out->month = (int)(month < 10 ? month + 3 : month - 9);
    out->year = year_of_era + era * 400 + (out->month <= 2 ? 1 : 0);
}

/* ---- writing ------------------------------------------------------------------------------ */

static char *put_digits(char *at, int value, int width)
{
    for (int i = width - 1; i >= 0; i--) {
        at[i] = (char)('0' + value % 10);
        value /= 10;
    }
    return at + width;
}

static char *put(char *at, const char *text, size_t len)
{
    memcpy(at, text, len);
    return at + len;
}

void tc_http_date_format(int64_t seconds, char out[TC_HTTP_DATE_BYTES])
{
    const int64_t first = days_from_civil(1, 1, 1) * DAY;
    const int64_t last = days_from_civil(10000, 1, 1) * DAY - 1;
    struct civil civil;
    char *at = out;

    seconds = seconds < first ? first : seconds > last ? last : seconds;
    int64_t days = seconds / DAY - (seconds % DAY < 0 ? 1 : 0);
    int rest = (int)(seconds - days * DAY);
    civil_from_days(days, &civil);
    at = put(at, weekdays + 3 * (((days + 4) % 7 + 7) % 7), 3); /* 1970 began on a Thursday */
    at = put(at, ", ", 2);
    at = put_digits(at, civil.day, 2);
    at = put(at, " ", 1);
    at = put(at, months + (size_t)3 * (size_t)(civil.month - 1), 3);
    at = put(at, " ", 1);
    at = put_digits(at, (int)civil.year, 4);
    at = put(at, " ", 1);
    at = put_digits(at, rest / 3600, 2);
    at = put(at, ":", 1);
    at = put_digits(at, rest / 60 % 60, 2);
    at = put(at, ":", 1);
    at = put_digits(at, rest % 60, 2);
    put(at, " GMT", 4);
}

/* ---- reading ------------------------------------------------------------------------------ */

/* Read by a pattern: D day, b month's name, Y year, y two digits of it, h m s time, _ day with a
 * space for its first digit, w the three letters of a weekday; anything else is itself. */
static bool read_digits(const char *text, size_t count, int *out)
{
    int value = 0;

    for (size_t i = 0; i < count; i++) {
        if (text[i] < '0' || text[i] > '9') {
            return false;
        }
        value = value * 10 + (text[i] - '0');
    }
    *out = value;
    return true;
}

/* Index of a three-letter name in a table of such, from 0, or -1. */
static int find_name(const char *text, const char *table)
{
    for (int i = 0; *table != '\0'; i++, table += 3) {
        if (memcmp(text, table, 3) == 0) {
            return i;
        }
    }
    return -1;
}

/* Returns how many bytes of text a pattern letter stands for, or 0 if they do not suit. */
static size_t read_item(char item, const char *text, size_t left, struct civil *out)
{
    int year;
    int digits = item == 'Y' ? 4 : item == 'b' || item == 'w' ? 3 : strchr("Dyhms_", item) ? 2 : 1;

    if (left < (size_t)digits) {
        return 0;
    }
    switch (item) {
    case 'D':
        return read_digits(text, 2, &out->day) ? 2 : 0;
    case '_':
        return read_digits(text + (text[0] == ' '), text[0] == ' ' ? 1 : 2, &out->day) ? 2 : 0;
    case 'b':
        out->month = find_name(text, months) + 1;
        return out->month == 0 ? 0 : 3;
    case 'w':
        return find_name(text, weekdays) < 0 ? 0 : 3;
    case 'Y':
    case 'y':
        if (!read_digits(text, (size_t)digits, &year)) {
            return 0;
        }
        out->year = year;
        return (size_t)digits;
    case 'h':
        return read_digits(text, 2, &out->hour) ? 2 : 0;
    case 'm':
        return read_digits(text, 2, &out->minute) ? 2 : 0;
    case 's':
        return read_digits(text, 2, &out->second) ? 2 : 0;
    default:
        return text[0] == item ? 1 : 0;
    }
}

static bool read_pattern(const char *pattern, const char *text, size_t len, struct civil *out)
{
    size_t at = 0;

    for (; *pattern != '\0'; pattern++) {
        size_t used = read_item(*pattern, text + at, len - at, out);
        if (used == 0) {
            return false;
        }
        at += used;
    }
    return at == len;
}

/* RFC 850 spells its weekdays out; returns the length of the name, or 0. */
static size_t long_weekday(const char *text, size_t len)
{
    static const char *const names[] = {"Sunday",   "Monday", "Tuesday", "Wednesday",
                                        "Thursday", "Friday", "Saturday"};

    for (size_t i = 0; i < TC_ARRAY_LEN(names); i++) {
        size_t n = strlen(names[i]);
        if (len > n && memcmp(text, names[i], n) == 0) {
            return n;
        }
    }
    return 0;
}

static bool read_any(const char *text, size_t len, int64_t now, struct civil *out)
{
    size_t weekday = long_weekday(text, len);
    struct civil today;

    if (weekday != 0) {
        if (!read_pattern(", D-b-y h:m:s GMT", text + weekday, len - weekday, out)) {
            return false;
        }
        civil_from_days(now / DAY, &today);
        out->year += today.year - today.year % 100;
        if (out->year > today.year + 50) {
            out->year -= 100;
        }
        return true;
    }
    return read_pattern("w, D b Y h:m:s GMT", text, len, out) ||
           read_pattern("w b _ h:m:s Y", text, len, out);
}

int tc_http_date_parse(const char *text, size_t len, int64_t now, int64_t *seconds)
{
    static const int month_days[] = {31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    struct civil civil = {.year = 1, .month = 1, .day = 1};

    if (!read_any(text, len, now, &civil) || civil.day < 1 ||
        civil.day > month_days[civil.month - 1] || civil.hour > 23 || civil.minute > 59 ||
        civil.second > 60) {
        return -EINVAL;
    }
    bool is_leap = civil.year % 4 == 0 && (civil.year % 100 != 0 || civil.year % 400 == 0);
    if (civil.month == 2 && civil.day == 29 && !is_leap) {
        return -EINVAL;
    }
    int second_of_day = civil.hour * 3600 + civil.minute * 60 + civil.second;
    *seconds = days_from_civil(civil.year, civil.month, civil.day) * DAY + second_of_day;
    return 0;
}
