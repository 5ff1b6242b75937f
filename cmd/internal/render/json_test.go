package host

import (
	"strings"
	"testing"

	"physgdb/internal/plain"
)

func TestJSONCanBeSearched(t *testing.T) {
	var said strings.Builder
	must(t, plain.WriteJSON(&said, map[string]any{"text": "<TASK> a&b", "addr": address(0x1f)}))
	if want := `{"addr":"0x1f","text":"<TASK> a&b"}` + "\n"; said.String() != want {
		t.Errorf("%s, want %s", said.String(), want)
	}
}
