/* The masked DOS loss in C, in single precision, on the golden vectors of refloss.

   cc -O2 -o masked_dos masked_dos.c -lm
   ./masked_dos vectors/v1/masked_dos-float32.json > results.json
   refloss vectors check results.json --convention documented

   Formulas: docs/specification.md, section 3, convention "documented". -DREAL=double computes in double precision, for
   masked_dos-float64.json. */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#ifndef REAL
#define REAL float
#endif

/* ---- The loss ---- */

struct figures {
    REAL total, dos, front_tail, unmasked_gradient, cumulative;
    long shift;
};

/* The trapezoid over n points: half weights at both ends, and nothing of fewer than two points. */
static REAL trapezoid(const REAL *f, long n, REAL dx)
{
    REAL sum = 0;
    if (n < 2)
        return 0;
    for (long i = 1; i < n - 1; i++)
        sum += f[i];
    return dx * (sum + (f[0] + f[n - 1]) / 2);
}

/* f is room for as many numbers as a prediction has. Where the mask is 0 a target may be NaN: it is not looked at. */
static REAL misfit(const REAL *window, const REAL *t, const char *m, long points, REAL dx, REAL *f)
{
    for (long i = 0; i < points; i++)
        f[i] = m[i] ? (window[i] - t[i]) * (window[i] - t[i]) : 0;
    return trapezoid(f, points, dx);
}

static struct figures masked_dos(const REAL *p, const REAL *t, const char *m, long points, long extra, REAL dx,
                                 REAL grad_weight, REAL int_weight, REAL *f)
{
    struct figures r = {0, misfit(p, t, m, points, dx, f), 0, 0, 0, 0};
    for (long s = 1; s <= extra; s++) {
        REAL dos = misfit(p + s, t, m, points, dx, f);
        if (dos < r.dos)
            r.dos = dos, r.shift = s;
    }
    const REAL *a = p + r.shift;

    for (long j = 0; j <= r.shift; j++)
        f[j] = p[j] * p[j];
    r.front_tail = trapezoid(f, r.shift + 1, dx);

    long count = 0;
    for (long i = r.shift < 4 ? 4 - r.shift : 0; i < points; i++) {
        REAL g = (3 * a[i - 4] - 16 * a[i - 3] + 36 * a[i - 2] - 48 * a[i - 1] + 25 * a[i]) / (12 * dx);
        f[count++] = m[i] ? 0 : g * g;
    }
    r.unmasked_gradient = trapezoid(f, count, dx);

    REAL running = 0, before = a[0] - (t[0] == t[0] ? t[0] : 0); /* a NaN target reads 0 */
    for (long i = 1; i < points; i++) {
        REAL here = a[i] - (t[i] == t[i] ? t[i] : 0); /* a NaN target reads 0 */
        running += dx / 2 * (before + here);
        f[i - 1] = m[i] ? running * running : 0;
        before = here;
    }
    r.cumulative = trapezoid(f, points - 1, dx);

    r.total = r.dos + grad_weight * r.unmasked_gradient + int_weight * r.cumulative;
    return r;
}

/* ---- Reading and writing ---- */

/* Behind the next `key` in the text. The keys of a case come in a fixed order, each on a line of its own. */
static char *behind(char *text, const char *key)
{
    char *found = strstr(text, key);
    if (!found) {
        fprintf(stderr, "no %s\n", key);
        exit(2);
    }
    return found + strlen(key);
}

static REAL number(char *text, const char *key) { return (REAL)strtod(behind(text, key), NULL); }

static REAL *numbers(char *text, long count)
{
    REAL *x = malloc(count * sizeof *x);
    for (long i = 0; i < count; i++)
        x[i] = (REAL)strtod(text, &text);
    return x;
}

static char *whole_file(const char *path)
{
    FILE *file = fopen(path, "rb");
    if (!file || fseek(file, 0, SEEK_END)) {
        perror(path);
        exit(2);
    }
    long size = ftell(file);
    char *text = malloc(size + 1);
    rewind(file);
    text[fread(text, 1, size, file)] = 0;
    fclose(file);
    return text;
}

#define PRINT(name, format, member, end)                                                                               \
    printf("\"" name "\": \"");                                                                                        \
    for (long b = 0; b < structures; b++)                                                                              \
        printf(b ? " " format : format, r[b].member);                                                                  \
    printf("\"" end);

int main(int argc, char **argv)
{
    if (argc != 2) {
        fprintf(stderr, "usage: %s vectors/v1/masked_dos-float32.json > results.json\n", argv[0]);
        return 2;
    }
    char *text = whole_file(argv[1]), *separator = "{\n";
    while ((text = strstr(text, "\"id\": \""))) {
        text += strlen("\"id\": \"");
        int id = (int)strcspn(text, "\"");
        REAL dx = number(text, "\"energy_step\": ");
        REAL grad_weight = number(text, "\"grad_weight\": "), int_weight = number(text, "\"int_weight\": ");
        char reduction = *behind(text, "\"reduction\": \"");

        char *shape = behind(behind(text, "\"shape\": {"), "\"predictions\": [");
        long structures = strtol(shape, &shape, 10), width = strtol(shape + 1, &shape, 10);
        shape = behind(shape, "\"targets\": [");
        strtol(shape, &shape, 10);
        long points = strtol(shape + 1, &shape, 10);

        REAL *p = numbers(behind(text, "\"predictions\": \""), structures * width);
        REAL *t = numbers(behind(text, "\"targets\": \""), structures * points);
        char *bits = behind(text, "\"mask\": \""), *m = malloc(structures * points);
        for (long i = 0; i < structures * points; i++)
            m[i] = bits[2 * i] == '1';

        struct figures *r = malloc(structures * sizeof *r);
        REAL *room = malloc(width * sizeof *room), value = 0;
        for (long b = 0; b < structures; b++) {
            r[b] = masked_dos(p + b * width, t + b * points, m + b * points, points, width - points, dx, grad_weight,
                              int_weight, room);
            value += r[b].total;
        }
        if (reduction == 'm')
            value /= structures;

        printf("%s\"%.*s\": {", separator, id, text);
        if (reduction != 'n')
            printf("\"value\": \"%a\", ", value);
        PRINT("per_structure", "%a", total, ", ")
        PRINT("shift", "%ld", shift, ", \"terms\": {")
        PRINT("dos", "%a", dos, ", ")
        PRINT("front_tail", "%a", front_tail, ", ")
        PRINT("unmasked_gradient", "%a", unmasked_gradient, ", ")
        PRINT("cumulative", "%a", cumulative, "}}")
        separator = ",\n";
        free(p), free(t), free(m), free(r), free(room);
    }
    puts("\n}");
    return 0;
}
