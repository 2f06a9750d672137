#include "tools/wbclient/repl.h"

#include <locale.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include <histedit.h>

#include "tools/wbclient/commands.h"
#include "tools/wbclient/words.h"

enum { HISTORY_LINES = 1000 };

/* Run one line. *@leave is set by quit and exit. */
static int run_line(struct session *s, struct words *words, struct bytes line, bool *leave)
{
    const char *problem = words_split(words, line);
    if (problem != NULL) {
        return session_usage(s, "%s", problem);
    }
    if (words->count == 0) {
        return EXIT_DONE;
    }
    const char *name = (const char *)words->items[0].data; /* a 0 byte follows */
    if (strcasecmp(name, "quit") == 0 || strcasecmp(name, "exit") == 0) {
        *leave = true;
        return EXIT_DONE;
    }
    int result = command_run(s, words->items, words->count);
    fflush(stdout);
    return result;
}

int repl_pipe(struct session *s, FILE *in)
{
    struct words words;
    words_init(&words);
    char *line = NULL;
    size_t cap = 0;
    ssize_t len;
    int worst = EXIT_DONE;
    bool leave = false;
    while (!leave && (len = getline(&line, &cap, in)) >= 0) {
        int result = run_line(s, &words, bytes_of(line, (size_t)len), &leave);
        worst = result > worst ? result : worst;
    }
    free(line);
    words_deinit(&words);
    return worst;
}

static const char *prompt(EditLine *editor)
{
    return "wbcache> ";
}

static char *history_path(void)
{
    const char *home = getenv("HOME");
    char *path = NULL;
    if (home == NULL || asprintf(&path, "%s/.wbclient_history", home) < 0) {
        return NULL;
    }
    return path;
}

/* Tab completes a command's name. */
static unsigned char complete(EditLine *editor, int key)
{
    const LineInfo *line = el_line(editor);
    size_t len = (size_t)(line->cursor - line->buffer);
    const struct command *only = NULL;
    for (size_t i = 0; command_at(i) != NULL; i++) {
        if (len <= strlen(command_at(i)->name) && strncmp(command_at(i)->name, line->buffer, len) == 0) {
            if (only != NULL) {
                return CC_ERROR;
            }
            only = command_at(i);
        }
    }
    if (only == NULL || el_insertstr(editor, only->name + len) != 0) {
        return CC_ERROR;
    }
    return el_insertstr(editor, " ") == 0 ? CC_REFRESH : CC_ERROR;
}

/* The line editor drops, without a word, every character that the locale does not know; C knows ASCII only.
 */
static void know_all_characters(void)
{
    if (setlocale(LC_CTYPE, "") == NULL || MB_CUR_MAX == 1) {
        (void)setlocale(LC_CTYPE, "C.UTF-8"); /* where it is missing, ASCII has to do */
    }
}

int repl_interactive(struct session *s)
{
    know_all_characters();
    EditLine *editor = el_init("wbclient", stdin, stdout, stderr);
    History *history_list = history_init();
    if (editor == NULL || history_list == NULL) {
        return session_usage(s, "this terminal cannot be used for editing; give the command as arguments");
    }
    HistEvent event;
    char *path = history_path();
    history(history_list, &event, H_SETSIZE, HISTORY_LINES);
    history(history_list, &event, H_SETUNIQUE, 1);
    if (path != NULL) {
        history(history_list, &event, H_LOAD, path);
    }
    el_set(editor, EL_PROMPT, prompt);
    el_set(editor, EL_EDITOR, "emacs");
    el_set(editor, EL_SIGNAL, 1);
    el_set(editor, EL_HIST, history, history_list);
    el_set(editor, EL_ADDFN, "complete-command", "complete a command's name", complete);
    el_set(editor, EL_BIND, "^I", "complete-command", NULL);
    el_source(editor, NULL);

    puts("wbclient: `help` shows the commands, `quit` leaves.");
    struct words words;
    words_init(&words);
    bool leave = false;
    const char *line;
    int len;
    while (!leave && (line = el_gets(editor, &len)) != NULL && len > 0) {
        if (len > 1) {
            history(history_list, &event, H_ENTER, line);
        }
        (void)run_line(s, &words, bytes_of(line, (size_t)len), &leave);
    }
    if (!leave) {
        putchar('\n');
    }
    words_deinit(&words);
    if (path != NULL) {
        history(history_list, &event, H_SAVE, path);
        free(path);
    }
    history_end(history_list);
    el_end(editor);
    return EXIT_DONE;
}
