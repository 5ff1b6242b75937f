package guest

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestRepositoriesOfDebian(t *testing.T) {
	list := `http://mirror.example.org/debian/
http://mirror.example.org/debian/
http://security.example.org/debian-security/
https://packages.example.com/apt/
:no address`
	want := map[string]string{
		"debian":          "http://mirror.example.org/debian/",
		"debian-security": "http://security.example.org/debian-security/",
	}
	if diff := cmp.Diff(want, repositories(list)); diff != "" {
		t.Error(diff)
	}
}

func TestArchiveOrder(t *testing.T) {
	suites := &choice{Archive: "suites"}
	for _, c := range []struct {
		series string
		kept   *choice
		want   []string
	}{
		{"6.1", nil, []string{"own", "suites"}},
		{"6.12", &choice{}, []string{"own", "suites"}},
		{"6.12", suites, []string{"suites", "own"}},
		{"7.0", nil, []string{"suites"}},
		{Newest, suites, []string{"suites"}},
	} {
		var got []string
		for _, a := range archives("/cache", c.series, c.kept) {
			got = append(got, a.name)
		}
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%s: %s", c.series, diff)
		}
	}
}
