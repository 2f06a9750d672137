#include "proto/base/status.h"

const char *status_name(int status)
{
    switch (status) {
#define X(name, number, text)                                                                                \
    case number:                                                                                             \
        return #name;
        STATUS_MAP(X)
#undef X
    default:
        return "UNRECOGNISED";
    }
}

const char *status_text(int status)
{
    switch (status) {
#define X(name, number, text)                                                                                \
    case number:                                                                                             \
        return text;
        STATUS_MAP(X)
#undef X
    default:
        return "a status that this version does not know";
    }
}
