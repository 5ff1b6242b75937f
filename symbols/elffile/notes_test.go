package elffile

import (
	"encoding/binary"
	"testing"
)

// TestScanBuildIDs has notes among other bytes: two build-ids, one that is cut off, and notes of
// other types.
func TestScanBuildIDs(t *testing.T) {
	note := func(kind byte, id string) string {
		return "\x04\x00\x00\x00" + string(rune(len(id))) + "\x00\x00\x00" + string(rune(kind)) + "\x00\x00\x00GNU\x00" + id
	}
	image := []byte("some" + note(3, "twenty bytes of an id") + "\x00\x00\x00" + note(1, "no build-id!") + note(3, "12345678") + "GNU\x00" +
		note(3, "this one is cut")[:20])
	got := ScanBuildIDs(image)
	if len(got) != 2 || string(got[0]) != "twenty bytes of an id" || string(got[1]) != "12345678" {
		t.Errorf("got %q", got)
	}
}

func FuzzScanBuildIDs(f *testing.F) {
	f.Add([]byte("\x04\x00\x00\x00\x08\x00\x00\x00\x03\x00\x00\x00GNU\x0012345678"))
	f.Fuzz(func(t *testing.T, image []byte) {
		for _, id := range ScanBuildIDs(image) {
			if len(id) < minBuildID || len(id) > maxBuildID {
				t.Fatalf("a build-id of %d bytes", len(id))
			}
		}
	})
}

func TestBuildIDsOfUnusualLengthAreNone(t *testing.T) {
	for size, want := range map[int]bool{0: false, 1: false, 2: true, 20: true, 64: true, 65: false, 200: false} {
		var notes []byte
		for _, v := range []int{4, size, 3} {
			notes = binary.LittleEndian.AppendUint32(notes, uint32(v))
		}
		notes = append(append(notes, "GNU\x00"...), make([]byte, 200)...)
		if got := BuildID(notes); (got != nil) != want || want && len(got) != size {
			t.Errorf("%d bytes: %x", size, got)
		}
	}
}
