#include "rpc/address.h"

#include <string.h>

static bool port_valid(struct bytes port)
{
    unsigned value = 0;
    if (port.len == 0 || port.len >= ADDRESS_PORT_BYTES) {
        return false;
    }
    for (size_t i = 0; i < port.len; i++) {
        if (port.data[i] < '0' || port.data[i] > '9') {
            return false;
        }
        value = value * 10 + (unsigned)(port.data[i] - '0');
    }
    return value <= 65535;
}

static bool host_valid(struct bytes host, bool bracketed)
{
    if (host.len >= ADDRESS_HOST_BYTES || (bracketed && host.len == 0)) {
        return false;
    }
    for (size_t i = 0; i < host.len; i++) {
        uint8_t c = host.data[i];
        if (c <= ' ' || c == 0x7f || c == '[' || c == ']' || (c == ':' && !bracketed)) {
            return false;
        }
    }
    return true;
}

enum status address_parse(struct bytes text, struct address *out)
{
    bool bracketed = text.len > 0 && text.data[0] == '[';
    size_t colon = text.len;
    while (colon > 0 && text.data[colon - 1] != ':') {
        colon--;
    }
    if (colon == 0) {
        return STATUS_INVALID;
    }
    struct bytes port = bytes_of(text.data + colon, text.len - colon);
    struct bytes host = bytes_of(text.data, colon - 1);
    if (bracketed) {
        if (host.len < 2 || host.data[host.len - 1] != ']') {
            return STATUS_INVALID;
        }
        host = bytes_of(host.data + 1, host.len - 2);
    }
    if (!port_valid(port) || !host_valid(host, bracketed)) {
        return STATUS_INVALID;
    }
    memcpy(out->host, host.data, host.len);
    out->host[host.len] = '\0';
    memcpy(out->port, port.data, port.len);
    out->port[port.len] = '\0';
    return STATUS_OK;
}

static bool blank(uint8_t c)
{
    return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

bool address_list_next(struct bytes *list, struct bytes *item)
{
    if (list->data == NULL) {
        return false;
    }
    const uint8_t *comma = list->len == 0 ? NULL : memchr(list->data, ',', list->len);
    *item = bytes_of(list->data, comma == NULL ? list->len : (size_t)(comma - list->data));
    *list = comma == NULL ? bytes_of(NULL, 0) : bytes_of(comma + 1, list->len - item->len - 1);
    while (item->len > 0 && blank(item->data[0])) {
        item->data++;
        item->len--;
    }
    while (item->len > 0 && blank(item->data[item->len - 1])) {
        item->len--;
    }
    return true;
}
