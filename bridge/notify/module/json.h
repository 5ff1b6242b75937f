/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Writes one JSON object on one line into a buffer, for code that may neither
 * allocate nor fail: what does not fit is cut, and the line stays valid JSON.
 *
 * It uses nothing of the kernel, so that a test can compile it as a program.
 */
#ifndef PHYSGDB_JSON_H
#define PHYSGDB_JSON_H

/* What json_end() appends, which every other write leaves room for. */
#define JSON_TAIL "}\n"

struct json {
	char *buf;
	unsigned int size;
	unsigned int len;
};

/* Appends all of s[0..n) or nothing, and says whether it did. */
static bool json_put(struct json *j, const char *s, unsigned int n)
{
	unsigned int i;

	if (n + sizeof(JSON_TAIL) > j->size - j->len)
		return false;
	for (i = 0; i < n; i++)
		j->buf[j->len++] = s[i];
	return true;
}

static bool json_puts(struct json *j, const char *s)
{
	return json_put(j, s, __builtin_strlen(s));
}

/* The buffer must hold at least "{}\n" and a NUL. */
static void json_begin(struct json *j, char *buf, unsigned int size)
{
	j->buf = buf;
	j->size = size;
	j->len = 0;
	json_put(j, "{", 1);
}

/* Ends the line with a newline and a NUL; returns its length without the NUL. */
static unsigned int json_end(struct json *j)
{
	const char *tail = JSON_TAIL;

	while (*tail)
		j->buf[j->len++] = *tail++;
	j->buf[j->len] = 0;
	return j->len;
}

/* Starts a member: "key": */
static bool json_key(struct json *j, const char *key)
{
	unsigned int start = j->len;

	if ((j->len == 1 || json_put(j, ",", 1)) && json_put(j, "\"", 1) &&
	    json_puts(j, key) && json_put(j, "\":", 2))
		return true;
	j->len = start;
	return false;
}

/* Adds a member whose value is ready to be written; all of it, or nothing. */
static void json_raw(struct json *j, const char *key, const char *value)
{
	unsigned int start = j->len;

	if (!json_key(j, key) || !json_puts(j, value))
		j->len = start;
}

/* Adds a decimal number. */
static void json_dec(struct json *j, const char *key, unsigned int value)
{
	char text[12];
	char *p = text + sizeof(text);

	*--p = 0;
	do {
		*--p = '0' + value % 10;
		value /= 10;
	} while (value);
	json_raw(j, key, p);
}

/*
 * Adds a number as a string of hex digits: JSON readers that keep numbers as
 * floating point lose the low bits of an address.
 */
static void json_hex(struct json *j, const char *key, unsigned long value)
{
	char text[sizeof("\"0x\"") + 2 * sizeof(value)];
	char *p = text + sizeof(text);

	*--p = 0;
	*--p = '"';
	do {
		*--p = "0123456789abcdef"[value & 15];
		value >>= 4;
	} while (value);
	*--p = 'x';
	*--p = '0';
	*--p = '"';
	json_raw(j, key, p);
}

static bool json_is_tail(unsigned char c)
{
	return (c & 0xc0) == 0x80;
}

/*
 * Returns how many bytes the UTF-8 character at s[0..n) takes, or 0 if there is
 * none: overlong forms, surrogates and what lies beyond U+10FFFF are none.
 */
static unsigned int json_utf8(const unsigned char *s, unsigned int n)
{
	if (s[0] < 0x80)
		return 1;
	if (n < 2 || s[0] < 0xc2 || s[0] > 0xf4 || !json_is_tail(s[1]))
		return 0;
	if (s[0] < 0xe0)
		return 2;
	if ((s[0] == 0xe0 && s[1] < 0xa0) || (s[0] == 0xed && s[1] > 0x9f) ||
	    (s[0] == 0xf0 && s[1] < 0x90) || (s[0] == 0xf4 && s[1] > 0x8f))
		return 0;
	if (n < 3 || !json_is_tail(s[2]))
		return 0;
	if (s[0] < 0xf0)
		return 3;
	return n < 4 || !json_is_tail(s[3]) ? 0 : 4;
}

/* Returns the character of n bytes at s; n is 0 for a byte that is none. */
static unsigned int json_decode(const unsigned char *s, unsigned int n)
{
	unsigned int c, i;

	if (n < 2)
		return s[0];
	c = s[0] & (0x7f >> n);
	for (i = 1; i < n; i++)
		c = c << 6 | (s[i] & 0x3f);
	return c;
}

/* Writes a 16-bit unit as \uXXXX to the six bytes at to. */
static void json_unit(char *to, unsigned int unit)
{
	unsigned int i;

	to[0] = '\\';
	to[1] = 'u';
	for (i = 0; i < 4; i++)
		to[2 + i] = "0123456789abcdef"[unit >> (12 - 4 * i) & 15];
}

/* Appends the character c as \uXXXX, or as two of them (RFC 8259, section 7). */
static bool json_escape(struct json *j, unsigned int c)
{
	char text[12];

	if (c < 0x10000) {
		json_unit(text, c);
		return json_put(j, text, 6);
	}
	json_unit(text, 0xd800 + ((c - 0x10000) >> 10));
	json_unit(text + 6, 0xdc00 + (c & 0x3ff));
	return json_put(j, text, sizeof(text));
}

/*
 * Appends the character of n bytes at s; n is 0 for a byte that is none. All
 * but printable ASCII is escaped: there is no table here of what a terminal
 * would obey.
 */
static bool json_char(struct json *j, const unsigned char *s, unsigned int n)
{
	if (s[0] < 0x20 || s[0] > 0x7e)
		return json_escape(j, json_decode(s, n));
	if (s[0] == '"' || s[0] == '\\')
		return json_put(j, s[0] == '"' ? "\\\"" : "\\\\", 2);
	return json_put(j, (const char *)s, 1);
}

/*
 * Adds a string of at most max bytes, of which the first characters that fit
 * are kept. Bytes that are not UTF-8 appear as U+0080..U+00FF.
 */
static void json_str(struct json *j, const char *key, const char *s,
		     unsigned int max)
{
	const unsigned char *p = (const unsigned char *)s;
	unsigned int start = j->len, left = 0, n;

	while (left < max && p[left])
		left++;
	j->size--;	/* keeps room for the closing quote */
	if (json_key(j, key) && json_put(j, "\"", 1)) {
		for (; left; p += n, left -= n) {
			n = json_utf8(p, left);
			if (!json_char(j, p, n))
				break;
			n = n ? n : 1;
		}
		j->buf[j->len++] = '"';
	} else {
		j->len = start;
	}
	j->size++;
}

#endif /* PHYSGDB_JSON_H */
