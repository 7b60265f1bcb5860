#include "http/field.h"

const struct tc_http_field_name tc_http_field_names[TC_HTTP_FIELD_COUNT] = {
#define FIELD_NAME(name, spelling, first, last) \
    [TC_HTTP_FIELD_##name] = {spelling, sizeof(spelling) - 1},
    TC_HTTP_FIELDS(FIELD_NAME)
#undef FIELD_NAME
};

const uint8_t tc_http_field_slots[TC_HTTP_FIELD_SLOTS] = {
#define FIELD_SLOT(name, spelling, first, last) \
    [TC_HTTP_FIELD_SLOT(sizeof(spelling) - 1, first, last)] = TC_HTTP_FIELD_##name,
    TC_HTTP_FIELDS(FIELD_SLOT)
#undef FIELD_SLOT
};
