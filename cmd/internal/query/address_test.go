package query

import (
	"strings"
	"testing"

	"physgdb/test/memimage"
	"physgdb/test/rig"
)

func TestParseAddress(t *testing.T) {
	for _, tc := range []struct {
		text string
		want uint64
		err  string
	}{
		{"0x0", 0, ""}, {"0X1F", 31, ""}, {"0xffffffffffffffff", ^uint64(0), ""},
		{"1000", 0, "write 0x1000"}, {"0755", 0, "write 0x0755"}, {"cafe", 0, "write 0xcafe"},
		{"", 0, "not an address"}, {"0x", 0, "not an address"}, {"0x10000000000000000", 0, "not an address"},
		{"-1", 0, "not an address"}, {"panic", 0, "not an address such as"}, {"0x-1", 0, "not an address"},
	} {
		v, err := ParseAddress(tc.text)
		if v != tc.want || (err == nil) != (tc.err == "") || err != nil && !strings.Contains(err.Error(), tc.err) {
			t.Errorf("%q: %#x, %v; want %#x, %q", tc.text, v, err, tc.want, tc.err)
		}
	}
}

func TestAddresses(t *testing.T) {
	m := attachWithVmlinux(t, rig.New(t, 4))
	const panicAt = memimage.LinkText + rig.Slide + 0x1000
	vas, err := Addresses(m, []string{"panic", "panic+16", "panic+0x10", "0x1000", "runqueues"})
	rig.Must(t, err)
	for i, want := range []uint64{panicAt, panicAt + 16, panicAt + 16, 0x1000, 0x35e80} {
		if vas[i] != want {
			t.Errorf("address %d is %#x, want %#x", i, vas[i], want)
		}
	}
	for text, want := range map[string]string{
		"panik": "nor a symbol", "$rsp": "see print/x $rsp", "panic+": "not an offset", "panic+x": "not an offset", "1000": "nor a symbol",
	} {
		_, err := Addresses(m, []string{"panic", text})
		rig.WantError(t, err, want)
	}
}
