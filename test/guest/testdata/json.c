// SPDX-License-Identifier: GPL-2.0
/*
 * Runs the module's json.h as a program: reads cases {u32 size, u32 length, bytes} and writes for each
 * {u32 length, line}, the line being an object with the bytes as a string, in a buffer of so many bytes.
 */
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "json.h"

int main(void)
{
	uint32_t head[2];

	while (fread(head, sizeof(head), 1, stdin) == 1) {
		/* Exactly as large as it says, so that the sanitizer sees every byte beyond. */
		char *text = malloc(head[1] + 1), *line = malloc(head[0]);
		struct json j;
		uint32_t len;

		if (fread(text, 1, head[1], stdin) != head[1])
			return 1;
		json_begin(&j, line, head[0]);
		json_dec(&j, "dec", head[1]);
		json_hex(&j, "hex", UINT64_MAX - head[1]);
		json_str(&j, "str", text, head[1]);
		len = json_end(&j);
		if (len != strlen(line) || len >= head[0])
			return 2;
		fwrite(&len, sizeof(len), 1, stdout);
		fwrite(line, 1, len, stdout);
		free(text);
		free(line);
	}
	return 0;
}
