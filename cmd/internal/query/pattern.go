package query

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// expression is one part of what a user looks for.
type expression struct {
	bytes  []byte
	symbol string // whose address, 8 bytes, is meant; empty if it is bytes
}

// numberSizes are the sizes of numbers by gdb's letters.
var numberSizes = map[byte]int{'b': 1, 'h': 2, 'w': 4, 'g': 8}

// parseExpression reads "text", 'c', a number of so many bytes, or &SYMBOL. Numbers of no given
// size have 4 bytes, or 8 if they do not fit, as those of gdb do.
func parseExpression(word string, size int) (expression, error) {
	switch word[0] {
	case '"':
		text, err := strconv.Unquote(word)
		if err != nil || text == "" {
			return expression{}, fmt.Errorf(`%s: want "text", in which \x00 is a byte`, word)
		}
		return expression{bytes: []byte(text)}, nil
	case '\'':
		c, _, rest, err := strconv.UnquoteChar(strings.TrimPrefix(word, "'"), '\'')
		if err != nil || rest != "'" || c > 0xff {
			return expression{}, fmt.Errorf("%s: want one character, such as 'a'", word)
		}
		return expression{bytes: []byte{byte(c)}}, nil
	case '&':
		if word == "&" {
			return expression{}, errors.New("&: the name of a symbol is missing")
		}
		return expression{symbol: word[1:]}, nil
	}
	v, err := strconv.ParseUint(word, 0, 64)
	if err != nil {
		return expression{}, fmt.Errorf(`%s: want a number such as 0x1f, &SYMBOL, or "text" (in a shell: '"text"')`, word)
	}
	if size == 0 {
		size = 4
		if v>>32 != 0 {
			size = 8
		}
	}
	if size < 8 && v>>(8*size) != 0 {
		return expression{}, fmt.Errorf("%s: does not fit %d bytes", word, size)
	}
	return expression{bytes: binary.LittleEndian.AppendUint64(nil, v)[:size]}, nil
}

// splitExpressions cuts text at spaces and commas outside quotes. Quotes are kept.
func splitExpressions(text string) ([]string, error) {
	var words []string
	for {
		text = strings.TrimLeft(text, " \t,")
		if text == "" {
			return words, nil
		}
		end := wordEnd(text, " \t,")
		if end < 0 {
			return nil, fmt.Errorf("%s: the closing quote is missing", text)
		}
		words = append(words, text[:end])
		text = text[end:]
	}
}

// wordEnd returns where the first word of text ends: at a separator outside quotes, or at the end
// of text. Within quotes, a backslash takes its meaning from the next character. It returns -1 if a
// quote is left open.
func wordEnd(text, separators string) int {
	var quote byte
	for i := 0; i < len(text); i++ {
		c := text[i]
		switch {
		case quote != 0 && c == '\\':
			i++
		case quote != 0 && c == quote:
			quote = 0
		case quote != 0:
		case c == '"' || c == '\'':
			quote = c
		case strings.IndexByte(separators, c) >= 0:
			return i
		}
	}
	if quote != 0 {
		return -1
	}
	return len(text)
}

// SplitLine cuts a line at spaces as strings.Fields does, but for those in quotes. A quote that is
// left open is none.
func SplitLine(line string) []string {
	var words []string
	for {
		line = strings.TrimSpace(line)
		if line == "" {
			return words
		}
		end := wordEnd(line, " \t\n")
		if end < 0 {
			return append(words, strings.Fields(line)...)
		}
		words = append(words, line[:end])
		line = line[end:]
	}
}
