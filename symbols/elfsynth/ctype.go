package elfsynth

import (
	"strconv"
	"strings"

	"physgdb/symbols/btf"
)

// declared is a type in the words of C, taken apart: "struct page *[4]" is the name of a type, one
// pointer to it, and an array of 4 of those.
type declared struct {
	kinds    []btf.Kind // of the type that is named
	names    []string
	pointers int
	lengths  []uint64 // of arrays, the outermost first; 0 is as long as there is room
}

// parseType takes a type apart, or reports that it is none.
func parseType(text string) (d declared, ok bool) {
	text, dims, array := strings.Cut(text, "[")
	if array {
		if d.lengths, ok = parseLengths(dims); !ok {
			return d, false
		}
	}
	words := strings.Fields(strings.ReplaceAll(text, "*", " * "))
	for len(words) > 0 && words[len(words)-1] == "*" {
		words = words[:len(words)-1]
		d.pointers++
	}
	d.kinds, d.names = parseName(words)
	return d, len(d.names) > 0
}

// parseLengths reads what follows the first bracket of "[4][]".
func parseLengths(text string) ([]uint64, bool) {
	inner, ok := strings.CutSuffix(text, "]")
	if !ok {
		return nil, false
	}
	var lengths []uint64
	for number := range strings.SplitSeq(inner, "][") {
		n := uint64(0)
		if number != "" {
			var err error
			if n, err = strconv.ParseUint(number, 0, 31); err != nil {
				return nil, false
			}
		}
		lengths = append(lengths, n)
	}
	return lengths, true
}

// parseName returns which types may be meant by the words in front of pointers and arrays.
func parseName(words []string) ([]btf.Kind, []string) {
	switch {
	case len(words) == 2 && words[0] == "struct":
		return []btf.Kind{btf.KindStruct}, words[1:]
	case len(words) == 2 && words[0] == "union":
		return []btf.Kind{btf.KindUnion}, words[1:]
	case len(words) == 2 && words[0] == "enum":
		return []btf.Kind{btf.KindEnum, btf.KindEnum64}, words[1:]
	case len(words) == 1 && words[0] == "void":
		return []btf.Kind{btf.KindVoid}, words
	}
	if names := integerNames(words); names != nil {
		return []btf.Kind{btf.KindInt}, names
	}
	if len(words) != 1 {
		return nil, nil
	}
	return []btf.Kind{btf.KindTypedef, btf.KindInt}, words
}

// integerNames returns how gcc and clang call an integer type of C in debug information.
func integerNames(words []string) []string {
	if len(words) == 0 {
		return nil
	}
	var count [5]int
	kinds := []string{"unsigned", "signed", "short", "long", "char"}
	for _, w := range words {
		if w == "int" {
			continue
		}
		known := false
		for i, k := range kinds {
			if w == k {
				count[i]++
				known = true
			}
		}
		if !known {
			return nil
		}
	}
	unsigned, signed, short, long, char := count[0] > 0, count[1] > 0, count[2] > 0, count[3], count[4] > 0
	sign := ""
	if unsigned {
		sign = "unsigned "
	}
	switch {
	case char && signed:
		return []string{"signed char"}
	case char:
		return []string{sign + "char"}
	case short:
		return []string{"short " + sign + "int", sign + "short"}
	case long > 0:
		longs := strings.Repeat("long ", long)
		return []string{longs + sign + "int", sign + strings.TrimSpace(longs)}
	}
	return []string{sign + "int"}
}
