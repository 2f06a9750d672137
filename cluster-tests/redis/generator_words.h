/* The words of random commands, and where their chance comes from: the inner part of the generator. Pure. */
#ifndef WB_CLUSTER_TESTS_REDIS_GENERATOR_WORDS_H
#define WB_CLUSTER_TESTS_REDIS_GENERATOR_WORDS_H

#include "cluster-tests/redis/step.h"

enum { GENERATOR_KEYS = 6, GENERATOR_ARGS_MAX = 48, GENERATOR_WORD_CHARS = 32 };

struct generator {
    uint64_t random;
    struct steps *out;
    struct bytes keys[GENERATOR_KEYS]; /* the first half is mostly strings, the second hashes */
    bool wide;                         /* hashes whose order is unknown */
    bool odd_encoding; /* a command was drawn after which OBJECT ENCODING is history's matter */
    bool in_multi;
    unsigned relative; /* the newest relative expiry, in days or so */
    unsigned connection;
};

uint64_t generator_mix(uint64_t z);
/* A number below @below. */
uint64_t generator_draw(struct generator *g, uint64_t below);
bool generator_chance(struct generator *g, unsigned percent);
/* One of an array. */
#define PICK(g, list) ((list)[generator_draw(g, sizeof(list) / sizeof(list)[0])])

/* Add an argument, copied; nothing when the step has GENERATOR_ARGS_MAX. */
void generator_add(struct generator *g, struct step *step, struct bytes arg);
void generator_add_text(struct generator *g, struct step *step, const char *text);
/* Add @word as it is; or, when it is in <>, what it stands for, which may be several arguments or none. */
void generator_add_word(struct generator *g, struct step *step, const char *word);

#endif
