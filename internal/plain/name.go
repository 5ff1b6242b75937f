package plain

import (
	"cmp"
	"crypto/sha256"
	"fmt"
	"strings"
)

// maxName is the longest name that Name returns, in bytes.
const maxName = 64

// Name returns a name for files, protocols and scripts: 1 to 64 of the characters A-Z a-z 0-9 . _ +
// ~ -, of which the first is a letter, a digit or an underscore. A text that is such a name is
// returned as it is. In any other what does not fit is replaced, and the start of a hash of the
// text is appended: texts that were not made to share a name have different ones.
func Name(text string) string {
	if IsName(text) {
		return text
	}
	sum := sha256.Sum256([]byte(text))
	hash := fmt.Sprintf("~%x", sum[:4])
	kept := []byte(cmp.Or(text, "unnamed"))
	kept = kept[:min(len(kept), maxName-len(hash))]
	for i, c := range kept {
		if !inName(c, i) {
			kept[i] = '_'
		}
	}
	return string(kept) + hash
}

// IsName reports whether a text can be a name as it is.
func IsName(text string) bool {
	for i := range len(text) {
		if !inName(text[i], i) {
			return false
		}
	}
	return text != "" && len(text) <= maxName
}

// inName reports whether a character may be at that place of a name.
func inName(c byte, place int) bool {
	switch {
	case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == '_':
		return true
	}
	return place > 0 && strings.IndexByte(".+~-", c) >= 0
}
