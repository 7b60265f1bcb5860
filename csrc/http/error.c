#include "http/error.h"

#include "base/assert.h"

struct error {
    const char *name;
    const char *clause;
    int status;
};

static const struct error errors[TC_HTTP_ERROR_COUNT] = {
#define ERROR_ROW(error_name, error_status, error_clause) \
    [TC_HTTP_INDEX_##error_name] = {#error_name, error_clause, error_status},
    TC_HTTP_ERRORS(ERROR_ROW)
#undef ERROR_ROW
};

static const struct error *find(int error)
{
    tc_assert(error < 0 && error > -TC_HTTP_ERROR_COUNT);
    return &errors[-error];
}

int tc_http_error_status(int error)
{
    return find(error)->status;
}

const char *tc_http_error_name(int error)
{
    return find(error)->name;
}

const char *tc_http_error_clause(int error)
{
    return find(error)->clause;
}
